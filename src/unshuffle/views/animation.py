"""The search as an animation: errors on the left, the current order on the right.

After the animations of the write-up "dropped" (gardberg.xyz). Needs the extra `pictures`.
"""

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unshuffle.errors import UsageError
from unshuffle.ordering.trace import Trace
from unshuffle.pieces.pile import PieceId
from unshuffle.views.figures.search import search
from unshuffle.views.figures.style import BLUE, INK, ORANGE, axis, need_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = NDArray[np.uint8]  # shape (height, width, 3): red, green, blue
Encoder = Callable[[Iterator[Image]], bytes]

FRAMES_PER_SECOND = 20
MOST_FRAMES = 200  # ten seconds,
MOST_BETWEEN = 8  # of which at most so many frames show the way from one order to the next
HELD_FRAMES = 40  # for so many frames more the last one stays
PIXELS_PER_INCH = 100


def encode(film: "Film", kind: str, on_frame: Callable[[int], None] | None = None) -> bytes:
    """Render a film as the bytes of a "gif", or of an "mp4", which needs ffmpeg.

    `on_frame` is called with the number of frames done. `UsageError` says that the format is
    unknown, or that ffmpeg is missing or fails.
    """

    def images() -> Iterator[Image]:
        for done, moment in enumerate(film.moments, 1):
            yield film.image(*moment)
            if on_frame is not None:
                on_frame(done)

    return encoder(kind)(images())


def encoder(kind: str) -> Encoder:
    """What makes the bytes of a format. It refuses one that is unknown or lacks ffmpeg."""
    if kind not in ENCODERS:
        raise UsageError(
            f"a film cannot be written as {kind!r}; its name ends in "
            f"{' or '.join(f'.{name}' for name in ENCODERS)}"
        )
    if kind == "mp4" and shutil.which("ffmpeg") is None:
        raise UsageError(
            "an .mp4 needs the program ffmpeg, which was not found; install it, or choose .gif"
        )
    return ENCODERS[kind]


