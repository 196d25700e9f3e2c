"""Laws that hold whatever the table: drawn data, a fit of a few steps, and its promises."""

import pickle
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.scaling import SCALERS
from sklearn_jko.training.pilot import CANDIDATES

pytestmark = pytest.mark.filterwarnings("error")
few = settings(max_examples=settings().max_examples // 5)

LARGEST = 1e100


def laws(rng, n, d):
    """Rows before anything is done to them."""
    sides = rng.integers(2, size=(n, 1))
    angle = rng.uniform(0, 6, (n, 1))
    return {
        "normal": lambda: rng.normal(size=(n, d)),
        "uniform": lambda: rng.uniform(size=(n, d)),
        "exponential": lambda: rng.exponential(size=(n, d)),
        "Cauchy": lambda: rng.standard_cauchy((n, d)),
        "lognormal": lambda: rng.lognormal(sigma=8.0, size=(n, d)),
        "two clusters": lambda: 0.05 * rng.normal(size=(n, d)) + 10 * sides,
        "curve": lambda: np.cos(angle * np.arange(1, d + 1)),
        "zeros": lambda: np.zeros((n, d)),
    }


def changes(rng, X):
    """What may be done to a table, each to some of its rows or columns."""
    n, d = X.shape
    chosen, other = rng.integers(d, size=2)
    rows = rng.random(n) < rng.choice([0.03, 0.3, 0.9])
    row = np.arange(n) == rng.integers(n)

    def column(values):
        return np.where(np.arange(d) == chosen, np.reshape(values, (-1, 1)), X)

    return {
        "scales": lambda: X * 10.0 ** rng.integers(-12, 13, d),
        "offsets": lambda: X + 10.0 ** rng.integers(-3, 10, d),
        "integers": lambda: np.round(X),
        "decimals": lambda: np.round(X, 1),
        "atoms": lambda: np.where(rng.random((n, d)) < 0.3, 0.0, X),
        "atom in a column": lambda: column(np.where(rows, X[0, chosen], X[:, chosen])),
        "copied rows": lambda: X[rng.integers(n, size=n)],
        "one row many times": lambda: np.where(rows[:, None], X[0], X),
        "constant column": lambda: column(X[0, chosen]),
        "nearly constant column": lambda: column(np.where(row, X[:, chosen], X[0, chosen])),
        "copied column": lambda: column(X[:, other]),
        "scaled column": lambda: column(-3e5 * X[:, other] + 7),
        "sum of columns": lambda: column(X.sum(axis=1)),
        "squared column": lambda: column(X[:, other] ** 2),
        "outlying row": lambda: np.where(row[:, None], 10.0 ** rng.integers(6, 31, d), X),
        "outlying values": lambda: X * 10.0 ** np.where(rng.random((n, d)) < 0.02, 20, 0),
    }


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "float32": lambda X: X.clip(*np.array([-1, 1]) * np.finfo(np.float32).max).astype(np.float32),
    "int64": lambda X: X.clip(-(2.0**60), 2.0**60).astype(np.int64),
    "int8": lambda X: X.clip(-128, 127).astype(np.int8),
    "bool": lambda X: X > np.median(X, axis=0),
}


@st.composite
def composed_tables(draw):
    """A law and up to four changes of it."""
    n = draw(st.integers(2, 12) | st.integers(30, 120) | st.integers(60, 120))
    d = draw(st.sampled_from([*range(1, 9), 1, 2, 3, 4, 30]))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    recipe = [draw(st.sampled_from(list(laws(rng, n, d))))]
    X = laws(rng, n, d)[recipe[0]]()
    names = list(changes(rng, X))
    recipe += draw(st.lists(st.sampled_from(names), max_size=4))
    for name in recipe[1:]:
        X = changes(rng, X)[name]().clip(-LARGEST, LARGEST)
    note(f"{n} x {d}, seed {seed}: {recipe}")
    return X


def raw_tables():
    """Numbers out of hypothesis's own hat: subnormal, huge, equal."""
    shapes = st.tuples(st.integers(2, 8), st.integers(1, 3))
    return hnp.arrays(np.float64, shapes, elements=st.floats(-LARGEST, LARGEST))


