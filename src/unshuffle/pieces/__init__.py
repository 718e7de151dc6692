"""Pieces, the pile of them, the record, and answers: what everything else is about."""
