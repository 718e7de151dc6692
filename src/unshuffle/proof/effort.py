"""How much work proof takes: numbers that steer cost.

More of any of them takes time or memory, measures more precisely, and changes no claim. Far fewer
rows or draws leave open what these decide.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Rows and exchanges that are looked at, and draws.

    Parameters
    ----------
    rounding
        Rows, spread over the record, on which the rounding level is measured.
    activation
        Rows on which activations are compared.
    coarse
        Rows, spread over the record, on which drawn networks are compared.
    drawn
        Networks that are drawn from what the lost one can have been.
    compared
        First rows on which networks are compared where it is unknown which one is meant.
    regressed
        Rows, spread over the record, on which a residual is regressed.
    tested
        Rows, spread over the record, that the test for noise compares with each other.
    width
        Numbers of a state that the test for noise looks at, or projections of wider ones.
    kernel
        Rows of a kernel regression, spread over the record. It is fitted to half of them.
    first
        Rows on which rivals are weighed first, where only rounding is left. All rows follow if
        these leave anything undecided.
    first_noisy
        The same where noise is left.
    screened
        Rows on which all exchanges of layers are weighed, to find the best of each block.
    negligible
        First-order effect of an exchange, beside the size of the predictions, up to which it is
        tried whether it changes anything at all.
    chunk
        Rows that are weighed at once.
    """

    rounding: int = 128
    activation: int = 256
    coarse: int = 512
    drawn: int = 4
    compared: int = 512
    regressed: int = 4096
    tested: int = 1024
    width: int = 512
    kernel: int = 2048
    first: int = 32
    first_noisy: int = 1024
    screened: int = 8
    negligible: float = 1e-4
    chunk: int = 1024


EFFORT = Effort()
