"""Plot of a density and of the rows that it should describe."""

import numpy as np
from sklearn.base import is_outlier_detector
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sklearn_jko.plotting._axes import MODEL, ROWS, draw_points, label_axis, single_axes, thinned
from sklearn_jko.plotting._corner import draw_corner
from sklearn_jko.plotting._grids import bin_edges, draw_histogram, even_grid
from sklearn_jko.plotting._regions import (
    SHARES,
    draw_regions,
    enclosed_mass,
    region_patches,
    region_thresholds,
)
from sklearn_jko.plotting._tables import (
    best_of,
    column_names,
    column_positions,
    columns_of_texts,
    draw_samples,
    log_density,
    models_numbers_only,
    numbers_in,
)
from sklearn_jko.rows.table_types import without_masks_or_arrow

__all__ = ["DensityDisplay"]

MAX_COLUMNS = 6
CURVE_POINTS, GRID_POINTS = 500, 100
# Densities with larger log-densities are not finite.
LARGEST_EXPONENT = 690.0
# Share of a model that is beyond the axes anyway, as these leave out its outermost samples.
USUALLY_BEYOND = 0.02
# A legend to the right of the axes, for which a figure's layout makes room.
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "frameon": False}


class DensityDisplay:
    """Plot of a density against the rows of a table.

    For one column: the curve of the density over a histogram of the rows. For two: the
    highest-density regions that hold 50, 80, 95 and 99 % of the model, and the rows as points. For
    more, or if `columns` are chosen: a corner plot of the rows and of samples from the model, with
    histograms of single columns on the diagonal and pairs of columns below it. The corner plot is
    also used if columns are integers, categories or given: columns of strings are not shown, and
    the samples are conditioned on the given values of rows of the table. Single rows far away from
    nearly all others are outside the axes.

    It is recommended to create the display with `from_estimator`.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_columns)
        The rows, in the columns shown.
    column_names : list
        Names of these columns.
    grid : ndarray of shape (n_columns, n_points)
        Even points along each column, from one end of the axis to the other.
    log_density : ndarray of shape (n_points,) or (n_points, n_points), or None
        Log-density on the grid, in nats; for two columns, the first one runs along axis 0. None if
        samples are shown instead.
    thresholds : ndarray of shape (4,) or None
        For two columns, log-density at the edge of the regions that hold 99, 95, 80 and 50 %.
    samples : ndarray of shape (n_samples, n_columns) or None
        Rows drawn from the model.

    Attributes
    ----------
    ax_ : Axes
        Axes of the plot of one or two columns.
    axes_ : ndarray of Axes of shape (n_columns, n_columns)
        Axes of a corner plot; None above the diagonal.
    figure_ : Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import DensityDisplay, JKOFlowDensity
    >>> X = load_iris(as_frame=True).data.iloc[:, :2]
    >>> density = JKOFlowDensity(random_state=0, max_iter=50).fit(X)
    >>> display = DensityDisplay.from_estimator(density, X)
    >>> display.ax_.get_xlabel()
    'sepal length (cm)'
    """

    def __init__(
        self, *, rows, column_names, grid, log_density=None, thresholds=None, samples=None
    ):
        self.rows = rows
        self.column_names = column_names
        self.grid = grid
        self.log_density = log_density
        self.thresholds = thresholds
        self.samples = samples

    @classmethod
    def from_estimator(
        cls, estimator, X, *, columns=None, n_samples=10_000, random_state=None, ax=None
    ):
        """Plot the density of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator with `score_samples` for one or two columns, and with `sample` for
            more, such as JKOFlowDensity, KernelDensity or GaussianMixture. Of a search, the best
            estimator is shown.
        X : array-like of shape (n_samples, n_features)
            Rows with all columns of the fit.
        columns : list of str or int, default=None
            Names or indices of the columns to show in a corner plot. None shows all columns that
            hold numbers, at most 6.
        n_samples : int, default=10_000
            Number of rows to draw from the model.
        random_state : int, RandomState instance or None, default=None
            Seed of these draws.
        ax : Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : DensityDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no `score_samples`, or no working `sample` where it is needed; if
            it is an outlier detector, whose scores are not log-densities; or if X is sparse.
        ValueError
            If X is not a table, holds values in the columns shown that are not finite numbers, has
            more than 6 columns of numbers and none are chosen, or lacks the chosen columns.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if is_outlier_detector(estimator):
            raise TypeError(
                f"{type(estimator).__name__} is an outlier detector, whose scores are not "
                "log-densities; plot them with `OutlierDisplay`, or pass its `density_` here."
            )
        estimator, X = best_of(estimator), without_masks_or_arrow(X)
        names = column_names(X)
        shown = _shown(columns, names, columns_of_texts(estimator))
        rows = numbers_in(X, shown)
        is_whole = columns is None and models_numbers_only(estimator)
        if is_whole and len(names) == 1:
            grid = even_grid(rows, None, CURVE_POINTS)
            computed = {"grid": grid, "log_density": log_density(estimator, X, grid.T)}
        elif is_whole and len(names) == 2:
            samples = draw_samples(estimator, X, n_samples, random_state)
            samples = None if samples is None else numbers_in(samples, shown)
            computed = _plane(estimator, X, rows, samples)
        else:
            samples = numbers_in(_samples(estimator, X, n_samples, random_state), shown)
            names = [names[k] for k in shown]
            computed = {"grid": even_grid(rows, samples, GRID_POINTS), "samples": samples}
        return cls(rows=rows, column_names=names, **computed).plot(ax=ax)

    def plot(self, ax=None):
        """Plot the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to plot on. If None, a new figure is created. For a corner plot the area of these
            axes is divided.

        Returns
        -------
        display : DensityDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if self.log_density is None:
            labels = self._rows_label(), self._model_label()
            self.figure_, self.axes_ = draw_corner(
                ax, self.rows, self.samples, self.grid, self.column_names, labels
            )
            return self
        self.ax_ = single_axes(ax)
        self.figure_ = self.ax_.figure
        if self.log_density.ndim == 1:
            self._plot_curve(self.ax_)
        else:
            self._plot_plane(self.ax_)
        return self

    def _plot_curve(self, ax):
        from matplotlib.transforms import blended_transform_factory

        (x,), (rows,) = self.grid, self.rows.T
        density = np.exp(self.log_density.clip(max=LARGEST_EXPONENT))
        bars = {"fill": True, "color": ROWS, "alpha": 0.35, "label": self._rows_label()}
        draw_histogram(ax, rows, bin_edges(rows, x), **bars)
        ax.plot(x, density, color=MODEL, lw=2, label="model")
        rug = blended_transform_factory(ax.transData, ax.transAxes)
        points = thinned(rows)
        ax.plot(points, np.full(len(points), 0.015), "|", color=ROWS, ms=7, mew=0.6, transform=rug)
        ax.set(xlim=x[[0, -1]], ylim=(0, ax.get_ylim()[1]))
        label_axis(ax.xaxis, self.column_names[0])
        label_axis(ax.yaxis, "density")
        ax.legend(frameon=False)

    def _plot_plane(self, ax):
        from matplotlib.lines import Line2D

        x, y = self.grid
        draw_regions(ax, x, y, self.log_density.T, self.thresholds)
        handles = [*region_patches(), draw_points(ax, self.rows, label=self._rows_label())]
        if self._is_model_beyond():
            handles.append(Line2D([], [], color="none", label=self._model_label()))
        ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
        label_axis(ax.xaxis, self.column_names[0])
        label_axis(ax.yaxis, self.column_names[1])
        has_layout = ax.figure.get_layout_engine() is not None
        ax.legend(handles=handles, **(BESIDE if has_layout else {"loc": "best"}))

    def _rows_label(self):
        """Number of rows, and how many of them are beyond the axes."""
        n_beyond = int(self._are_beyond(self.rows).sum())
        label = "1 row" if len(self.rows) == 1 else f"{len(self.rows):,} rows"
        return label + (f", {n_beyond:,} beyond the axes" if n_beyond else "")

    def _model_label(self):
        """Name of the model, with its share beyond the axes if that is unusually large."""
        if not self._is_model_beyond():
            return "model"
        return f"model, {self._are_beyond(self.samples).mean():.0%} beyond the axes"

    def _is_model_beyond(self):
        return self.samples is not None and self._are_beyond(self.samples).mean() > USUALLY_BEYOND

    def _are_beyond(self, rows):
        low, high = self.grid[:, 0], self.grid[:, -1]
        return ((rows < low) | (rows > high)).any(axis=1)


