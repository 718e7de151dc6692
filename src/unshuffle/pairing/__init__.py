"""Pairing: which input layer belongs to which output layer."""

from unshuffle.pairing.by_weights import Match as Match
from unshuffle.pairing.by_weights import Pairing as Pairing
from unshuffle.pairing.by_weights import pair as pair
from unshuffle.pairing.signals import SIGNALS as SIGNALS
