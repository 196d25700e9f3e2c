"""Pictures: what they show, how they name it, and that they change nothing else."""

import re
import subprocess
import sys
import warnings
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest
from conftest import SMALL, two_moons
from scipy import sparse
from scipy.integrate import trapezoid
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import (
    DensityDisplay,
    FlowTrajectoryDisplay,
    JKOFlowDensity,
    JKOFlowOutlierDetector,
    OutlierDisplay,
    TrainingHistoryDisplay,
)
from sklearn_jko.diagnostics import measure_blocks, path_through_blocks
from sklearn_jko.plotting._axes import central_range
from sklearn_jko.plotting._grids import bin_edges
from sklearn_jko.plotting._regions import SHARES
from sklearn_jko.training.block_training import BlockRecord

matplotlib.use("Agg")

NAMES = ["height", "width_$", "depth ($)", "age", "weight"]


@pytest.fixture(autouse=True)
def _tidy():
    """Settings are as they were after every test, and no figure is left."""
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def normal_rows(n_columns, n=300, scale=1.0, seed=0):
    mixing = np.eye(n_columns) + 0.5 * np.eye(n_columns, k=1)
    return scale * np.random.default_rng(seed).normal(size=(n, n_columns)) @ mixing


def mixture(X, n_components=1):
    return GaussianMixture(n_components, random_state=0, reg_covar=0).fit(X)


def zero_block_flow(X):
    return JKOFlowDensity(scaling="whiten", max_blocks=0, random_state=0).fit(X)


