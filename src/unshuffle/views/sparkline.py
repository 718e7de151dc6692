"""A curve in one line of text."""

import math
from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"


def log_sparkline(values: Sequence[float], width: int) -> str:
    """A character a value, on a logarithmic scale. What has no logarithm is left out.

    Of more values than the width, those at even distances and the last are shown.
    """
    logs = [math.log(value) for value in values if 0 < value < math.inf]
    shown = min(len(logs), max(width, 0))
    logs = [logs[(k + 1) * len(logs) // shown - 1] for k in range(shown)]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    steps = (len(LEVELS) - 1) / (high - low) if high > low else 0.0
    return "".join(LEVELS[round((value - low) * steps)] for value in logs)
