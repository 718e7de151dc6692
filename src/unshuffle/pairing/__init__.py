"""Pairing: which input layer belongs to which output layer."""

from unshuffle.pairing.pairs import Match as Match
from unshuffle.pairing.pairs import Pairing as Pairing
from unshuffle.pairing.pairs import pair as pair
from unshuffle.pairing.signals import SIGNALS as SIGNALS