def as_array(X, layout, writeable):
    X = LAYOUTS[layout](X)
    X.flags.writeable = writeable
    return X


COMPOSED = composed_tables()
ARRAYS = st.builds(
    as_array,
    COMPOSED | COMPOSED | COMPOSED | raw_tables(),
    st.sampled_from(list(LAYOUTS)),
    st.booleans(),
)
FRAMES = ARRAYS.map(lambda X: pd.DataFrame(X).add_prefix("column "))


SETTINGS = st.fixed_dictionaries(
    {
        "scaling": st.sampled_from([*dict.fromkeys([*SCALERS, *CANDIDATES]), "auto"]),
        "hidden_layer_sizes": st.sampled_from([(8, 8), (8,), ()]),
        "max_blocks": st.sampled_from([1, 2, 2, 2, 0]),
        "max_iter": st.sampled_from([10, 40]),
        "step_size": st.sampled_from([0.5, np.inf]),
        "learning_rate_init": st.sampled_from([0.03, 0.1, "auto"]),
        "solver": st.sampled_from(["rk4", "midpoint", "dopri5"]),
        "random_state": st.integers(0, 3),
    }
)


def fitted(X, params):
    """A fitted model, after a look at the warnings of its fit."""
    model = JKOFlowDensity(**params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", ".*held-out rows, too few")  # if many rows are copies
        model.fit(X)
    told = [w for w in caught if w.category is not ConvergenceWarning]
    noisy = np.flatnonzero(model.noise_width_)
    names = getattr(model, "feature_names_in_", np.arange(X.shape[1]))[noisy].tolist()
    assert [w.category for w in told] == [UserWarning] * bool(names)
    assert all(", ".join(map(repr, names[:10])) in str(w.message) for w in told)
    return model


def extent(X, scaling):
    """Centre of each column, and its largest distance from there."""
    X = np.asarray(X, dtype=float)
    if scaling in ("none", "radial"):  # these see the table from the origin, in one unit
        return np.zeros(X.shape[1]), np.full(X.shape[1], max(np.abs(X).max(), 1.0))
    centre = np.median(X, axis=0)
    reach = np.abs(X - centre).max(axis=0)
    return centre, np.where(reach > 0, reach, np.maximum(1.0, 4 * np.spacing(np.abs(centre))))


@given(ARRAYS | FRAMES, SETTINGS)
def test_fit_finishes_and_leaves_the_table_alone(X, params):
    before = X.copy()
    model = fitted(X, params)
    assert np.asarray(X).tobytes() == np.asarray(before).tobytes()
    assert isinstance(model.solver_error_, float)
    assert isinstance(model.inversion_error_, float)
    assert np.isfinite([model.solver_error_, model.inversion_error_]).all()
    assert np.isfinite(model.noise_width_).all()
    assert (model.noise_width_ >= 0).all()
    assert model.n_blocks_ <= len(model.history_) <= params["max_blocks"]


@given(ARRAYS, SETTINGS)
def test_every_finite_row_has_a_finite_score(X, params):
    model = fitted(X, params)
    X = np.asarray(X, dtype=float)
    centre, reach = extent(X, params["scaling"])
    sizes = np.r_[1e3, 1e30, 1e300, [np.finfo(dtype).max for dtype in (np.float32, np.float64)]]
    far = np.repeat(sizes[:, None], X.shape[1], axis=1)
    for rows in X, centre + 1e3 * reach, centre - 1e3 * reach, far, -far:
        rows = rows.reshape(-1, X.shape[1])
        assert np.isfinite(model.score_samples(rows)).all()
        assert np.isfinite(model.transform(rows)).all()


@given(ARRAYS, SETTINGS, st.integers(0, 2**32 - 1))
def test_density_falls_along_every_ray(X, params, seed):
    model = fitted(X, params)
    X = np.asarray(X, dtype=float)
    centre, reach = extent(X, params["scaling"])
    direction = np.random.default_rng(seed).integers(-1, 2, X.shape[1])
    direction = reach * (direction if direction.any() else 1)
    ladder = centre + np.array([1e3, 1e5, 1e8, 1e15, 1e30])[:, None] * direction
    scores = model.score_samples(ladder)
    assert scores[0] < np.median(model.score_samples(X))
    assert (np.diff(scores) <= 1e-9 * np.abs(scores[1:])).all()


@given(ARRAYS, SETTINGS)
def test_rows_return_from_a_round_trip(X, params):
    model = fitted(X, params)
    X = np.asarray(X, dtype=float)
    back = model.inverse_transform(model.transform(X))
    scaled, scaled_back = (model.scaler_.transform(rows)[0] for rows in (X, back))
    size = np.abs(scaled).max(axis=1, keepdims=True)
    assert (np.abs(scaled_back - scaled) <= 1e-6 * np.maximum(size, 1)).all()
    if model.n_blocks_ == 0:
        allowed = 1e-6 * extent(X, params["scaling"])[1] + 1e-12 * np.abs(X)
        assert (np.abs(back - X) <= allowed).all()
    assert np.isfinite(model.sample(50, random_state=0)).all()


@given(ARRAYS, SETTINGS)
def test_row_scores_the_same_alone_and_among_others(X, params):
    model = fitted(X, params)
    X = np.asarray(X, dtype=float)
    alone = np.concatenate([model.score_samples(row[None]) for row in X[:5]])
    np.testing.assert_allclose(alone, model.score_samples(X)[:5], rtol=1e-6, atol=1e-6)


@given(ARRAYS, SETTINGS, st.integers(-30, 30))
def test_unit_of_measurement_does_not_matter(X, params, exponent):
    """Without blocks, as these are trained on a split that hashes the values."""
    scaling = {"none": "standard", "radial": "whiten+radial", "auto": "power"}
    params |= {"scaling": scaling.get(params["scaling"], params["scaling"]), "max_blocks": 0}
    X = np.asarray(X, dtype=float)
    # A constant column's noise knows no unit, and subnormal numbers lose digits in a smaller one.
    X = X[:, np.ptp(X, axis=0) > 1e-200]
    if X.shape[1]:
        unit = 2.0**exponent
        scores = fitted(X, params).score_samples(X) - X.shape[1] * np.log(unit)
        np.testing.assert_allclose(fitted(X * unit, params).score_samples(X * unit), scores, 1e-6)


@few
@given(ARRAYS | FRAMES, SETTINGS)
def test_container_of_the_numbers_does_not_matter(X, params):
    plain = np.array(X, dtype=float, order="C")
    scores = fitted(X, params).score_samples(X)
    np.testing.assert_array_equal(fitted(plain, params).score_samples(plain), scores)


@few
@given(ARRAYS, SETTINGS)
def test_pickled_model_scores_the_same(X, params):
    model = fitted(X, params)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


@few
@given(ARRAYS | FRAMES, SETTINGS)
def test_saved_model_scores_the_same(X, params):
    model = fitted(X, params)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        loaded = JKOFlowDensity.load(Path(folder) / "model")
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


@few
@given(COMPOSED, SETTINGS, st.floats(0.05, 0.6), st.integers(0, 2**32 - 1))
def test_gaps_are_filled_told_and_scored(X, params, share, seed):
    gaps = np.random.default_rng(seed).random(X.shape) < share
    gaps[0] = False  # so that each column holds a value
    gaps[-1, 0] = True
    assume(np.count_nonzero(~gaps.all(axis=1)) > 1)  # as many as a fit asks for
    table = np.where(gaps, np.nan, X)
    model = JKOFlowDensity(**params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(table)
    told = [str(w.message) for w in caught if "have missing values" in str(w.message)]
    names = np.flatnonzero(gaps.any(axis=0))[:10]
    assert len(told) == 1
    assert ", ".join(map(str, names)) in told[0]
    scores, error = model.score_samples(table, return_std=True)
    assert np.isfinite(scores).all()
    assert (error >= 0).all()
    complete = ~gaps.any(axis=1)
    np.testing.assert_array_equal(scores[complete], model.score_samples(table[complete]))
    filled = model.impute(table, random_state=0)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~gaps], table[~gaps])


