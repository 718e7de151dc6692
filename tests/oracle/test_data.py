"""Data is what its parameters say."""

import numpy as np
import pyarrow
import pytest
from pyarrow.parquet import write_table

from unshuffle.errors import RecordError, UsageError
from unshuffle.oracle.data import DATA, Bits, Classes, OwnTable, Smooth


def test_bits_without_noise_show_two_modes_and_the_levels_that_the_bits_make(rng):
    bits = Bits(rows=500, off=-1, on=2, off_noise=0, on_noise=0, smeared=0, level_noise=0)
    examples = bits.draw(12, 1, rng)
    assert set(np.unique(examples.inputs)) == {-1, 2}
    a, b, c, d = (examples.inputs > 0).reshape(-1, 4, 3).sum(axis=2).T
    level = np.minimum(abs(a - b) + abs(c - d), 9)
    np.testing.assert_allclose(examples.targets[:, 0], 0.35 * (level - 4.5), rtol=1e-6)


def test_the_targets_of_bits_have_ten_modes(rng):
    targets = Bits(rows=20_000).draw(48, 1, rng).targets
    level = targets / 0.35 + 4.5
    assert set(np.round(level).ravel()) == set(range(10))
    assert np.std(level - np.round(level)) == pytest.approx(0.05 / 0.35, rel=0.05)


def test_outputs_of_bits_differ(rng):
    targets = Bits(rows=2_000, level_noise=0).draw(16, 3, rng).targets
    assert targets.shape == (2_000, 3)
    assert abs(np.corrcoef(targets.T) - np.eye(3)).max() < 0.9


def test_the_rate_of_set_bits_lies_between_its_bounds(rng):
    bits = Bits(rows=20_000, on_rate_low=0.6, on_rate_high=0.8, on_noise=0, off_noise=0, smeared=0)
    rates = (bits.draw(8, 1, rng).inputs > 0).mean(axis=0)
    assert ((rates > 0.58) & (rates < 0.82)).all()


def test_smooth_targets_have_unit_variance_and_follow_the_inputs(rng):
    examples = Smooth(rows=20_000, noise=0, frequency=3.0).draw(6, 2, rng)
    np.testing.assert_allclose(examples.targets.var(axis=0), 1, rtol=0.15)
    # Noise alone makes the difference between two draws from one seed.
    one, other = (
        Smooth(rows=2_000, noise=noise).draw(6, 1, np.random.default_rng(1)).targets
        for noise in (0.0, 0.5)
    )
    assert np.std(other - one) == pytest.approx(0.5, rel=0.05)


def test_classes_are_clouds(rng):
    examples = Classes(rows=600, clouds=2, spread=0).draw(5, 3, rng)
    assert set(examples.targets.ravel()) == {0, 1, 2}
    for number in range(3):
        rows = examples.inputs[examples.targets[:, 0] == number]
        assert len(np.unique(rows, axis=0)) == 2


@pytest.mark.parametrize("kind", [Bits, Smooth, Classes])
def test_a_seed_gives_the_same_examples(kind):
    one, other = (kind(rows=50).draw(8, 2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.inputs, other.inputs)
    np.testing.assert_array_equal(one.targets, other.targets)
    assert one.inputs.dtype == one.targets.dtype == np.float32


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_a_table_of_ones_own(tmp_path, rng, suffix):
    values = rng.normal(size=(20, 5)).astype(np.float32)
    path = tmp_path / f"rows.{suffix}"
    names = ["a", "b", "pred", "c", "true"]
    if suffix == "csv":
        text = "\n".join(",".join(map(str, row)) for row in [names, *values])
        path.write_text(text)
    elif suffix == "npz":
        np.savez(path, **dict(zip(names, values.T, strict=True)))
    else:
        write_table(pyarrow.table(dict(zip(names, values.T, strict=True))), path)
    examples = OwnTable(str(path)).draw(3, 1, rng)
    np.testing.assert_array_equal(examples.inputs, values[:, [0, 1, 3]])
    np.testing.assert_array_equal(examples.targets, values[:, [4]])
    named = OwnTable(str(path), inputs=("c", "a"), targets=("b", "true")).draw(2, 2, rng)
    np.testing.assert_array_equal(named.inputs, values[:, [3, 0]])
    np.testing.assert_array_equal(named.targets, values[:, [1, 4]])


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("a,b,true\n1,2,3\n", UsageError, ["2 input columns", "3 inputs"]),
        ("a,b,c\n1,2,3\n", UsageError, ["0 target columns", "1 output"]),
        ("a,b,c,true\n1,2,3,4\n1,2,3,\n", UsageError, ["row 2", "empty target"]),
        ("a,b,c,true\n1,2,x,4\n", RecordError, ["'x'"]),
    ],
)
def test_a_table_that_does_not_fit_is_a_mistake(tmp_path, rng, text, kind, parts):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(kind) as caught:
        OwnTable(str(path)).draw(3, 1, rng)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_every_kind_is_known_by_its_name():
    assert list(DATA) == ["bits", "smooth", "classes", "tokens", "images", "table"]
