"""Damaged, incomplete and mixed piles: what can be recovered from them, and how sure it is."""
