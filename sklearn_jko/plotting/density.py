"""Picture of a density and of the rows it is to describe."""

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
    column_names,
    column_positions,
    columns_of_texts,
    draw_samples,
    log_density,
    models_numbers_only,
    numbers_in,
)

__all__ = ["DensityDisplay"]

MAX_COLUMNS = 6
CURVE_POINTS, GRID_POINTS = 500, 100
# Log-densities beyond this have no finite density.
LARGEST_EXPONENT = 690.0
# Of a model, beyond axes that leave out its outermost samples of each column.
USUALLY_BEYOND = 0.02
# A legend right of the axes, for which a figure's layout makes room.
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "frameon": False}


class DensityDisplay:
    """A density against the rows of a table.

    Of one column: the density's curve over the rows' histogram. Of two: the regions of highest
    density that hold 50, 80, 95 and 99 % of the model, and the rows as points. Of more, or of
    chosen `columns`: histograms of single columns on the diagonal and pairs of columns below it,
    rows against rows drawn from the model. So it is too where columns are integers, categories or
    given: texts are not shown, and the rows drawn are given the same as rows of the table. Axes
    leave out single rows that lie far away from nearly all others.

    It is recommended to use `from_estimator` to make one.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_columns)
        The columns shown.
    column_names : list
    grid : ndarray of shape (n_columns, n_points)
        Even points along each column, from one end of the axis to the other.
    log_density : ndarray of shape (n_points,) or (n_points, n_points), or None
        Of one column, or of two with the first one along the rows of the array, in nats; None
        where samples are shown in its place.
    thresholds : ndarray of shape (4,) or None
        Log-density of two columns at the edge of the regions that hold 99, 95, 80 and 50 %.
    samples : ndarray of shape (n_samples, n_columns) or None
        Rows drawn from the model.

    Attributes
    ----------
    ax_ : Axes
        Of a density of one or two columns.
    axes_ : ndarray of Axes of shape (n_columns, n_columns)
        Where samples are shown; None above the diagonal.
    figure_ : Figure

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
        """Compute what is shown of a fitted estimator, and draw it.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `score_samples` for one or two columns, and `sample` for more: such as
            JKOFlowDensity, KernelDensity or GaussianMixture.
        X : array-like of shape (n_samples, n_features)
            Rows with all the columns that the estimator knows.
        columns : list of str or int, default=None
            Names or numbers of the columns shown, each by rows drawn from the model. None is all
            columns that hold numbers, at most 6.
        n_samples : int, default=10_000
            Rows drawn from the model.
        random_state : int, RandomState instance or None, default=None
            Seed of these rows.
        ax : Axes, default=None
            Where to draw; None is a new figure.

        Returns
        -------
        display : DensityDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no `score_samples`, or no working `sample` where it is needed; or
            if it is an outlier detector, whose scores are no log-densities.
        ValueError
            If X is not a table, has no finite numbers in the columns shown, has more than 6 of
            these and none are chosen, or has not the chosen ones.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if is_outlier_detector(estimator):
            raise TypeError(
                f"{type(estimator).__name__} is an outlier detector, whose scores are no "
                "log-densities; show them by `OutlierDisplay`, or here its `density_`."
            )
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
        """Draw what was computed.

        Parameters
        ----------
        ax : Axes, default=None
            Where to draw; None is a new figure. Where samples are shown, the place of these axes
            is divided.

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
        """How many rows there are, and what of them is not seen."""
        n_beyond = int(self._are_beyond(self.rows).sum())
        label = "1 row" if len(self.rows) == 1 else f"{len(self.rows):,} rows"
        return label + (f", {n_beyond:,} beyond the axes" if n_beyond else "")

    def _model_label(self):
        """What of the model is not seen, where it is more than usual."""
        if not self._is_model_beyond():
            return "model"
        return f"model, {self._are_beyond(self.samples).mean():.0%} beyond the axes"

    def _is_model_beyond(self):
        return self.samples is not None and self._are_beyond(self.samples).mean() > USUALLY_BEYOND

    def _are_beyond(self, rows):
        low, high = self.grid[:, 0], self.grid[:, -1]
        return ((rows < low) | (rows > high)).any(axis=1)


def _plane(density, X, rows, samples):
    """What there is to show of a density of two columns, by its names in the display."""
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
                raise ValueError(f"column {names[j]!r} of X holds texts; choose others.")
        return chosen
    if not 0 < len(numeric) <= MAX_COLUMNS:
        raise ValueError(
            f"X has {len(numeric)} columns of numbers; from 1 to {MAX_COLUMNS} are shown at once. "
            f"Pass some of them, such as columns={[names[j] for j in numeric[:3]]!r}."
        )
    return numeric


def _samples(density, X, n_samples, random_state):
    samples, n_columns = draw_samples(density, X, n_samples, random_state), len(column_names(X))
    if samples is None:
        raise TypeError(
            f"{density!r} cannot draw rows by `sample`, which show its density of single columns "
            "and pairs; use an estimator that can, such as JKOFlowDensity or GaussianMixture, or "
            "fit it to one or two columns alone."
        )
    if samples.shape[1] != n_columns:
        raise ValueError(
            f"X has {n_columns} columns, but {type(density).__name__} was fitted to "
            f"{samples.shape[1]}; pass X with the columns of the fit, and choose by `columns`."
        )
    return samples
