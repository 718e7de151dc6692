"""What the page is given: a solution as plain values, and arrays for the browser.

Pieces are numbered here: rows and columns of the score matrices, and blocks, name them by number,
and their ids appear once. Where a block has no slot of a role, its number is −1.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshuffle.blocks.kept import KeptStack
from unshuffle.blocks.mlp import as_mlp
from unshuffle.blocks.threads import single_threaded_blas
from unshuffle.files.schema import encode
from unshuffle.grouping.edges import EdgeScores
from unshuffle.grouping.spectra import stream_norms
from unshuffle.ordering.paths import Similarity
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.blueprint import NO_PIECE, Arrangement
from unshuffle.pieces.pile import Floats, PieceId
from unshuffle.pieces.records import Records
from unshuffle.solution.solution import Solution, check_solution
from unshuffle.views.figures import SENT_ROWS, style
from unshuffle.views.figures.search import standing

# Bytes: arrays begin where the browser can view them as numbers of any size.
_ALIGNMENT = 8


@dataclass(frozen=True)
class PageParameters:
    """Numbers that say how much a page holds. Of more, every n-th is shown, or nothing."""

    weights: int = 2**24  # Weights, at one byte each: those of 1,800 blocks 48 → 96 → 48.
    dots: int = 50_000  # Tested candidates that are drawn.
    shaded: int = 128  # Blocks across the picture of likeness.
    frames: int = 2_000  # Frames of the replay, which are a minute; the last is always shown.


STANDARD = PageParameters()


@dataclass(frozen=True, eq=False)
class Content:
    """What is put into the page: values that are ready for JSON, and arrays by name.

    Arrays are of types that browsers have: float32, int32, uint8, int8.
    """

    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    def as_json(self) -> str:
        """The values and where each array lies, as JSON that is safe inside an HTML script element.

        No character in it can end the element or begin markup, and none is beyond ASCII.
        """
        layout, start = {}, 0
        for name, held in self.arrays.items():
            layout[name] = {"type": held.dtype.name, "start": start, "shape": held.shape}
            start += held.nbytes + -held.nbytes % _ALIGNMENT
        values = {**self.values, "arrays": layout}
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")

    def packed(self) -> str:
        """The arrays in a row, gzipped, in base 64. The same numbers give the same text."""
        parts = [values.tobytes() for values in self.arrays.values()]
        padded = b"".join(part + bytes(-len(part) % _ALIGNMENT) for part in parts)
        return base64.b64encode(gzip.compress(padded, 6, mtime=0)).decode()


def content_of(
    solution: Solution, records: Records | None = None, by: PageParameters = STANDARD
) -> Content:
    """Lay a solution out for the page, with its record if that is there."""
    check_solution(solution)
    trace, edges = solution.trace, solution.evidence
    scored = [trace.ids[p] for edge in edges for p in (*edge.rows, *edge.columns)]
    last = () if solution.last is None else (solution.last,)
    ids = tuple(dict.fromkeys((*scored, *solution.layers, *last)))
    number = {name: piece for piece, name in enumerate(ids)}
    phases = list(dict.fromkeys(step.phase for step in trace.steps))
    every = -(-trace.tested // by.dots) or 1
    numbers = np.array([number.get(name, NO_PIECE) for name in trace.ids] + [NO_PIECE], np.int32)
    values = {
        "verdict": _verdict(solution),
        "ids": ids,
        "last": None if solution.last is None else number[solution.last],
        "roles": [style.role(name) for name in solution.roles],
        "blocks": numbers[solution.arrangement].tolist(),
        "edges": [_edge(edge, numbers, number) for edge in edges],
        "certificate": None if solution.certificate is None else encode(solution.certificate),
        "record": None if records is None else _record(records),
        "phases": phases,
        "every": every,
    }
    arrays: dict[str, NDArray[Any]] = {
        **{f"scores{k}": edge.scores.astype(np.float32) for k, edge in enumerate(edges)},
        "similarity": _shades(solution.similarity, by.shaded),
        **_weights(solution, ids[: len({*scored})], by.weights),
        **_steps(trace, phases),
        **_frames(solution, numbers, by.frames),
        **_tested(trace, every),
        **({} if records is None else _norms(solution, records)),
    }
    return Content(values, arrays)


def _edge(
    edge: EdgeScores, numbers: NDArray[np.int32], number: Mapping[PieceId, int]
) -> dict[str, Any]:
    """An edge but for its scores."""
    rows, columns = (numbers[[*each]].tolist() for each in (edge.rows, edge.columns))
    return {
        "roles": [edge.first, edge.second],
        "signal": edge.signal,
        "rows": rows,
        "columns": columns,
        "matches": [
            {
                "row": rows.index(number[match.inp]),
                "column": columns.index(number[match.out]),
                "rival": None if match.rival is None else number[match.rival],
                "margin": _finite(match.margin),
                "confidence": match.confidence,
            }
            for match in edge.matches
        ],
    }


def _shades(similarity: Similarity, most: int) -> NDArray[np.int8]:
    """Similarities from -127 to 127, the least to the most of two blocks; every so manyth block."""
    step = -(-len(similarity) // most)
    some = similarity[::step, ::step]
    own = np.eye(len(some), dtype=bool)
    others = some[~own] if len(some) > 1 else np.zeros(1)
    low, high = float(others.min()), float(others.max())
    shades = np.rint((some - low) / ((high - low) or 1.0) * 254 - 127).astype(np.int8)
    shades[own] = 127
    return shades


def _verdict(solution: Solution) -> dict[str, Any]:
    """How it ended, and the figures at the head of the page."""
    return {
        "outcome": str(solution.outcome),
        "advice": solution.outcome.advice,
        "mse": _finite(solution.mse),
        "maxAbsError": _finite(solution.max_abs_error),
        "rows": solution.rows,
        **_form(solution),
        "sha256": solution.sha256,
        "tested": solution.trace.tested,
        "kept": solution.trace.kept,
        "seconds": round(solution.seconds["total"], 6),
    }


def _form(solution: Solution) -> dict[str, Any]:
    """What a block is; of the puzzle's blocks also their shape, for products of their layers."""
    pairing = solution.pairing
    if pairing is None:
        return {"facts": {"Roles in a block": ", ".join(map(style.role, solution.roles))}}
    width, hidden = pairing.anatomy.width, pairing.anatomy.hidden
    facts = {
        "Block": f"{width} → {hidden} {solution.activation} → {width}",
        "Last layer": f"{width} → {pairing.anatomy.outputs}",
        "Pairs by": f"{pairing.signal}, {pairing.matching} matching",
    }
    return {"width": width, "hidden": hidden, "facts": facts}