KINDS = {
    "numbers": lambda rng, n: rng.normal(size=n) * 10.0 ** rng.integers(-9, 10),
    "shares": lambda rng, n: rng.random(n),
    "positive": lambda rng, n: rng.lognormal(sigma=3.0, size=n),
    "constant": lambda rng, n: np.full(n, 7.0),
    "few integers": lambda rng, n: rng.integers(4, size=n),
    "large integers": lambda rng, n: rng.integers(-(2**40), 2**40, size=n),
    "texts": lambda rng, n: rng.choice(["a", "b", "c"], size=n),
    "one text": lambda rng, n: np.full(n, "only"),
    "booleans": lambda rng, n: rng.random(n) < 0.5,
    "declared": lambda rng, n: pd.Categorical(rng.choice(["x", "y"], size=n), ["w", "x", "y"]),
}


@st.composite
def mixed_frames(draw):
    """A frame of columns of several kinds, and whether its values are there."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, names = draw(st.sampled_from([2, 3, 5, 12, 40, 120])), st.sampled_from(list(KINDS))
    kinds = ["numbers", *draw(st.lists(names, max_size=4))]
    note(f"{n} rows of {kinds}")
    frame = pd.DataFrame({f"{j} {kind}": KINDS[kind](rng, n) for j, kind in enumerate(kinds)})
    is_there = rng.random(frame.shape) >= draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
    is_there[0] = True  # so that each column holds a value
    return frame, is_there


@few
@given(mixed_frames(), SETTINGS, st.booleans())
def test_mixed_frames_with_gaps_are_scored_and_filled(mixed, params, detects):
    frame, is_there = mixed
    gaps = frame.where(is_there)
    density = JKOFlowDensity(columns="auto", **params)
    model = JKOFlowOutlierDetector(density=density) if detects else density
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*((have missing|hold repeated) values|held-out rows, too few)"
        )
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(gaps)
    for rows in (gaps, frame, gaps[:1]):
        assert np.isfinite(model.score_samples(rows)).all()
    filled = (model.density_ if detects else model).impute(gaps, random_state=0)
    assert not filled.isna().any(axis=None)
    same = filled.astype(object).to_numpy() == frame.astype(object).to_numpy()
    assert same[is_there].all()
    if detects:
        shares, references = model.explain(filled), model.references(filled)
        difference = model.score_samples(filled) - model.score_samples(references)
        np.testing.assert_allclose(shares.sum(axis=1), difference, rtol=1e-6, atol=1e-6)


def with_value(value):
    return lambda X: np.where(np.arange(X.size).reshape(X.shape) == X.size // 2, value, X)


NOT_TABLES = {
    "NaN in one column": (
        lambda X: np.where(np.arange(X.shape[1]) == X.shape[1] // 2, np.nan, X),
        "1 of .* hold no value",
    ),
    "inf": (with_value(np.inf), "contains infinity"),
    "-inf": (with_value(-np.inf), "contains infinity"),
    "all missing": (
        lambda X: pd.DataFrame(X).astype("Float64").mask(np.isfinite(X)),
        "hold no value",
    ),
    "one row": (lambda X: X[:1], r"1 sample\(s\)"),
    "no rows": (lambda X: X[:0], r"0 sample\(s\)"),
    "no columns": (lambda X: X[:, :0], r"0 feature\(s\)"),
    "1-D": (lambda X: X[:, 0], "got 1D array"),
    "3-D": (lambda X: X[None], "dim 3"),
    "number": (lambda X: X[0, 0], "got scalar"),
    "strings": (lambda X: np.full(X.shape, "tall"), "'tall'"),
    "words in pandas": (
        lambda X: pd.DataFrame(X).add_prefix("column ").assign(size="tall"),
        "'tall'",
    ),
    "complex": (lambda X: X + 1j, "Complex data"),
    "sparse": (sparse.csr_matrix, "X is a sparse matrix; pass X.toarray"),
    "None": (lambda X: None, "got scalar"),
}


@pytest.mark.parametrize("case", NOT_TABLES)
@few
@given(X=composed_tables())
def test_what_is_no_table_is_named_and_not_fitted(case, X):
    spoil, message = NOT_TABLES[case]
    model = JKOFlowDensity()
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(spoil(X))
    with pytest.raises(NotFittedError):
        model.score_samples(X)
