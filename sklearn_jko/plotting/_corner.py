"""Corner plot: rows against samples of a model, for single columns and for pairs."""

import itertools

import numpy as np

from sklearn_jko.plotting._axes import MODEL, ROWS, axes_grid, draw_points, label_axis
from sklearn_jko.plotting._grids import draw_histogram, shared_edges, smoothed_histogram
from sklearn_jko.plotting._regions import SHARES, draw_regions, enclosed_mass, region_patches

__all__ = ["draw_corner"]


def draw_corner(ax, rows, samples, grid, names, labels):
    """Draw the histogram of each column on the diagonal, and each pair of columns below it.

    The legend has one label for the rows and one for the model.

    Returns
    -------
    figure : Figure
    axes : ndarray of Axes of shape (d, d)
        None above the diagonal.
    """
    d = len(names)
    panel_size = (4.5, 3.5) if d == 1 else (2.1, 2.0)
    figure, add = axes_grid(ax, d, d, panel_size, wspace=0.06, hspace=0.06)
    axes = np.full((d, d), None)
    for i, j in itertools.combinations_with_replacement(range(d), 2):
        axes[j, i] = panel = add(j, i)
        if i == j:
            _draw_column(panel, rows[:, i], samples[:, i], grid[i])
        else:
            _draw_pair(panel, rows[:, [i, j]], samples[:, [i, j]], grid[[i, j]])
        _label(panel, names, i, j)
    figure.align_ylabels(axes[1:, 0].tolist())
    _add_legend(axes[0, 0] if d == 1 else add(0, d - 1), d, labels)
    return figure, axes


def _draw_column(ax, rows, samples, grid):
    edges = shared_edges(rows, samples, grid)
    draw_histogram(ax, rows, edges, fill=True, color=ROWS, alpha=0.45)
    draw_histogram(ax, samples, edges, color=MODEL, lw=1.5)
    ax.set(xlim=grid[[0, -1]], ylim=(0, 1.05 * ax.dataLim.ymax))


def _draw_pair(ax, rows, samples, grid):
    x, y = grid
    cells = smoothed_histogram(*samples.T, x, y)
    draw_regions(ax, x, y, -enclosed_mass(cells), -np.array(SHARES))
    draw_points(ax, rows, scale=0.7)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]])


def _label(ax, names, i, j):
    """Name the axes at the left and at the bottom of the corner only."""
    label_axis(ax.xaxis, names[i], n_ticks=3, width=18)
    if j < len(names) - 1:
        ax.set_xlabel("")
        ax.tick_params(axis="x", labelbottom=False)
    if i == j:
        ax.set_yticks([])
        return
    label_axis(ax.yaxis, names[j], n_ticks=3, width=18)
    if i > 0:
        ax.set_ylabel("")
        ax.tick_params(axis="y", labelleft=False)


def _add_legend(ax, n_columns, labels):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=ROWS, alpha=0.45, label=labels[0]),
        Line2D([], [], color=MODEL, label=labels[1]),
    ]
    if n_columns > 1:
        # The space above the diagonal is free.
        ax.set_axis_off()
        handles += region_patches()
    ax.legend(handles=handles, loc="upper right", frameon=False).set_in_layout(False)
