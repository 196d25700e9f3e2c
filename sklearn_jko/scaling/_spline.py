"""Monotone rational-quadratic splines with linear tails.

A spline is one array of shape (3, k): the knots' abscissae, their ordinates and the slopes there.
Between knots it is the rational quadratic of Gregory and Delbourgo (1982), as in Durkan et al.,
"Neural spline flows" (2019): increasing for any positive slopes, with an inverse in closed form.
"""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_ndarray

__all__ = [
    "IDENTITY",
    "check_splines",
    "evaluate",
    "invert",
    "mirrored",
    "spline_through",
    "with_slope_beyond",
]

# The secant of a piece that rises by less would have few correct digits, or none.
LEAST_RISE = 1e-9

IDENTITY = np.array([[-1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])


def check_splines(name, splines, starts):
    """Raise ValueError unless these are increasing splines, side by side, with these starts."""
    check_ndarray(name, splines, (3, int(starts[-1])))
    if starts[0] != 0 or np.any(np.diff(starts) < 2):
        raise ValueError(f"{name} must have two or more knots a column")
    check_ndarray(f"slopes of {name}", splines[2], splines[2].shape, low=SMALLEST)
    increases = np.all(splines[:2, 1:] > splines[:2, :-1], axis=0)
    increases[starts[1:-1] - 1] = True  # from one spline to the next
    if not increases.all():
        raise ValueError(f"the knots of {name} must increase")


def spline_through(x, y):
    """Join increasing points smoothly.

    Parameters
    ----------
    x, y : ndarray of shape (k,), k >= 2, strictly increasing

    Returns
    -------
    spline : ndarray of shape (3, k)
    """
    width = np.diff(x)
    log_secant = np.log(np.diff(y)) - np.log(width)
    log_slope = np.empty(len(x))
    log_slope[[0, -1]] = log_secant[[0, -1]]
    # The geometric mean, weighted like a parabola through three points, stays positive across any
    # change of slope.
    left, right = width[:-1], width[1:]
    log_slope[1:-1] = (right * log_secant[:-1] + left * log_secant[1:]) / (left + right)
    return np.stack([x, y, np.exp(log_slope)])


def with_slope_beyond(spline, end, slope):
    """Give the upper tail this slope beyond the abscissa `end`, or beyond the last knot.

    Parameters
    ----------
    spline : ndarray of shape (3, k)
    end, slope : float

    Returns
    -------
    spline : ndarray of shape (3, k)
        With up to two knots more.
    """
    x, y, old_slope = spline[:, -1]
    bend = max(x, end)
    start = y + old_slope * (bend - x)
    # The bend is as long as it takes the steeper of the two slopes to rise by one.
    length = 1 / max(old_slope, slope)
    last = [bend + length, start + length * np.sqrt(old_slope * slope), slope]
    apart = bend > x and start - y > LEAST_RISE
    knots = [[bend, start, old_slope], last] if apart else [last]
    return np.column_stack([spline, *knots])


def mirrored(spline):
    """The spline of -f(-x)."""
    return spline[:, ::-1] * [[-1], [-1], [1]]


def evaluate(spline, x):
    """Value and log-slope of a spline at the points x, both of the shape (n,) of x."""
    start, slope = spline[0, 0], spline[2]
    inside = np.clip(x, start, spline[0, -1])
    x0, width, y0, height, secant, d0, d1 = _pieces(spline, spline[0], inside)
    t = (inside - x0) / width
    tt = t * (1 - t)
    below = secant + (d0 + d1 - 2 * secant) * tt
    y = y0 + height * (secant * t**2 + d0 * tt) / below
    derivative = (secant / below) ** 2 * (d1 * t**2 + 2 * secant * tt + d0 * (1 - t) ** 2)
    outside = x - inside
    return y + np.where(outside < 0, slope[0], slope[-1]) * outside, np.log(derivative)


def invert(spline, y):
    """The points, of shape (n,), where a spline takes the values y."""
    start, slope = spline[1, 0], spline[2]
    inside = np.clip(y, start, spline[1, -1])
    x0, width, y0, height, secant, d0, d1 = _pieces(spline, spline[1], inside)
    rise, fall = (inside - y0) / height, (height - (inside - y0)) / height
    # Quadratic equation for the share of the piece to the left, or to the right: whichever of the
    # two is solved without cancellation.
    left = d0 * fall + (2 * secant - d1) * rise
    right = d1 * rise + (2 * secant - d0) * fall
    b, c = np.maximum(left, right), secant * np.where(left > right, rise, fall)
    root = np.hypot(b - 2 * c, 2 * secant * np.sqrt(rise * fall))
    share = 2 * c / (b + root)
    outside = y - inside
    return (
        x0
        + width * np.where(left > right, share, 1 - share)
        + outside / np.where(outside < 0, slope[0], slope[-1])
    )


def _pieces(spline, edges, points):
    """For each point the x, width, y, height, secant and end slopes of its piece.

    The points are abscissae or ordinates, as `edges` is row 0 or row 1 of the spline.
    """
    x, y, slope = spline
    width, height = np.diff(x), np.diff(y)
    table = np.stack([x[:-1], width, y[:-1], height, height / width, slope[:-1], slope[1:]])
    return table[:, np.searchsorted(edges[1:-1], points, side="right")]