def _record(records: Records) -> dict[str, Any]:
    """What the record holds; of its path only the name."""
    return {
        "name": PurePath(records.name).name,
        "rows": len(records),
        "predicted": len(records.predicted()),
        "width": records.width,
        "outputs": records.outputs,
        "targets": records.targets is not None,
    }


def _norms(solution: Solution, records: Records) -> dict[str, NDArray[Any]]:
    """Medians of the norms of states and of steps along the depth, of the first rows.

    Nothing where the code of the network's blocks was not kept.
    """
    if isinstance(solution.network.blocks, KeptStack):
        return {}
    with single_threaded_blas():  # the same numbers whoever asks
        states, steps = stream_norms(solution.network, records.inputs[:SENT_ROWS])
    found = {"stateNorms": states, "stepNorms": steps}
    return {name: np.median(norms, axis=1).astype(np.float32) for name, norms in found.items()}


def _weights(solution: Solution, ids: Sequence[PieceId], most: int) -> dict[str, NDArray[Any]]:
    """Weights as 8 bits from -127 to 127 and a scale for each; nothing if too large for a page."""
    if solution.pairing is None:
        return {}
    layers = dict(zip(solution.layers, as_mlp(solution.network).layers(), strict=True))
    weights: list[Floats] = [layers[name].weight for name in ids]
    if sum(weight.size for weight in weights) > most:
        return {}
    largest = np.array([np.abs(weight).max() for weight in weights])
    scales = np.where(largest > 0, largest, 1) / 127
    scaled = [weight / scale for weight, scale in zip(weights, scales, strict=True)]
    rounded = np.stack([np.rint(weight).astype(np.int8).ravel() for weight in scaled])
    return {"weights": rounded, "scales": scales.astype(np.float32)}


def _steps(trace: Trace, phases: list[str]) -> dict[str, NDArray[Any]]:
    """Of every step: the number of its phase, error, candidates and rows, and when it ended."""
    steps = trace.steps
    return {
        "phase": np.array([phases.index(step.phase) for step in steps], np.int32),
        "error": np.array([step.error for step in steps], np.float32),
        "standingNumber": standing(trace)[0].astype(np.int32),
        "standingError": np.array([*standing(trace)[1]], np.float32),
        "candidates": np.array([len(step.tested) for step in steps], np.int32),
        "stepRows": np.array([step.rows for step in steps], np.int32),
        "seconds": np.array(trace.seconds, np.float32),
    }


def _frames(solution: Solution, numbers: NDArray[np.int32], most: int) -> dict[str, NDArray[Any]]:
    """The orders that stood, one after the other, each with the step that it came with.

    The last is the solution's own, which has the blocks too that a search cut short had not placed.
    """
    trace, final = solution.trace, solution.arrangement
    orders: list[Arrangement] = []
    came: list[int] = []
    for k, step in enumerate(trace.steps):
        if not orders or not np.array_equal(step.arrangement, orders[-1]):
            orders.append(step.arrangement)
            came.append(k)
    shown = slice(None, None, -(-len(orders) // most) or 1)
    orders, came = orders[shown], came[shown]
    if not orders or not np.array_equal(orders[-1], final):
        orders.append(final)
        came.append(max(len(trace) - 1, 0))
    starts = np.cumsum([0, *(len(order) for order in orders)])
    return {
        "frameStep": np.array(came, np.int32),
        "frameStart": starts.astype(np.int32),
        "frameBlocks": numbers[np.concatenate(orders)],
    }


def _tested(trace: Trace, every: int) -> dict[str, NDArray[Any]]:
    """The errors of tested candidates, every so manyth, and the number that each had."""
    errors = trace.errors[::every]
    numbers = every * np.arange(len(errors)) + 1
    with np.errstate(over="ignore"):
        return {"testedNumber": numbers.astype(np.int32), "tested": errors.astype(np.float32)}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