def _plane(density, X, rows, samples):
    """Keyword arguments of the display of a density of two columns."""
    grid = even_grid(rows, samples, GRID_POINTS)
    points = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
    values = log_density(density, X, points.reshape(-1, 2)).reshape(points.shape[:2])
    if samples is None:
        mass = enclosed_mass(np.exp(values - values.max()))
        thresholds = np.array([values[mass <= max(share, mass.min())].min() for share in SHARES])
    else:
        thresholds = region_thresholds(log_density(density, X, samples))
    return {"grid": grid, "log_density": values, "thresholds": thresholds, "samples": samples}


def _shown(columns, names, texts):
    """Indices of the columns to show."""
    numeric = [j for j in range(len(names)) if j not in texts]
    if columns is not None:
        chosen = column_positions(columns, names)
        for j in chosen:
            if j in texts:
                raise ValueError(
                    f"columns={columns!r}: column {names[j]!r} of X holds strings, which cannot be "
                    "shown; choose other columns."
                )
        return chosen
    if not 0 < len(numeric) <= MAX_COLUMNS:
        raise ValueError(
            f"X has {len(numeric)} columns of numbers; from 1 to {MAX_COLUMNS} can be shown at "
            f"once. Choose some, such as columns={[names[j] for j in numeric[:3]]!r}."
        )
    return numeric


def _samples(density, X, n_samples, random_state):
    samples, n_columns = draw_samples(density, X, n_samples, random_state), len(column_names(X))
    if samples is None:
        raise TypeError(
            f"{density!r} cannot draw rows with `sample`, which a corner plot needs; use an "
            "estimator that can, such as JKOFlowDensity or GaussianMixture, or fit it to one or "
            "two columns only."
        )
    if samples.shape[1] != n_columns:
        raise ValueError(
            f"X has {n_columns} columns, but {type(density).__name__} was fitted to "
            f"{samples.shape[1]}; pass X with the columns of the fit, and choose with `columns`."
        )
    return samples
