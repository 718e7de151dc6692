"""Damaged piles: what can be put together again although something is wrong with the pieces."""
