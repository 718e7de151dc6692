"""The film of a search: what each frame shows, and the files."""

import io
import shutil
import subprocess

import numpy as np
import pytest

from unshuffle.errors import UsageError
from unshuffle.ordering.trace import Step, Trace
from unshuffle.views import animation
from unshuffle.views.animation import Film, encode, key_steps

pytest.importorskip("matplotlib")


@pytest.fixture
def trace():
    """Two blocks are placed and exchanged; then their out layers are."""
    trace = Trace(["a", "b", "x", "y"])
    first, both, back, last = map(
        np.array, ([[0, 2]], [[0, 2], [1, 3]], [[1, 3], [0, 2]], [[1, 2], [0, 3]])
    )
    trace.add(Step("build", np.array([9.0, 8.0]), True, first, 8.0, 5), 0.1)
    trace.add(Step("build", np.array([7.0, 6.0]), True, both, 6.0, 5), 0.2)
    trace.add(Step("swap", np.array([np.inf, 7.0]), False, both, 6.0, 5), 0.3)
    trace.add(Step("swap", np.array([4.0, 5.0]), True, back, 4.0, 5), 0.4)
    trace.add(Step("repair", np.array([0.1]), True, last, 0.1, 5), 0.5)
    return trace


def test_key_steps_are_the_changes_and_the_end():
    assert key_steps([True, False, True, False, False], 10) == [0, 2, 4]
    assert key_steps([False], 10) == [0]


@pytest.mark.parametrize("most", [2, 5, 50])
def test_many_changes_are_thinned_out_evenly(most):
    kept = [k % 2 == 0 for k in range(401)]
    keys = key_steps(kept, most)
    assert len(keys) <= most
    assert keys[0] == 0
    assert keys[-1] == 400
    assert all(kept[key] for key in keys)
    assert np.ptp(np.diff(keys)) <= 2


def test_each_key_step_shows_what_was_tested_and_what_stands(trace):
    film = Film(trace)
    assert film.keys == [0, 1, 3, 4]
    film.show(0, 1.0)
    assert film.dots.get_ydata().tolist() == [9, 8]
    assert film.line.get_xydata().tolist() == [[2, 8]]
    film.show(2, 1.0)
    assert film.dots.get_xdata().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert film.line.get_xydata().tolist() == [[2, 8], [4, 6], [7, 4], [8, 4]]
    assert "swap: mean squared error 4" in film.caption.get_text()
    film.show(3, 1.0)
    assert film.dots.get_ydata()[-1] == 0.1
    assert len(film.line.get_xdata()) == 5


def test_the_last_frame_shows_the_final_order_on_the_diagonal(trace):
    film = Film(trace)
    film.show(*film.moments[-1])
    assert film.blocks.get_xydata().tolist() == [[1, 1], [2, 2]]
    assert not len(film.formed.get_xdata())


def test_pairs_that_are_not_in_the_final_order_are_drawn_apart(trace):
    film = Film(trace)  # ends with b and x, a and y
    film.show(1, 1.0)
    assert not len(film.blocks.get_xdata())
    assert film.formed.get_xydata().tolist() == [[1, 2], [2, 1]]


def test_blocks_move_from_place_to_place(trace):
    film = Film(trace)
    film.show(2, 0.25)  # a and b change places
    assert film.formed.get_xydata().tolist() == [[1.75, 1], [1.25, 2]]
    assert film.dots.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert film.line.get_xydata().tolist() == [[2, 8], [4, 6], [5, 6]]
    film.show(1, 0.5)  # what stands is seen while the first change is on its way
    assert film.line.get_xydata().tolist() == [[2, 8], [3, 8]]


def test_frames_are_few_however_long_the_search(trace):
    for _ in range(300):
        trace.add(trace.steps[-1], 1.0)
    film = Film(trace)
    assert len(film.moments) <= animation.MOST_FRAMES
    assert film.moments[-1] == (len(film.keys) - 1, 1.0)


def test_images_show_what_moves(trace):
    film = Film(trace)
    first, last = film.image(*film.moments[0]), film.image(*film.moments[-1])
    assert first.shape == (400, 900, 3)
    assert (first != last).any()
    np.testing.assert_array_equal(film.image(*film.moments[0]), first)  # nothing is left behind


def test_a_gif_holds_all_frames_and_rests_on_the_last(trace):
    from PIL import Image

    film = Film(trace)
    done = []
    content = encode(film, "gif", done.append)
    assert done == list(range(1, len(film.moments) + 1))
    assert content == encode(Film(trace), "gif")
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (900, 400)
        durations = []
        for frame in range(image.n_frames):
            image.seek(frame)
            durations.append(image.info["duration"])
        shown = np.asarray(image.convert("RGB")).astype(int)
    expected = animation.HELD_FRAMES + len(film.moments) - 1  # equal frames are stored once
    assert sum(durations) == expected * 1000 // animation.FRAMES_PER_SECOND
    assert durations[-1] >= 2000
    last = film.image(*film.moments[-1]).astype(int)
    assert np.abs(shown - last).mean() < 3


@pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="there is no ffmpeg: `make programs` installs it"
)
def test_a_gif_has_the_colour_of_wrong_pairs(trace):
    from PIL import Image

    with Image.open(io.BytesIO(encode(Film(trace), "gif"))) as film:
        colours = np.asarray(film.convert("RGB")).astype(int).reshape(-1, 3)
    assert (colours[:, 0] - colours[:, 2]).max() > 150  # orange


def test_an_mp4_is_a_film(trace, tmp_path):
    content = encode(Film(trace), "mp4")
    assert content[4:8] == b"ftyp"
    file = tmp_path / "film.mp4"
    file.write_bytes(content)
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(file), "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def fake_ffmpeg(folder, script):
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("script", ["exit 8", "cat > /dev/null; exit 8"])
def test_a_failing_ffmpeg_is_one_clear_error(trace, tmp_path, monkeypatch, script):
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path, script), prepend=":")
    with pytest.raises(UsageError, match=r"ffmpeg ended with status 8.*\.gif"):
        encode(Film(trace), "mp4")


def test_a_missing_ffmpeg_is_one_clear_error(trace, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"needs the program ffmpeg.*\.gif"):
        encode(Film(trace), "mp4")


def test_other_formats_and_empty_searches_are_refused(trace):
    with pytest.raises(UsageError, match=r"'avi'.*\.gif or \.mp4"):
        encode(Film(trace), "avi")
    with pytest.raises(UsageError, match="no candidate"):
        Film(Trace())
