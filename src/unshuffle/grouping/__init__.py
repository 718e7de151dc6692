"""Pairing: which input layer belongs to which output layer."""

from unshuffle.grouping.edges import Match as Match
from unshuffle.grouping.pairs import Pairing as Pairing
from unshuffle.grouping.pairs import pair as pair
from unshuffle.grouping.signals import SIGNALS as SIGNALS
