"""Networks whose answer is known: trained from recipes, dropped, kept in a zoo, evaluated."""