def _gif(images: Iterator[Image]) -> bytes:
    from PIL import Image as Pillow

    frames = [Pillow.fromarray(image) for image in images]
    # One palette for all frames, without dithering: what stands still stays the same to the bit.
    # Wrong pairs have a colour that the last frame may lack.
    some = np.concatenate([np.asarray(frames[at]) for at in (0, len(frames) // 2, -1)])
    palette = Pillow.fromarray(some).quantize(64, Pillow.Quantize.FASTOCTREE)
    frames = [frame.quantize(palette=palette, dither=Pillow.Dither.NONE) for frame in frames]
    first, *others = frames
    milliseconds = 1000 // FRAMES_PER_SECOND
    times = [milliseconds] * len(others) + [HELD_FRAMES * milliseconds]
    stream = io.BytesIO()
    first.save(stream, "gif", save_all=True, append_images=others, duration=times, loop=0)
    return stream.getvalue()


def _mp4(images: Iterator[Image]) -> bytes:
    first = next(images)
    height, width, _ = first.shape
    given = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FRAMES_PER_SECOND} -i -"
    wanted = "-c:v h264 -pix_fmt yuv420p -movflags +faststart"  # what every player can show
    with TemporaryDirectory() as folder:
        file = Path(folder) / "search.mp4"
        command = ["ffmpeg", "-v", "quiet", *given.split(), *wanted.split(), str(file)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            try:
                last = first
                process.stdin.write(first.tobytes())
                for last in images:
                    process.stdin.write(last.tobytes())
                process.stdin.write(last.tobytes() * HELD_FRAMES)
                process.stdin.close()
            except BrokenPipeError:
                pass  # its exit status says so too
        if process.returncode:
            raise UsageError(
                f"ffmpeg ended with status {process.returncode} and wrote no film; try the same "
                "command with .gif, or another build of ffmpeg, with the encoder h264"
            )
        return file.read_bytes()


ENCODERS: dict[str, Encoder] = {"gif": _gif, "mp4": _mp4}


def key_steps(kept: Sequence[bool], most: int) -> list[int]:
    """Steps of a search to show: some of those that changed the order, and the last."""
    changes = [at for at, changed in enumerate(kept) if changed]
    if len(changes) > most - 1:
        spread = np.linspace(0, len(changes) - 1, most - 1).round().astype(np.intp)
        changes = [changes[at] for at in np.unique(spread)]
    return sorted({*changes, len(kept) - 1})


def _set_up(ax: "Axes", blocks: int) -> None:
    """Prepare an axis for places of so many blocks, the first at the upper left."""
    from matplotlib.ticker import MaxNLocator

    ax.set(aspect="equal", xlim=(0, blocks + 1), ylim=(blocks + 1, 0))
    for each in (ax.xaxis, ax.yaxis):
        each.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="place in the order that stands", ylabel="place in the last order")


class Film:
    """The two axes and what moves in them, for a search with at least one candidate."""

    def __init__(self, trace: Trace) -> None:
        need_matplotlib()
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        if not trace.tested:
            raise UsageError("the search tested no candidate, so there is nothing to animate")
        self.trace = trace
        self.keys = key_steps([step.kept for step in trace.steps], MOST_FRAMES)
        # The frames: which key step is being reached, and how much of the way is done.
        between = min(max(MOST_FRAMES // len(self.keys), 1), MOST_BETWEEN)
        shares = [(frame + 1) / between for frame in range(between)]
        self.moments = [(key, share) for key in range(len(self.keys)) for share in shares]
        self.ends = np.cumsum([len(step.tested) for step in trace.steps])
        final = trace.names(trace.steps[-1].arrangement)
        self.final_blocks = set(final)
        self.final_place = {name: at for at, block in enumerate(final, 1) for name in block}

        figure = Figure(figsize=(9.0, 4.0), dpi=PIXELS_PER_INCH, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
        search(trace, left)
        self.dots, self.line, *_ = left.lines
        self.errors = [np.array(artist.get_data()) for artist in (self.dots, self.line)]
        blocks = max(len(step.arrangement) for step in trace.steps)
        figure.suptitle("The search: errors, and the order that stands", fontsize="medium")
        _set_up(axis(right, ""), blocks)
        size = float(np.clip(120 / blocks, 1.5, 6))
        (self.blocks,) = right.plot([], [], "s", color=BLUE, markersize=size, label="block")
        (self.formed,) = right.plot(
            [], [], "s", color=ORANGE, markersize=size, fillstyle="none", label="other pair"
        )
        self.caption = right.set_title("", fontsize="small", color=INK, parse_math=False)
        self.moving = (self.dots, self.line, self.blocks, self.formed, self.caption)
        for artist in self.moving:
            artist.set_animated(True)
        # What stands still is drawn once; each frame adds what moves.
        self.canvas = FigureCanvasAgg(figure)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)

    def show(self, key: int, share: float) -> None:
        """Put everything where it is at a share of the way to the step `keys[key]`."""
        at = self.keys[key]
        earlier = self.keys[key - 1] if key else None
        begin, end = 0 if earlier is None else int(self.ends[earlier]), int(self.ends[at])
        done = begin + round(share * (end - begin))
        dots, line = self.errors
        self.dots.set_data(dots[:, :done])
        stood = line[:, line[0] <= done]
        if stood.size and stood[0, -1] < done:
            stood = np.append(stood, [[done], stood[1, -1:]], axis=1)
        self.line.set_data(stood)

        step = self.trace.steps[at]
        blocks = self.trace.names(step.arrangement)
        before = {} if earlier is None else self._places(earlier)
        now = self._places(at)
        x = np.array([(1 - share) * before.get(one, at) + share * at for one, at in now.items()])
        y = np.array([self.final_place.get(first, np.nan) for first in now])
        final = np.array([block in self.final_blocks for block in blocks], bool)
        self.blocks.set_data(x[final], y[final])
        self.formed.set_data(x[~final], y[~final])
        self.caption.set_text(f"{step.phase}: mean squared error {step.error:.2g}")

    def image(self, key: int, share: float) -> Image:
        """The frame of a moment; see `show`."""
        self.show(key, share)
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _places(self, step: int) -> dict[PieceId, int]:
        """Place of each block in the order that stands after a step, by its first piece."""
        blocks = self.trace.names(self.trace.steps[step].arrangement)
        return {block[0]: place for place, block in enumerate(blocks, 1)}
