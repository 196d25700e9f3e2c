"""Monotone splines from a sample to a distribution, with no more knots than the sample supports."""

from itertools import pairwise

import numpy as np
from scipy.special import gammainc, pdtrc

from sklearn_jko.scaling._spline import evaluate, spline_through

__all__ = ["fit_spline"]

# Values closer than this count as tied, which bounds the slopes by about 1e7.
RESOLUTION = 1e-6
# Of many values so many are looked at: in the body their ranks are finer than any knots, while in
# the tails every value counts.
BODY, TAIL = 8000, 500
MAX_KNOTS = 60
MAX_ROUNDS = 12
# A piece is split where it misses its rows by more than 1.5 standard errors (Kolmogorov's 2 %
# point). Chosen, like the first knots, by the held-out likelihood of normal, lognormal, uniform,
# bimodal, Student and peaked samples of 15 to 5,000 rows.
SIGNIFICANT = 1.5
MIN_ROWS = 5
FEW_ROWS = 40
# A tail point is an outlier if, by the spline, the probability of as many rows so far out is lower
# than this.
UNLIKELY = 1e-3
# A last piece that spans a gap, as from zeros to a few amounts, is far too gentle for the tail:
# draws came a thousand times too far out. So if its slope is at most `GENTLE`, and if with this
# slope the rows beyond would be as near as they are with a probability of at most `UNLIKELY_NEAR`,
# the tail's slope is fitted to these rows, and the piece counts like `ROWS_OF_PIECE` of them. For
# steeper pieces that costs more than it gains.
GENTLE, UNLIKELY_NEAR, ROWS_OF_PIECE = 0.5, 0.05, 2.0


def fit_spline(values, score, cdf, n_rows):
    """Fit an increasing spline from a sample to a target distribution.

    Starting from five quantiles (three below 40 rows), a knot is added wherever the spline's
    distribution function misses the sample's by more than chance allows: a normal sample keeps five
    knots, a narrow peak gets knots at its edges. Outliers get knots too, as a steep tail would
    otherwise carry them just as far out. A tail continues with the slope at the end of the last
    piece or, if this is gentle and the rows beyond it are too near for that, with a steeper one.

    Parameters
    ----------
    values : ndarray of shape (n,), finite, n >= 1
    score, cdf : callables
        The target's quantile function and its inverse, both on arrays.
    n_rows : float
        Effective size of the sample: n, or less if copies only express weights.

    Returns
    -------
    spline : ndarray of shape (3, k)
        In the form that `_spline.evaluate` takes.
    """
    x, probability = _distribution(values)
    if len(x) == 1:
        return spline_through(x + np.array([-1.0, 1.0]), score(probability) + np.array([-1.0, 1.0]))
    y = score(probability)
    knots = _first_knots(probability, n_rows)
    for missed in (_worst_points, _outliers):
        for _ in range(MAX_ROUNDS):
            spline = spline_through(x[knots], y[knots])
            added = missed(cdf(evaluate(spline, x)[0]), probability, knots, n_rows)
            if not added:
                break
            knots = np.union1d(knots, added)
    spline = spline_through(x[knots], y[knots])
    spline[2, 0] = _tail_slope(spline[:, 0] * [-1, -1, 1], -values, lambda z: cdf(-z), n_rows)
    spline[2, -1] = _tail_slope(spline[:, -1], values, lambda z: 1 - cdf(z), n_rows)
    return spline


def _distribution(values):
    """Distinct values, ascending, and the share of rows below each (its own rows count half)."""
    x, counts = np.unique(np.round(values / RESOLUTION) * RESOLUTION, return_counts=True)
    probability = (np.cumsum(counts) - counts / 2) / len(values)
    kept = _thinned(len(x))
    return x[kept], probability[kept]


def _thinned(n):
    """At most about `BODY + 2 TAIL` of n ranks: all in the tails, evenly spaced between."""
    ends = np.r_[np.arange(min(TAIL, n)), np.arange(max(n - TAIL, 0), n)]
    return np.union1d(ends, np.linspace(0, n - 1, min(n, BODY)).astype(int))


def _first_knots(probability, n):
    end = min(1 / 3 / np.sqrt(n), 0.1)
    body = [0.5] if n < FEW_ROWS else [0.2, 0.5, 0.8]
    wanted = [end, *body, 1 - end]
    knots = np.unique(np.searchsorted(probability, wanted).clip(0, len(probability) - 1))
    return knots if len(knots) > 1 else np.array([0, len(probability) - 1])


def _worst_points(fitted, probability, knots, n):
    """The worst-fitted point of every significantly misfitted piece, tails included."""
    miss = np.abs(fitted - probability)
    edges = np.union1d(knots, [0, len(miss) - 1])
    worst = [low + np.argmax(miss[low:high]) for low, high in pairwise(edges)]
    rows = np.maximum(n * np.diff(probability[edges]), 1)
    excess = n * miss[worst] / np.sqrt(rows)
    excess[(rows < MIN_ROWS) | np.isin(worst, knots)] = 0
    order = np.argsort(-excess)[: MAX_KNOTS - len(knots)]
    return [worst[i] for i in order if excess[i] > SIGNIFICANT]


def _outliers(fitted, probability, knots, n):
    """In each tail the outermost outlier, and the first point inside all outliers."""
    tails = [
        (fitted[: knots[0]], probability[: knots[0]], 1, 0),
        ((1 - fitted)[: knots[-1] : -1], (1 - probability)[: knots[-1] : -1], -1, len(fitted) - 1),
    ]
    added = []
    for expected, observed, step, end in tails:
        chance = pdtrc(np.ceil(n * observed) - 1, n * expected)
        far = np.flatnonzero(chance < UNLIKELY)
        if len(far):
            inner = min(far[-1] + 1, len(observed) - 1)
            added += [end + step * far[0], end + step * inner]
    return added


def _tail_slope(knot, values, survival, n_rows):
    """Slope of the upper tail: beyond a knot, its rows are nearly exponential under the target."""
    x, y, slope_of_piece = knot
    excess = values[values > x + RESOLUTION] - x
    near, far = survival(np.array([y, y + 0.5]))
    if len(excess) == 0 or far <= 0 or slope_of_piece > GENTLE:
        return slope_of_piece
    hazard = np.log(near / far) / 0.5
    rows, total = np.array([len(excess), hazard * excess.sum()]) * n_rows / len(values)
    if gammainc(rows, total * slope_of_piece) > UNLIKELY_NEAR:
        return slope_of_piece
    return (rows + ROWS_OF_PIECE) / (total + ROWS_OF_PIECE / slope_of_piece)
