"""Views: what people see. They read results and traces and compute no science."""
