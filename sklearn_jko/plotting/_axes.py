"""Axes, their limits and their labels."""

import math
import textwrap

import numpy as np

from sklearn_jko.statistics.columns import bounded
from sklearn_jko.statistics.thinning import evenly_spread

__all__ = [
    "INLIER",
    "MODEL",
    "OUTLIER",
    "ROWS",
    "axes_grid",
    "central_range",
    "draw_points",
    "label_axis",
    "number",
    "point_size",
    "single_axes",
    "thinned",
    "with_margin",
]

# Okabe and Ito's blue and vermilion are distinct for the colour-blind, and in greyscale.
MODEL = INLIER = "#0072B2"
ROWS = OUTLIER = "#D55E00"
MAX_POINTS = 2000
MARGIN = 0.05  # of a range, as matplotlib leaves: points on its ends are not cut
# A range is a point where its margin is narrower than this, in rounding errors of its ends: then
# even points along it would be no different floats.
ROUNDINGS = 10
# Tick labels get an offset where values are this many times larger than their range, and a power of
# ten where they are outside these units.
OFFSET_RATIO = 1e4
SMALLEST_UNIT, LARGEST_UNIT = 1e-2, 1e4
SMALLEST_POWER = 1e-300
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def single_axes(ax):
    """The given axes, or new ones in a figure of their own."""
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1] if ax is None else ax


def axes_grid(ax, n_rows, n_columns, panel_size, **spacing):
    """A function of row and column that adds axes, in a new figure or in place of the given axes.

    Returns
    -------
    figure : Figure
    add : callable
    """
    import matplotlib.pyplot as plt

    if ax is None:
        size = n_columns * panel_size[0], n_rows * panel_size[1]
        figure = plt.figure(figsize=size, layout="compressed")
        grid = figure.add_gridspec(n_rows, n_columns, **spacing)
    elif ax.get_subplotspec() is None:
        raise ValueError(
            "ax has no place in a grid and cannot be divided into panels; pass axes made by "
            "plt.subplots or Figure.add_subplot."
        )
    else:
        ax.set_axis_off()
        figure = ax.figure
        grid = ax.get_subplotspec().subgridspec(n_rows, n_columns, **spacing)
    return figure, lambda row, column, **shared: figure.add_subplot(grid[row, column], **shared)


def central_range(values):
    """Smallest and largest of the values, apart from those far away from nearly all others."""
    values = bounded(values)
    low, high = np.quantile(values, [0.01, 0.99])
    reach = high - low
    near = values[(values >= low - reach) & (values <= high + reach)]
    return float(near.min()), float(near.max())


def with_margin(low, high):
    """A range with a margin at both ends; if it is a single point, a range around it."""
    margin, size = MARGIN * (high - low), max(abs(low), abs(high))
    if not margin > ROUNDINGS * np.spacing(size):
        margin = 0.1 * size or 1.0
    return low - margin, high + margin


def thinned(rows):
    """At most 2,000 of the rows, evenly spread: more cannot be distinguished as points."""
    return evenly_spread(rows, MAX_POINTS)


def point_size(n_rows):
    """Diameter of the points for this number of rows."""
    return float(np.clip(60 / math.sqrt(min(n_rows, MAX_POINTS)), 2.2, 5.0))


def draw_points(ax, rows, scale=1.0, **style):
    """Rows as points that stand out on the model's regions; returns their artist."""
    size = scale * point_size(len(rows))
    edge = {"mec": "white", "mew": 0.08 * size}
    return ax.plot(*thinned(rows).T, "o", color=ROWS, ms=size, **edge, **style)[0]


def label_axis(axis, name, n_ticks=6, width=60):
    """Name an axis and shorten its tick labels; the offset or power of ten is put beside the name.

    The limits of the axis must be set before.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    offset, exponent = _offset_and_exponent(*sorted(axis.get_view_interval()))
    axis.set_major_locator(MaxNLocator(n_ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: number(round((value - offset) * 10.0**-exponent, 9) + 0.0))
    )
    lines = textwrap.wrap(str(name), width, max_lines=2, placeholder=" …")
    for part in _left_out(offset, exponent):
        # A number cut off at the edge of the figure would read as another one.
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += " " + part
        else:
            lines.append(part)
    axis.set_label_text("\n".join(lines).replace("$", r"\$"))


def _left_out(offset, exponent):
    """Texts of the offset and the power of ten, each only if there is one."""
    if offset:
        yield f"{MINUS if offset > 0 else '+'} {abs(offset):.15g}"
    if exponent:
        yield f"({TIMES}10{str(exponent).translate(SUPERSCRIPTS)})"


def _offset_and_exponent(low, high):
    """The offset to subtract from the numbers of a range, and the power of ten to divide by."""
    span, size, offset = high - low, max(abs(low), abs(high)), 0.0
    if 0 < OFFSET_RATIO * span < size:
        step = 10.0 ** math.ceil(math.log10(span))
        offset = round((low + high) / 2 / step) * step
        size = max(abs(low - offset), abs(high - offset))
    if size == 0 or SMALLEST_UNIT <= size < LARGEST_UNIT:
        return offset, 0
    return offset, math.floor(math.log10(max(size, SMALLEST_POWER)))


def number(value):
    """A number in few digits, with a typographic minus sign."""
    return f"{value:.6g}".replace("-", MINUS)
