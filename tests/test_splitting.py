"""Laws of the split into training and held-out rows."""

import numpy as np
import pytest

from sklearn_jko.rows import resolution
from sklearn_jko.rows.resolution import are_few_values
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.rows.splitting import MAX_HELD_OUT, MIN_HELD_OUT, held_out_mask

SAMPLES = {
    "normal": np.random.default_rng(0).normal(size=(1000, 3)),
    "integer": np.random.default_rng(1).integers(0, 12, size=(1000, 2)).astype(float),
    "one column": np.random.default_rng(2).normal(size=(1000, 1)),
    "copies": np.repeat(np.random.default_rng(3).normal(size=(200, 2)), 5, axis=0),
}
every_sample = pytest.mark.parametrize("X", SAMPLES.values(), ids=SAMPLES)


@every_sample
def test_copies_stay_together(X):
    mask = held_out_mask(hash_rows(X), 0.1, seed=0)
    training, held_out = ({tuple(row) for row in X[side]} for side in (~mask, mask))
    assert training
    assert held_out
    assert not training & held_out


@every_sample
def test_order_of_the_rows_does_not_matter(X):
    order = np.random.default_rng(7).permutation(len(X))
    mask, other = (held_out_mask(hash_rows(rows), 0.1, seed=0) for rows in (X, X[order]))
    np.testing.assert_array_equal(other, mask[order])


@every_sample
def test_layout_in_memory_does_not_matter(X):
    np.testing.assert_array_equal(hash_rows(np.asfortranarray(X)), hash_rows(X))


@pytest.mark.parametrize("other", [-np.nan, np.uint64(0x7FF8000000000001).view(np.float64)])
def test_one_nan_is_as_good_as_another(other):
    """Zero over zero is a NaN of the other sign on common processors."""
    X, same = np.array([[1.0, np.nan]]), np.array([[1.0, other]])
    assert X.tobytes() != same.tobytes()
    assert hash_rows(X) == hash_rows(same)


@every_sample
@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_count_is_near_the_wanted_one(X, fraction):
    _, counts = np.unique(X, axis=0, return_counts=True)
    n_held_out = held_out_mask(hash_rows(X), fraction, seed=0).sum()
    assert abs(n_held_out - fraction * len(X)) <= counts.max() / 2


@pytest.mark.parametrize(
    ("n", "fraction", "wanted"),
    [
        (100, 0.1, 25),
        (300, 0.1, MIN_HELD_OUT),
        (2000, 0.1, 200),
        (100, 0.4, 40),
        (60_000, 0.1, MAX_HELD_OUT),
        (2, 0.1, 0),
        (3, 0.1, 1),
        (3, 0.9, 1),
        (1000, 0.999, 998),
    ],
)
def test_count_of_distinct_rows(n, fraction, wanted):
    X = np.random.default_rng(0).normal(size=(n, 2))
    assert abs(held_out_mask(hash_rows(X), fraction, seed=0).sum() - wanted) <= 0.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("counts", [(99, 1), (1, 99), (50, 50), (3, 3, 3)])
def test_there_are_rows_on_both_sides(seed, counts):
    X = np.repeat(np.arange(len(counts), dtype=float)[:, None], counts, axis=0)
    mask = held_out_mask(hash_rows(X), 0.1, seed)
    assert mask.any()
    assert not mask.all()


@pytest.mark.parametrize("n", [1, 2, 50])
def test_equal_rows_are_all_for_training(n):
    assert not held_out_mask(hash_rows(np.full((n, 2), 3.0)), 0.1, seed=0).any()


def test_negative_zero_equals_zero():
    X = SAMPLES["integer"]
    assert (X == 0).any()
    negative = np.where(X == 0, -0.0, X)
    np.testing.assert_array_equal(hash_rows(negative), hash_rows(X))


@pytest.mark.parametrize("X", [SAMPLES["normal"], SAMPLES["integer"]], ids=["normal", "integer"])
def test_seeds_differ_and_hold_out_every_row_alike(X):
    """Over many seeds a row is held out about as often as the share says."""
    masks = np.stack([held_out_mask(hash_rows(X), 0.1, seed) for seed in range(200)])
    assert len(np.unique(masks, axis=0)) > 150
    share = masks.mean(axis=0)
    assert share.min() > 0.01
    assert share.max() < 0.25
    np.testing.assert_array_equal(held_out_mask(hash_rows(X), 0.1, 3), masks[3])


def test_rows_are_left_alone():
    X = SAMPLES["integer"].copy()
    hashes = hash_rows(X)
    before = hashes.copy()
    held_out_mask(hashes, 0.1, seed=0)
    np.testing.assert_array_equal(X, SAMPLES["integer"])
    np.testing.assert_array_equal(hashes, before)


def test_very_common_rows_stand_on_both_sides():
    """Held out as one, they would leave whole values out of training."""
    X = np.random.default_rng(0).integers(0, 10, size=(3000, 1)).astype(float)
    mask = held_out_mask(hash_rows(X), 0.1, 0)
    assert abs(mask.sum() - 300) < 20
    for value in range(10):
        assert 0 < mask[X[:, 0] == value].mean() < 0.3
    shuffled = np.random.default_rng(1).permutation(len(X))
    held_out = held_out_mask(hash_rows(X[shuffled]), 0.1, 0)
    np.testing.assert_array_equal(np.sort(X[shuffled][held_out, 0]), np.sort(X[mask, 0]))


def are_few(X):
    return are_few_values(X, np.lexsort(X.T), hash_rows(X))  # equal rows side by side, as in `fit`


def ages(n):
    """One column of whole numbers, and a tenth of a code for none."""
    rng = np.random.default_rng(0)
    return np.where(rng.random(n) < 0.1, -999, rng.integers(18, 90, n))[:, None].astype(float)


def test_values_of_a_column_that_has_few_are_on_both_sides():
    X = ages(1000)
    assert are_few(X)
    mask = held_out_mask(hash_rows(X), 0.1, 0, splits_copies=True)
    assert abs(mask.sum() - 100) <= 1
    assert np.isin(X[mask], X[~mask]).all()
    assert mask[X[:, 0] == -999].mean() == pytest.approx(0.1, abs=0.06)
    order = np.random.default_rng(1).permutation(1000)
    other = held_out_mask(hash_rows(X[order]), 0.1, 0, splits_copies=True)
    np.testing.assert_array_equal(np.sort(X[order][other, 0]), np.sort(X[mask, 0]))


@pytest.mark.parametrize("unit", [1.0, 0.1, 1e-9])
def test_few_values_are_told_from_copies_of_rows(unit):
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, size=(1000, 3))
    assert are_few(unit * counts)
    assert not are_few(unit * SAMPLES["copies"])
    drawn_again = unit * ages(1000)[rng.integers(20, size=1000)]
    assert are_few(drawn_again)  # of whole numbers nothing tells
    rounded = unit * rng.normal(50, 10, size=(1000, 2)).round()
    assert not are_few(rounded[rng.integers(1000, size=1000)])
    assert not are_few(unit * SAMPLES["normal"])


def test_copies_are_counted_among_all_rows(monkeypatch):
    monkeypatch.setattr(resolution, "MAX_ROWS", 100)
    assert are_few(np.arange(1000.0)[:, None] // 10)
