"""What may be claimed of an arrangement."""
