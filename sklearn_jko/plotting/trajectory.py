"""Plot of rows on their way from data to noise."""

import math

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sklearn_jko.checks import check_is_flow
from sklearn_jko.diagnostics import movements_of, path_through_blocks
from sklearn_jko.plotting._axes import axes_grid, label_axis, point_size, thinned
from sklearn_jko.plotting._tables import column_names, column_positions
from sklearn_jko.rows.table_types import without_masks_or_arrow

__all__ = ["FlowTrajectoryDisplay"]

PANELS_IN_A_ROW = 4
# Standard deviations.
CIRCLES = (1.0, 2.0, 3.0)
NARROWEST, WIDEST = 3.5, 8.0
N_BINS = 40


class FlowTrajectoryDisplay:
    """Plot of rows after the scaling and after each block of a flow, which makes them normal.

    There is one panel for each of these stages, with two of the scaled coordinates; a flow of one
    column is shown by histograms. A row has the same colour in all panels, given by its first
    coordinate after the scaling; the circles are one, two and three standard deviations of the
    target normal distribution. The title of each panel gives the movement of the rows by the block,
    E|x1 - x0|^2 / E|x1|^2 over all coordinates.

    It is recommended to create the display with `from_estimator`.

    Parameters
    ----------
    path : ndarray of shape (n_blocks + 1, n_samples, n_coordinates)
        The one or two coordinates shown, after the scaling and after each block.
    movements : list of float
        Movement by each block.
    coordinate_names : list of str
        Names of the coordinates shown.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (n_blocks + 1,)
        Axes of the panels.
    figure_ : Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import FlowTrajectoryDisplay, JKOFlowDensity
    >>> X = load_iris().data
    >>> density = JKOFlowDensity(random_state=0, max_iter=50).fit(X)
    >>> display = FlowTrajectoryDisplay.from_estimator(density, X)
    >>> len(display.axes_) == density.n_blocks_ + 1
    True
    """

    def __init__(self, *, path, movements, coordinate_names):
        self.path = path
        self.movements = movements
        self.coordinate_names = coordinate_names

    @classmethod
    def from_estimator(cls, estimator, X, *, columns=None, ax=None):
        """Follow rows through the blocks of a fitted flow, and plot their positions.

        Parameters
        ----------
        estimator : JKOFlowDensity
            Fitted density.
        X : array-like of shape (n_samples, n_features)
            Rows to follow.
        columns : list of two str or int, default=None
            Names or indices of the columns whose scaled coordinates are shown. None shows the first
            two that are modelled.
        ax : Axes, default=None
            Axes whose area is divided into panels. If None, a new figure is created.

        Returns
        -------
        display : FlowTrajectoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator is not a JKOFlowDensity, or X is sparse.
        ValueError
            If X is not a table with the columns of the fit, has missing or infinite values, or
            `columns` are not two of the modelled columns.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_flow("estimator", estimator)
        X = without_masks_or_arrow(X)
        names, roles = column_names(X), estimator.roles_
        modelled = np.arange(len(names)) if roles is None else roles.modelled
        shown = modelled[:2] if columns is None else _shown(columns, names, modelled)
        path = path_through_blocks(estimator, X)
        return cls(
            path=path[:, :, np.searchsorted(modelled, shown)],
            movements=movements_of(path),
            coordinate_names=[f"scaled {names[j]}" for j in shown],
        ).plot(ax=ax)

    def plot(self, ax=None):
        """Plot the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes whose area is divided into panels. If None, a new figure is created.

        Returns
        -------
        display : FlowTrajectoryDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        n_stops, _, n_coordinates = self.path.shape
        n_columns = min(n_stops, PANELS_IN_A_ROW)
        self.figure_, add = axes_grid(ax, math.ceil(n_stops / n_columns), n_columns, (2.7, 3.3))
        self.axes_ = np.array([add(*divmod(k, n_columns)) for k in range(n_stops)])
        draw = self._draw_points if n_coordinates == 2 else self._draw_histogram
        for k, panel in enumerate(self.axes_):
            draw(panel, self.path[k])
            panel.set_title(self._title(k), fontsize="medium")
        return self

    def _draw_points(self, ax, rows):
        from matplotlib.patches import Circle

        limit = self._limit
        for radius in CIRCLES:
            ax.add_patch(Circle((0, 0), radius, fill=False, ls="--", lw=0.8, ec="0.4", zorder=2))
        size = point_size(len(rows)) ** 2
        points, colours = thinned(rows), thinned(self._colours)
        ax.scatter(*points.T, c=colours, s=size, cmap="viridis", vmin=0, vmax=1, linewidths=0)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        self._tell_beyond(ax, rows)
        self._label(ax, self.coordinate_names[1])

    def _draw_histogram(self, ax, rows):
        from matplotlib import colormaps

        limit, (values,) = self._limit, rows.T
        edges = np.linspace(-limit, limit, N_BINS + 1)
        counts, _ = np.histogram(values, edges)
        colours, _ = np.histogram(values, edges, weights=self._colours)
        heights = counts / (len(values) * (edges[1] - edges[0]))
        bars = colormaps["viridis"](colours / counts.clip(min=1))
        ax.bar(edges[:-1], heights, edges[1] - edges[0], align="edge", color=bars)
        x = np.linspace(-limit, limit, 200)
        ax.plot(x, norm.pdf(x), "--", color="0.4")
        ax.set(xlim=(-limit, limit), ylim=(0, max(0.5, 1.15 * heights.max())))
        self._tell_beyond(ax, rows)
        self._label(ax, "density")

    @property
    def _limit(self):
        """Half the width of all panels, which show nearly all rows and the normal distribution."""
        return float(np.clip(1.1 * np.quantile(np.abs(self.path), 0.995), NARROWEST, WIDEST))

    @property
    def _colours(self):
        """The rank of each row's first coordinate after the scaling, as a share."""
        return (rankdata(self.path[0, :, 0]) - 0.5) / self.path.shape[1]

    def _tell_beyond(self, ax, rows):
        n_beyond = int((np.abs(rows) > self._limit).any(axis=1).sum())
        if n_beyond:
            ax.text(
                0.98,
                0.02,
                f"{n_beyond:,} beyond",
                transform=ax.transAxes,
                ha="right",
                va="bottom",
                fontsize="x-small",
            )

    def _label(self, ax, y_name):
        """Name the axes at the left and below the lowest panel of each column only."""
        label_axis(ax.xaxis, self.coordinate_names[0], n_ticks=4, width=28)
        label_axis(ax.yaxis, y_name, n_ticks=4, width=28)
        place = ax.get_subplotspec()
        n_columns = place.get_gridspec().ncols
        if place.num1 + n_columns < len(self.path):
            ax.set_xlabel("")
        if not place.is_first_col():
            ax.set_ylabel("")
            ax.tick_params(labelleft=self.path.shape[2] == 1)

    def _title(self, k):
        if k == 0:
            return "scaled rows" if self.movements else "scaled rows, no blocks"
        return f"block {k}\nmovement {self.movements[k - 1]:.2g}"


def _shown(columns, names, modelled):
    shown = column_positions(columns, names)
    if len(shown) != 2:
        raise ValueError(f"columns={columns!r} names {len(shown)} columns; pass two of them.")
    for j in shown:
        if j not in modelled:
            raise ValueError(
                f"columns={columns!r} names {names[j]!r}, which is given or a category and has no "
                f"latent coordinate; pass two of {[names[j] for j in modelled]}."
            )
    return shown