def drawn(display):
    """Draw for good, where any warning is an error, and return the picture's panels with data."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.figure_.canvas.draw()
    return display.figure_.axes


def tick_labels(ax):
    return [label.get_text() for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]


def shares_inside(ax, rows):
    """How many of the rows lie in each filled region, the outermost first."""
    regions = [c for c in ax.collections if isinstance(c, matplotlib.contour.ContourSet)]
    return [
        np.any([path.contains_points(rows) for path in region.get_paths()], axis=0).mean()
        for region in regions
    ]


# DensityDisplay


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("n_columns", [1, 2, 5])
@pytest.mark.parametrize("fit", [mixture, zero_block_flow])
def test_density_of_any_width_and_scale(n_columns, scale, fit):
    X = pd.DataFrame(normal_rows(n_columns, scale=scale), columns=NAMES[:n_columns])
    display = DensityDisplay.from_estimator(fit(X), X, n_samples=500, random_state=0)
    axes = drawn(display)
    # The corner has one more for the legend.
    assert len(axes) == (1 if n_columns < 5 else 16)
    lowest = display.ax_ if n_columns < 5 else display.axes_[-1, 0]
    assert lowest.get_xlabel().startswith("height")
    assert ("10" in lowest.get_xlabel()) == (scale != 1.0)
    assert max(map(len, tick_labels(lowest))) <= 6
    values = X["height"] if n_columns < 5 else display.rows[:, 0]
    assert lowest.get_xlim()[0] < np.quantile(values, 0.01)
    assert lowest.get_xlim()[1] > np.quantile(values, 0.99)


def test_curve_is_the_density_over_the_histogram():
    X = normal_rows(1, 2000)
    display = DensityDisplay.from_estimator(mixture(X), X)
    curve, rug = display.ax_.lines
    x, density = curve.get_data()
    np.testing.assert_allclose(density, np.exp(mixture(X).score_samples(x[:, None])))
    assert trapezoid(density, x) == pytest.approx(1, abs=0.01)
    heights, edges, _ = display.ax_.patches[0].get_data()
    assert (heights * np.diff(edges)).sum() == pytest.approx(1, abs=0.01)
    assert len(rug.get_xdata()) == 2000
    assert display.ax_.get_xlabel() == "column 0"
    assert "density" in display.ax_.get_ylabel()


def test_regions_hold_what_the_legend_says():
    X = normal_rows(2, 3000)
    display = DensityDisplay.from_estimator(mixture(X), X, random_state=0)
    fresh = normal_rows(2, 20_000, seed=1)
    np.testing.assert_allclose(shares_inside(display.ax_, fresh), SHARES, atol=0.02)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [f"{share}% of model" for share in (50, 80, 95, 99)] + ["3,000 rows"]
    # More points would be a blot.
    assert len(display.ax_.lines[0].get_xdata()) == 2000


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_legend_covers_no_neighbour(layout):
    figure, axes = plt.subplots(1, 2, layout=layout)
    X = normal_rows(2)
    display = DensityDisplay.from_estimator(mixture(X), X, ax=axes[0])
    figure.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert not legend.overlaps(axes[1].get_window_extent())


def test_regions_of_two_clusters_hold_what_the_legend_says():
    X = np.r_[normal_rows(2), normal_rows(2, seed=1) + np.array([30, 5])]
    density = mixture(X, 2)
    display = DensityDisplay.from_estimator(density, X, random_state=0)
    fresh = density.sample(20_000)[0]
    np.testing.assert_allclose(shares_inside(display.ax_, fresh), SHARES, atol=0.03)


def test_regions_of_pairs_hold_what_the_legend_says():
    X = normal_rows(3, 500) * [1, 10, 100]
    display = DensityDisplay.from_estimator(mixture(X), X, n_samples=20_000, random_state=0)
    fresh, _ = mixture(X).sample(20_000)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        inside = shares_inside(display.axes_[j, i], fresh[:, [i, j]])
        np.testing.assert_allclose(inside, SHARES, atol=0.03)


def test_region_of_a_narrow_pair_stays_narrow():
    X = normal_rows(3, 2000)
    X[:, 1] = X[:, 0] + 0.05 * np.random.default_rng(1).normal(size=len(X))
    display = DensityDisplay.from_estimator(mixture(X), X, n_samples=20_000, random_state=0)
    ridge = [c for c in display.axes_[1, 0].collections if hasattr(c, "levels")][1]
    x, y = np.concatenate([path.vertices for path in ridge.get_paths()]).T
    deviation = np.std(X[:, 1] - X[:, 0])
    # 95 % of a normal distribution in the plane lie within 2.45 deviations; a cell is 1.5 wide.
    assert 2.2 < np.abs(y - x).max() / deviation < 6.0


def test_regions_of_an_estimator_that_cannot_sample():
    X = normal_rows(2, 1000)
    density = KernelDensity(kernel="epanechnikov", bandwidth=1.0).fit(X)
    display = DensityDisplay.from_estimator(density, X)
    gaussian = DensityDisplay.from_estimator(KernelDensity(bandwidth=0.45).fit(X), X)
    assert display.samples is None
    np.testing.assert_allclose(display.thresholds[1:], gaussian.thresholds[1:], atol=0.2)
    assert np.all(np.diff(display.thresholds) > 0)


def test_corner_compares_rows_with_samples():
    X = normal_rows(3)
    density = mixture(X + 1.0)
    display = DensityDisplay.from_estimator(density, X, random_state=0)
    assert display.samples.shape == (10_000, 3)
    assert [[ax is None for ax in row] for row in display.axes_] == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]
    rows, samples = (
        (heights * np.diff(edges) * (edges[:-1] + edges[1:]) / 2).sum()
        for heights, edges, _ in (patch.get_data() for patch in display.axes_[0, 0].patches)
    )
    assert rows == pytest.approx(X[:, 0].mean(), abs=0.1)
    assert samples == pytest.approx(X[:, 0].mean() + 1.0, abs=0.1)
    np.testing.assert_array_equal(np.array(display.axes_[2, 0].lines[0].get_data()), X[:, [0, 2]].T)
    assert [ax.get_xlabel() for ax in display.axes_[2]] == ["column 0", "column 1", "column 2"]
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == ["", "column 1", "column 2"]
    assert display.axes_[2, 1].get_ylabel() == ""


@pytest.mark.parametrize("columns", [["age", "width_$"], [3, 1]])
def test_corner_of_chosen_columns(columns):
    X = pd.DataFrame(normal_rows(5), columns=NAMES)
    display = DensityDisplay.from_estimator(mixture(X), X, columns=columns)
    drawn(display)
    assert display.column_names == ["age", "width_$"]
    np.testing.assert_array_equal(display.rows, X[["age", "width_$"]])
    assert display.axes_[1, 1].get_xlabel() == r"width_\$"


def test_corner_of_one_chosen_column():
    X = normal_rows(5)
    display = DensityDisplay.from_estimator(mixture(X), X, columns=2)
    (ax,) = drawn(display)
    assert ax is display.axes_[0, 0]
    assert ax.get_xlabel() == "column 2"
    assert len(ax.get_legend().get_texts()) == 2


def test_same_seed_same_samples_and_the_estimator_is_left_alone():
    X = normal_rows(3)
    density = GaussianMixture(2).fit(X)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (
        DensityDisplay.from_estimator(density, X, random_state=5, n_samples=9) for _ in range(2)
    )
    np.testing.assert_array_equal(one.samples, two.samples)
    assert density.random_state is None
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_names_do_not_make_the_estimator_warn():
    X = pd.DataFrame(normal_rows(2), columns=NAMES[:2])
    density = zero_block_flow(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DensityDisplay.from_estimator(density, X)
        FlowTrajectoryDisplay.from_estimator(density, X)
        OutlierDisplay.from_estimator(density, X)


def test_a_row_far_away_is_told_and_not_shown():
    X = np.r_[normal_rows(2), [[1e12, 0.0]], [[0.0, -1e300]]]
    display = DensityDisplay.from_estimator(mixture(normal_rows(2)), X)
    drawn(display)
    assert np.abs(display.ax_.axis()).max() < 20
    assert display.ax_.get_legend().get_texts()[-1].get_text() == "302 rows, 2 beyond the axes"


@pytest.mark.parametrize("value", [0.0, 1e9, -3e-9])
def test_constant_columns_are_drawn(value):
    X = np.full((30, 2), value)
    display = DensityDisplay.from_estimator(KernelDensity(bandwidth=1.0).fit(X), X)
    drawn(display)
    low, high = display.ax_.get_xlim()
    assert low < value < high


def test_offset_stands_beside_the_name():
    X = 1e9 + normal_rows(1)
    display = DensityDisplay.from_estimator(KernelDensity(bandwidth=0.5).fit(X), X)
    drawn(display)
    assert display.ax_.get_xlabel() == "column 0 \N{MINUS SIGN} 1000000000"
    assert "0" in tick_labels(display.ax_)


@pytest.mark.parametrize("n_columns", [1, 2, 3])
@pytest.mark.parametrize("offset", [1e12, -1e14])
def test_a_column_far_from_zero_is_no_point(n_columns, offset):
    X = normal_rows(n_columns)
    X[:, 0] += offset
    display = DensityDisplay.from_estimator(zero_block_flow(X), X, n_samples=500, random_state=0)
    ax = drawn(display)[0]
    low, high = ax.get_xlim()
    assert low < np.quantile(X[:, 0], 0.01)
    assert 3 < high - low < 12


def test_bins_of_values_that_nearly_agree_are_few():
    """All bins of their width would not fit in memory."""
    X = 1e12 + 1e-3 * normal_rows(1)
    assert len(bin_edges(X[:, 0], np.array([0.9e12, 1.1e12]))) == 61
    display = DensityDisplay.from_estimator(zero_block_flow(X), X)
    drawn(display)


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_offset_beside_a_long_name_is_not_cut_off(scale):
    X = pd.DataFrame(normal_rows(3), columns=["a", "b", "measurement of quantity number 4"])
    X.iloc[:, 2] = 1e6 + scale * X.iloc[:, 2]
    display = DensityDisplay.from_estimator(zero_block_flow(X), X)
    drawn(display)
    for axis in (display.axes_[2, 2].xaxis, display.axes_[2, 0].yaxis):
        text, box = axis.label.get_text(), axis.label.get_window_extent()
        power = " (\N{MULTIPLICATION SIGN}10⁻⁵)" if scale < 1 else ""
        assert text == "measurement of\nquantity number 4\n\N{MINUS SIGN} 1000000" + power
        assert 0 <= box.x0 < box.x1 <= display.figure_.bbox.x1
        assert 0 <= box.y0 < box.y1 <= display.figure_.bbox.y1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["height", "hue"], "'hue', which is not a column of X. Pass names among 'height'"),
        ([5], "5, which is not a column.*indices from 0 to 4"),
        ([], "columns is empty; pass at least one"),
    ],
)
def test_wrong_columns(columns, message):
    X = pd.DataFrame(normal_rows(5), columns=NAMES)
    with pytest.raises(ValueError, match=message):
        DensityDisplay.from_estimator(mixture(X), X, columns=columns)


@pytest.mark.parametrize("n_columns", [2, 3])
def test_rows_far_from_all_that_the_model_draws(n_columns):
    X = normal_rows(n_columns)
    display = DensityDisplay.from_estimator(mixture(X), X + 1e6, columns=list(range(n_columns)))
    drawn(display)
    panel = display.axes_[1, 0]
    (points,) = panel.lines
    for limits, values in zip((panel.get_xlim(), panel.get_ylim()), points.get_data(), strict=True):
        assert 1e5 < limits[0] < values.min() < values.max() < limits[1]


@pytest.mark.parametrize(("shift", "expected"), [(0.0, []), (1e3, ["model, 100% beyond the axes"])])
@pytest.mark.parametrize("n_columns", [2, 6])
def test_a_model_beyond_the_axes_is_told(n_columns, shift, expected):
    X = normal_rows(n_columns)
    display = DensityDisplay.from_estimator(mixture(X), X + shift, random_state=0)
    drawn(display)
    (legend,) = filter(None, (ax.get_legend() for ax in display.figure_.axes))
    texts = [text.get_text() for text in legend.get_texts()]
    assert [text for text in texts if "beyond" in text] == expected
    assert "300 rows" in texts


@pytest.mark.parametrize("n_columns", [1, 2, 3])
def test_a_density_of_one_row_is_not_of_rows(n_columns):
    X = normal_rows(n_columns)
    display = DensityDisplay.from_estimator(mixture(X), X[:1], random_state=0)
    drawn(display)
    (legend,) = filter(None, (ax.get_legend() for ax in display.figure_.axes))
    assert "1 row" in [text.get_text() for text in legend.get_texts()]


def test_wrong_input_to_density():
    X = normal_rows(7)
    with pytest.raises(ValueError, match=r"X has 7 columns of numbers; from 1 to 6.*such as"):
        DensityDisplay.from_estimator(mixture(X), X)
    with pytest.raises(ValueError, match="X has 5 columns, but GaussianMixture was fitted to 3"):
        DensityDisplay.from_estimator(mixture(X[:, :3]), X[:, :5])
    kernels = KernelDensity(kernel="epanechnikov").fit(X[:, :3])
    with pytest.raises(TypeError, match=r"epanechnikov.*cannot draw rows"):
        DensityDisplay.from_estimator(kernels, X[:, :3])
    with pytest.raises(TypeError, match=r"IsolationForest.* is an outlier detector, whose scores"):
        DensityDisplay.from_estimator(IsolationForest().fit(X), X)
    with pytest.raises(TypeError, match="BaseEstimator has no score_samples; pass a density"):
        DensityDisplay.from_estimator(BaseEstimator(), X[:, :2])
    with pytest.raises(ValueError, match="missing values in 'column 0', 'column 1'"):
        DensityDisplay.from_estimator(mixture(X[:, :2]), np.full((3, 2), np.nan))
    with pytest.raises(NotFittedError):
        DensityDisplay.from_estimator(JKOFlowDensity(), X[:, :3])


@pytest.mark.parametrize("display", [DensityDisplay, FlowTrajectoryDisplay])
def test_what_is_no_table_is_told(display):
    X = normal_rows(2)
    density = zero_block_flow(X)
    for row in (X[0], X[0].tolist(), pd.Series(X[0])):
        with pytest.raises(ValueError, match=r"a table of rows and columns; its shape is \(2,\)"):
            display.from_estimator(density, row)
    with pytest.raises(TypeError, match=r"X is a sparse matrix; pass X.toarray\(\)"):
        display.from_estimator(density, sparse.csr_array(X))


def mixed_table(container, n=200):
    rng = np.random.default_rng(0)
    city = rng.integers(2, size=n)
    table = {
        "price": rng.normal(size=n) + 3.0 * city,
        "city": np.array(["north", "south"])[city],
        "rooms": rng.integers(1, 4, size=n),
    }
    return container(table)


@pytest.mark.parametrize("container", [pd.DataFrame, polars.DataFrame])
@pytest.mark.parametrize("condition", [None, ["city"]])
def test_corner_of_a_table_with_texts(container, condition):
    X = mixed_table(container)
    kinds = {"city": "category", "rooms": ("integer", 1, 3)}
    density = JKOFlowDensity(columns=kinds, condition=condition, max_blocks=0, random_state=0)
    display = DensityDisplay.from_estimator(density.fit(X), X, n_samples=2000, random_state=0)
    assert display.column_names == ["price", "rooms"]
    np.testing.assert_array_equal(display.rows, X[["price", "rooms"]])
    assert display.samples.shape == (2000, 2)
    assert set(display.samples[:, 1]) == {1, 2, 3}
    # Given cities are those of the rows, whose prices are apart.
    assert display.samples[:, 0].mean() == pytest.approx(display.rows[:, 0].mean(), abs=0.3)
    assert display.samples[:, 0].std() == pytest.approx(display.rows[:, 0].std(), abs=0.3)
    with pytest.raises(ValueError, match="column 'city' of X holds strings"):
        DensityDisplay.from_estimator(density, X, columns=["city"])


def test_corner_of_an_array_with_texts():
    frame = mixed_table(pd.DataFrame)
    density = JKOFlowDensity(columns="auto", max_blocks=0, random_state=0).fit(frame.to_numpy())
    display = DensityDisplay.from_estimator(density, frame.to_numpy(), n_samples=100)
    assert display.column_names == ["column 0", "column 2"]
    np.testing.assert_array_equal(display.rows, frame[["price", "rooms"]])


def test_corner_of_a_conditional_density_of_an_array():
    X = normal_rows(2)
    density = JKOFlowDensity(condition=[0], max_blocks=0, random_state=0).fit(X)
    display = DensityDisplay.from_estimator(density, X, n_samples=5000, random_state=0)
    np.testing.assert_allclose(np.corrcoef(display.samples.T), np.corrcoef(X.T), atol=0.1)
    assert set(display.samples[:, 0]) == set(X[:, 0])


def test_corner_given_numbers_of_rows_with_texts():
    """In an array of the rows the numbers were texts."""
    rows = mixed_table(pd.DataFrame).to_numpy().tolist()
    density = JKOFlowDensity(columns={1: "category"}, condition=[2], max_blocks=0, random_state=0)
    display = DensityDisplay.from_estimator(density.fit(rows), rows, n_samples=100)
    assert set(display.samples[:, 1]) == {1, 2, 3}


@pytest.mark.parametrize("container", [pd.DataFrame, polars.DataFrame])
def test_corner_of_a_frame_given_what_an_array_was(container):
    """All columns were passed as the condition."""
    X = mixed_table(container)
    density = JKOFlowDensity(columns={1: "category"}, condition=[1], max_blocks=0, random_state=0)
    display = DensityDisplay.from_estimator(density.fit(X.to_numpy()), X, n_samples=2000)
    assert display.samples[:, 0].std() == pytest.approx(display.rows[:, 0].std(), abs=0.3)


def test_of_a_search_the_best_density_is_shown():
    """Its given column was shown as one that is modelled."""
    X = normal_rows(2)
    density = JKOFlowDensity(condition=[0], max_blocks=0, random_state=0)
    search = GridSearchCV(density, {"max_blocks": [0]}, cv=2).fit(X)
    display = DensityDisplay.from_estimator(search, X, n_samples=100, random_state=0)
    best = DensityDisplay.from_estimator(search.best_estimator_, X, n_samples=100, random_state=0)
    np.testing.assert_array_equal(display.samples, best.samples)
    for last in (density, search):
        with pytest.raises(TypeError, match="cannot draw rows with `sample`"):
            DensityDisplay.from_estimator(make_pipeline(StandardScaler(), last).fit(X), X)


def test_numbers_of_any_type_are_drawn():
    X = pd.DataFrame(normal_rows(3), columns=NAMES[:3])
    density = mixture(X.to_numpy())
    for numbers in (X.astype("float16"), X.astype(object), X.astype("Float64")):
        display = DensityDisplay.from_estimator(density, numbers, n_samples=100)
        np.testing.assert_allclose(display.rows, X, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("n_columns", [2, 3])
def test_a_table_of_pyarrow_is_drawn_by_its_names(n_columns):
    X = pd.DataFrame(normal_rows(n_columns), columns=NAMES[:n_columns])
    table, density = pyarrow.Table.from_pandas(X), zero_block_flow(X)
    display = DensityDisplay.from_estimator(density, table, n_samples=100)
    assert display.column_names == NAMES[:n_columns]
    np.testing.assert_array_equal(display.rows, X)
    path = FlowTrajectoryDisplay.from_estimator(density, table)
    assert path.coordinate_names == ["scaled height", "scaled width_$"]


def test_what_is_masked_is_missing():
    """The values behind the mask were drawn."""
    X = normal_rows(2)
    masked = np.ma.masked_array(X, mask=X > 2)
    with pytest.raises(ValueError, match="missing values in 'column 0', 'column 1'"):
        DensityDisplay.from_estimator(mixture(X), masked)


def bars(ax):
    """Heights and edges of the rows' bars and of the model's, over one another."""
    (rows, edges, _), (samples, model_edges, _) = (patch.get_data() for patch in ax.patches)
    np.testing.assert_array_equal(edges, model_edges)
    return rows, samples, edges


@pytest.mark.parametrize("kind", ["integer", ("integer", 0, 1)])
def test_bars_of_integers_stand_on_them(kind):
    mean, largest = (3, 99) if kind == "integer" else (0.5, 1)
    X = np.random.default_rng(0).poisson(mean, size=(500, 1)).clip(max=largest).astype(float)
    density = JKOFlowDensity(columns={0: kind}, max_blocks=0, random_state=0).fit(X)
    ax = DensityDisplay.from_estimator(density, X, random_state=0).axes_[0, 0]
    rows, samples, edges = bars(ax)
    values, counts = np.unique(X, return_counts=True)
    np.testing.assert_array_equal(rows[np.isin(edges[:-1] + 0.5, values)], counts / 500)
    np.testing.assert_array_equal(np.diff(edges), 1)
    np.testing.assert_allclose(samples, rows, atol=0.05)
    # No bar is cut.
    assert ax.get_xlim()[0] < values[0] - 0.5
    assert values[-1] + 0.5 < ax.get_xlim()[1]


@pytest.mark.parametrize("shift", [0.0, 1e9, 1e17])
def test_bars_of_many_integers_hold_equally_many(shift):
    rng = np.random.default_rng(0)
    rows, samples = shift + rng.integers(1000, size=(500, 1)), shift + np.arange(1000.0)[:, None]
    grid = shift + np.array([[-50.0, 1049.0]])
    display = DensityDisplay(rows=rows, column_names=["n"], grid=grid, samples=samples).plot()
    drawn(display)
    _, model, edges = bars(display.axes_[0, 0])
    assert len(model) <= 60
    if shift < 1e17:
        assert set(np.diff(edges)) == {19.0}
        assert set(edges % 1) == {0.5}
        np.testing.assert_allclose(model[4:-5], 1 / 1000)


def test_model_of_a_constant_column_keeps_its_bars():
    X = np.c_[normal_rows(2), np.zeros(300)]
    density = KernelDensity(bandwidth=0.03).fit(X)
    display = DensityDisplay.from_estimator(density, X, random_state=0)
    rows, samples, _ = bars(display.axes_[2, 2])
    assert (rows > 0).sum() == 1
    assert (samples > 0).sum() > 5


# FlowTrajectoryDisplay


def test_trajectory_follows_every_row(fitted, moons):
    X = moons[1]
    display = FlowTrajectoryDisplay.from_estimator(fitted, X)
    drawn(display)
    path, movements = path_through_blocks(fitted, X), measure_blocks(fitted, X).movements
    assert display.axes_.shape == (fitted.n_blocks_ + 1,)
    points = [ax.collections[0] for ax in display.axes_]
    np.testing.assert_allclose([p.get_offsets() for p in points], path)
    for p in points:
        np.testing.assert_array_equal(p.get_array().argsort(), path[0, :, 0].argsort())
        assert p.get_clim() == (0, 1)
    assert display.axes_[0].get_title() == "scaled rows"
    for k, movement in enumerate(movements, 1):
        assert display.axes_[k].get_title() == f"block {k}\nmovement {movement:.2g}"
    for ax in display.axes_:
        assert [circle.radius for circle in ax.patches] == [1, 2, 3]
        assert ax.axis() == display.axes_[0].axis()


def test_gaps_in_a_trajectory_are_told():
    X = normal_rows(3)
    density = zero_block_flow(X)
    X[0, 1] = np.nan
    with pytest.raises(
        ValueError, match=r"1 of 3 columns \(1\) have missing values: `impute` X first"
    ):
        FlowTrajectoryDisplay.from_estimator(density, X)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("n_columns", [1, 2, 5])
def test_trajectory_without_blocks(n_columns, scale):
    X = normal_rows(n_columns, scale=scale)
    display = FlowTrajectoryDisplay.from_estimator(zero_block_flow(X), X)
    (ax,) = drawn(display)
    assert ax.get_title() == "scaled rows, no blocks"
    assert ax.get_xlabel() == "scaled column 0"
    assert ax.get_ylabel() == ("density" if n_columns == 1 else "scaled column 1")


def test_trajectory_of_one_column_is_a_histogram():
    X = np.exp(normal_rows(1))
    density = JKOFlowDensity(scaling="standard", **SMALL).fit(X)
    display = FlowTrajectoryDisplay.from_estimator(density, X)
    drawn(display)
    for ax, path in zip(display.axes_, display.path, strict=True):
        area = sum(bar.get_height() * bar.get_width() for bar in ax.patches)
        assert area == pytest.approx((np.abs(path) <= ax.get_xlim()[1]).mean())


def test_trajectory_of_chosen_columns():
    X = pd.DataFrame(normal_rows(5), columns=NAMES)
    density = zero_block_flow(X)
    display = FlowTrajectoryDisplay.from_estimator(density, X, columns=["age", "height"])
    np.testing.assert_array_equal(
        display.path[0], density.scaler_.transform(X.to_numpy())[0][:, [3, 0]]
    )
    assert display.axes_[0].get_xlabel() == "scaled age"
    with pytest.raises(ValueError, match=r"columns=\[1\] names 1 columns; pass two"):
        FlowTrajectoryDisplay.from_estimator(density, X, columns=[1])


def test_numbers_of_a_trajectory_are_those_of_the_table():
    X = mixed_table(pd.DataFrame)[["city", "rooms", "price"]]
    density = JKOFlowDensity("standard", columns={"city": "category"}, max_blocks=0).fit(X)
    display = FlowTrajectoryDisplay.from_estimator(density, X, columns=[2, 1])
    assert display.coordinate_names == ["scaled price", "scaled rooms"]
    both = FlowTrajectoryDisplay.from_estimator(density, X)
    assert both.coordinate_names == ["scaled rooms", "scaled price"]
    np.testing.assert_array_equal(display.path, both.path[:, :, ::-1])
    with pytest.raises(ValueError, match=r"names 'city', .*pass two of \['rooms', 'price'\]"):
        FlowTrajectoryDisplay.from_estimator(density, X, columns=["city", "price"])


def test_long_trajectories_go_on_in_the_next_line():
    path = normal_rows(2)[None] * np.linspace(9, 1, 6)[:, None, None]
    display = FlowTrajectoryDisplay(
        path=path, movements=[0.5] * 5, coordinate_names=["a", "b"]
    ).plot()
    drawn(display)
    assert [bool(ax.get_xlabel()) for ax in display.axes_] == [False, False, True, True, True, True]
    assert [bool(ax.get_ylabel()) for ax in display.axes_] == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    beyond = (np.abs(path[0]) > display.axes_[0].get_xlim()[1]).any(axis=1).sum()
    assert display.axes_[0].texts[0].get_text() == f"{beyond} beyond"


def test_wrong_input_to_trajectory(fitted, moons):
    with pytest.raises(TypeError, match="must be a JKOFlowDensity; got GaussianMixture"):
        FlowTrajectoryDisplay.from_estimator(mixture(moons[0]), moons[0])
    with pytest.raises(NotFittedError):
        FlowTrajectoryDisplay.from_estimator(JKOFlowDensity(), moons[0])
    with pytest.raises(ValueError, match="X has 3 features"):
        FlowTrajectoryDisplay.from_estimator(fitted, normal_rows(3))


# TrainingHistoryDisplay

RECORD = BlockRecord(
    h=0.5,
    potential=1.0,
    log_det=1.0,
    transport=1.0,
    distance=0.5,
    movement=0.4,
    movement_before=0.0,
    validation_nll=5.0,
    gain=2.0,
    solver_error=0.0,
    solver_steps=1,
    n_iter=10,
    seconds=1.0,
    kept=True,
    overfits=False,
    refinement=0,
)
DROPPED = replace(RECORD, kept=False, gain=0.0, movement=0.01, h=np.inf)


def test_history_of_a_fit(fitted):
    display = TrainingHistoryDisplay.from_estimator(fitted)
    drawn(display)
    likelihood, movement = display.axes_
    history = fitted.history_
    nll = likelihood.lines[0].get_ydata()
    assert nll[0] == pytest.approx(history[0].validation_nll + history[0].gain)
    assert nll[1:].tolist() == [record.validation_nll for record in history]
    assert [bar.get_height() for bar in movement.patches] == [r.movement for r in history]
    assert "nats per row" in likelihood.get_ylabel()


def test_history_marks_dropped_blocks():
    display = TrainingHistoryDisplay(history=[RECORD, DROPPED]).plot()
    drawn(display)
    likelihood, movement = display.axes_
    assert [line.get_marker() for line in likelihood.lines] == ["None", "s", "o", "X"]
    assert [bar.get_hatch() for bar in movement.patches] == [None, "///"]
    assert [text.get_text() for text in movement.get_xticklabels()] == ["0", "1\nh=0.5", "2\nh=∞"]
    names = [text.get_text() for text in likelihood.get_legend().get_texts()]
    assert names == ["scaling alone", "kept", "dropped"]


@pytest.mark.parametrize(("last", "ending"), [(4.5, ""), (4.9995, " (undone)"), (6.0, " (undone)")])
def test_history_marks_rounds(last, ending):
    again = replace(RECORD, refinement=1, validation_nll=last, gain=7.0 - last)
    display = TrainingHistoryDisplay(history=[RECORD, DROPPED, again]).plot()
    drawn(display)
    likelihood, movement = display.axes_
    names = [text.get_text() for text in movement.texts if not text.get_text()[0].isdigit()]
    assert names == ["training", "refinement 1" + ending]
    rounds = [line for line in likelihood.lines if len(line.get_xdata()) > 1][:2]
    assert rounds[0].get_xdata().tolist() == [0, 1, 2]
    assert rounds[0].get_ydata().tolist() == [7, 5, 5]
    assert ending or likelihood.lines[-1].get_xdata()[0] == 2.5


def test_long_histories_have_no_numbers():
    display = TrainingHistoryDisplay(history=[RECORD] * 20).plot()
    drawn(display)
    assert not display.axes_[1].texts
    assert len(display.axes_[1].get_xticklabels()) == 21


def test_history_without_blocks():
    display = TrainingHistoryDisplay.from_estimator(zero_block_flow(normal_rows(2)))
    drawn(display)
    assert display.axes_[0].get_title() == "no block was trained"


def test_wrong_input_to_history():
    with pytest.raises(TypeError, match="must be a JKOFlowDensity; got GaussianMixture"):
        TrainingHistoryDisplay.from_estimator(mixture(normal_rows(2)))
    with pytest.raises(NotFittedError):
        TrainingHistoryDisplay.from_estimator(JKOFlowDensity())


def test_of_a_detector_its_density_is_asked_for():
    X = normal_rows(2)
    detector = JKOFlowOutlierDetector(density=zero_block_flow(X), random_state=0).fit(X)
    with pytest.raises(TypeError, match=r"got JKOFlowOutlierDetector.*pass its `density_`"):
        TrainingHistoryDisplay.from_estimator(detector)
    with pytest.raises(TypeError, match=r"got JKOFlowOutlierDetector.*pass its `density_`"):
        FlowTrajectoryDisplay.from_estimator(detector, X)
    drawn(TrainingHistoryDisplay.from_estimator(detector.density_))
    drawn(FlowTrajectoryDisplay.from_estimator(detector.density_, X))


# OutlierDisplay


def no_score(*_):
    return 0.0


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("n_columns", [1, 2, 5])
def test_outliers_of_a_forest(n_columns):
    X = np.r_[normal_rows(n_columns), 6 + normal_rows(n_columns, 40)]
    y = np.r_[np.ones(300, int), -np.ones(40, int)]
    forest = IsolationForest(random_state=0).fit(X)
    display = OutlierDisplay.from_estimator(forest, X, y)
    drawn(display)
    ax = display.ax_
    np.testing.assert_array_equal(display.scores, forest.score_samples(X))
    assert set(ax.lines[0].get_xdata()) == {forest.offset_}
    assert legend(ax) == ["300 inliers", "40 outliers", "threshold \N{MINUS SIGN}0.5"]
    for patch in ax.patches:
        assert patch.get_data().values.sum() == pytest.approx(100)
    inliers, _, outliers, _ = (patch.get_data() for patch in ax.patches)
    centres = (inliers.edges[1:] + inliers.edges[:-1]) / 2
    for group, scores in ((inliers, display.scores[:300]), (outliers, display.scores[300:])):
        assert (group.values @ centres) / 100 == pytest.approx(scores.mean(), abs=0.01)


def test_labels_may_be_booleans():
    X = normal_rows(2)
    forest, is_outlier = IsolationForest(random_state=0).fit(X), X[:, 0] > 1
    for y in (is_outlier, pd.Series(is_outlier), np.where(is_outlier, -1, 1), is_outlier.tolist()):
        display = OutlierDisplay.from_estimator(forest, X, y)
        np.testing.assert_array_equal(display.is_outlier, is_outlier)


@pytest.mark.parametrize("dtype", ["boolean", "bool[pyarrow]", object])
def test_labels_may_be_booleans_of_any_type(dtype):
    X = normal_rows(2)
    forest, is_outlier = IsolationForest(random_state=0).fit(X), X[:, 0] > 1
    y = pd.Series(is_outlier, dtype=dtype)
    for labels in (y, y.to_numpy(dtype=object)):
        display = OutlierDisplay.from_estimator(forest, X, labels)
        np.testing.assert_array_equal(display.is_outlier, is_outlier)
        assert display.is_outlier.dtype == bool
    with pytest.raises(ValueError, match=r"got \[.*(NA|None)"):
        OutlierDisplay.from_estimator(forest, X, y.where(y.index != 5, None))
    with pytest.raises(ValueError, match=r"got \[.*nan"):
        OutlierDisplay.from_estimator(forest, X, np.ma.masked_array(is_outlier, X[:, 0] > 2))


def test_threshold_of_a_detector_inside():
    X = normal_rows(2)
    forest = IsolationForest(random_state=0, contamination=0.1)
    pipeline = make_pipeline(StandardScaler(), forest).fit(X)
    search = GridSearchCV(forest, {"max_samples": [64]}, scoring=no_score, cv=2).fit(X)
    for model, inside in ((pipeline, pipeline[-1]), (search, search.best_estimator_)):
        display = OutlierDisplay.from_estimator(model, X)
        assert display.offset == pytest.approx(inside.offset_, rel=1e-12)
        assert "threshold" in legend(display.ax_)[-1]


@pytest.mark.parametrize("only", [False, True])
def test_one_group_alone(only):
    X = normal_rows(2)
    display = OutlierDisplay.from_estimator(mixture(X), X, np.full(300, only))
    drawn(display)
    assert legend(display.ax_) == ["300 outliers" if only else "300 inliers"]


def test_density_has_no_threshold(fitted, moons):
    display = OutlierDisplay.from_estimator(fitted, moons[1])
    drawn(display)
    assert display.offset is None
    assert not display.ax_.lines
    assert legend(display.ax_) == ["400 rows"]
    assert display.ax_.get_ylabel() == "% of rows"


@pytest.mark.parametrize(
    ("offset", "label"),
    [(-2.5, "threshold \N{MINUS SIGN}2.5"), (-99.0, "\N{MINUS SIGN}99, off the axis")],
)
def test_a_threshold_off_the_axis_is_said_to_be(offset, label):
    ax = OutlierDisplay(scores=np.random.default_rng(0).normal(size=500), offset=offset).plot().ax_
    assert legend(ax)[-1].endswith(label)
    low, high = ax.get_xlim()
    assert set(ax.lines[0].get_xdata()) == ({offset} if low < offset < high else set())


@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan])
def test_a_threshold_that_is_no_number_squeezes_nothing(offset):
    display = OutlierDisplay(scores=np.random.default_rng(0).normal(size=500), offset=offset).plot()
    drawn(display)
    low, high = display.ax_.get_xlim()
    assert -5 < low < high < 5
    assert legend(display.ax_)[-1].endswith("off the axis")


@pytest.mark.parametrize("n_outliers", [1, 3, 9, 10])
def test_few_outliers_are_ticks_below_the_inliers(n_outliers):
    scores = np.r_[np.random.default_rng(0).normal(size=500), np.full(n_outliers, -4.0)]
    scores[-1] = -1000
    display = OutlierDisplay(scores=scores, is_outlier=np.arange(len(scores)) >= 500).plot()
    drawn(display)
    ax, tallest = display.ax_, display.ax_.patches[0].get_data().values.max()
    outliers = "outlier" if n_outliers == 1 else "outliers"
    assert legend(ax) == ["500 inliers", f"{n_outliers} {outliers}, 1 beyond the axis"]
    if n_outliers < 10:
        assert ax.lines[0].get_xdata().tolist() == [-4.0] * (n_outliers - 1) + [ax.get_xlim()[0]]
        assert ax.get_ylim()[1] == pytest.approx(1.25 * tallest)
    else:
        assert not ax.lines
        assert ax.patches[2].get_data().values.max() == pytest.approx(90)


def test_one_row_is_no_rows():
    for is_outlier, name in ((None, "row"), ([False], "inlier"), ([True], "outlier")):
        is_outlier = None if is_outlier is None else np.array(is_outlier)
        display = OutlierDisplay(scores=np.ones(1), is_outlier=is_outlier).plot()
        drawn(display)
        assert legend(display.ax_) == [f"1 {name}"]


@pytest.mark.parametrize("extreme", [-1e300, -np.inf, 1e300])
@pytest.mark.parametrize("offset", [None, -5.0])
def test_extreme_scores_are_counted_and_do_not_squeeze_the_others(extreme, offset):
    scores = np.r_[np.random.default_rng(0).normal(size=500), [extreme] * 17]
    scores = np.clip(scores, -1e300, 1e300)
    is_outlier = np.arange(517) >= 500
    display = OutlierDisplay(scores=scores, offset=offset, is_outlier=is_outlier).plot()
    drawn(display)
    low, high = display.ax_.get_xlim()
    assert low >= -12
    assert high <= 12
    assert low < scores[:500].min()
    assert "17 outliers, 17 beyond the axis" in legend(display.ax_)
    outermost = 0 if extreme < 0 else -1
    assert display.ax_.patches[2].get_data().values[outermost] == pytest.approx(100)
    assert offset is None or low < offset


def test_scores_all_alike():
    display = OutlierDisplay(scores=np.full(9, -1e300)).plot()
    drawn(display)
    assert display.ax_.patches[0].get_data().values.sum() == pytest.approx(100)


def test_wrong_input_to_outliers():
    X = normal_rows(2)
    forest = IsolationForest(random_state=0).fit(X)
    with pytest.raises(ValueError, match=re.escape("got [0, 1]. Pass y == 1 if")):
        OutlierDisplay.from_estimator(forest, X, np.arange(300) % 2)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        OutlierDisplay.from_estimator(forest, X, np.ones(7))
    with pytest.raises(TypeError, match="BaseEstimator has no score_samples; pass a density"):
        OutlierDisplay.from_estimator(BaseEstimator(), X)
    with pytest.raises(NotFittedError):
        OutlierDisplay.from_estimator(IsolationForest(), X)


# What all have in common

DISPLAYS = {
    "curve": lambda ax: DensityDisplay.from_estimator(
        mixture(normal_rows(1)), normal_rows(1), ax=ax
    ),
    "plane": lambda ax: DensityDisplay.from_estimator(
        mixture(normal_rows(2)), normal_rows(2), ax=ax
    ),
    "corner": lambda ax: DensityDisplay.from_estimator(
        mixture(normal_rows(3)), normal_rows(3), ax=ax
    ),
    "trajectory": lambda ax: FlowTrajectoryDisplay.from_estimator(
        zero_block_flow(two_moons(50, 0)), two_moons(50, 0), ax=ax
    ),
    "history": lambda ax: TrainingHistoryDisplay(history=[RECORD, DROPPED]).plot(ax=ax),
    "outlier": lambda ax: OutlierDisplay(scores=np.arange(9.0)).plot(ax=ax),
}
every_display = pytest.mark.parametrize("name", DISPLAYS)


@every_display
def test_given_axes_are_used(name):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 6), layout="constrained")
    display = DISPLAYS[name](right)
    drawn(display)
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert not left.has_data()
    own = [display.ax_] if hasattr(display, "ax_") else [ax for ax in display.axes_.flat if ax]
    middle = left.get_position().x1
    for ax in own:
        assert ax.figure is figure
        assert ax.get_position().x0 > middle


@every_display
def test_plot_may_be_repeated_and_returns_the_display(name):
    display = DISPLAYS[name](None)
    first = display.figure_
    assert display.plot() is display
    assert display.figure_ is not first
    assert len(display.figure_.axes) == len(first.axes)


@pytest.mark.parametrize("name", ["corner", "trajectory", "history"])
def test_axes_without_a_place_cannot_be_divided(name):
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match=r"ax has no place in a grid.*plt.subplots"):
        DISPLAYS[name](ax)


@every_display
def test_missing_matplotlib_is_told(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"Display.* requires matplotlib.*pip install"):
        DISPLAYS[name](None)


def test_importing_the_package_does_not_import_matplotlib():
    command = "import sys, sklearn_jko; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("far", [1e3, 1e200])
def test_central_range_leaves_out_what_is_far_from_nearly_all(far):
    values = np.r_[np.linspace(0, 1, 500), far, -far]
    assert central_range(values) == (0, 1)
    assert central_range(np.array([far])) == (far, far)
    assert central_range(np.array([3.0, 5.0])) == (3, 5)
