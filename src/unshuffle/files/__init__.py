"""Readers and writers: the only place of the package that opens files."""

from unshuffle.files.pile_reader import read_pile

__all__ = ["read_pile"]
