"""Ordering: in which sequence the blocks ran."""
