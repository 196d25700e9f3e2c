"""Column statistics without overflow or cancellation, and columns standardised by them.

Values beyond +-1e300 are clipped, so that no difference or square root of a product overflows.
"""

import numpy as np

__all__ = [
    "CENTRAL_RANGES",
    "LARGEST",
    "LARGEST_EXPONENT",
    "MAX_DEVIATIONS",
    "bounded",
    "mean_and_scale",
    "median_and_spread",
    "standardised",
    "unstandardised",
]

LARGEST = np.float64(1e300)  # single precision then becomes double, where it would overflow
LARGEST_EXPONENT = 709.0  # of e, before a float overflows
# Standardised values are clipped to this where something is learned from them: a regression, the
# moments within labels, the inputs of a network.
MAX_DEVIATIONS = 10.0

# Probability on either side of a central range, and the width of that range for a normal column of
# unit deviation.
CENTRAL_RANGES = ((0.25, 1.3490), (0.05, 3.2897), (0.005, 5.1517), (0.0, 6.0))


def bounded(values):
    """Clip to +-1e300, in double precision, which keeps a matrix product of the result finite."""
    return np.clip(values, -LARGEST, LARGEST)


def standardised(X, centre, scale):
    """X (n, d) as distances from each column's centre in units of its scale, bounded."""
    with np.errstate(over="ignore"):
        return bounded((bounded(X) - centre) / scale)


def unstandardised(Z, centre, scale):
    """The rows, bounded, that `standardised` maps to Z."""
    with np.errstate(over="ignore"):
        return bounded(Z * scale + centre)


def mean_and_scale(X):
    """Mean and standard deviation per column; a constant column has scale 1.

    Parameters
    ----------
    X : ndarray of shape (n, d), n >= 1, finite

    Returns
    -------
    mean, scale : ndarrays of shape (d,)
    """
    X = bounded(X)
    # Deviations from a value inside the column, in units of the largest: no squares of 1e-200, no
    # digits lost to 1e9.
    centre = np.median(X, axis=0)
    deviation = X - centre
    unit = np.abs(deviation).max(axis=0)
    unit[unit == 0] = 1.0
    deviation /= unit
    mean, scale = deviation.mean(axis=0), deviation.std(axis=0) * unit
    return centre + unit * mean, np.where(scale > 0, scale, 1.0)


def median_and_spread(X, central_ranges=CENTRAL_RANGES):
    """Median per column, and the width of its inner half relative to that of a standard normal.

    If more than half of a column is one value, a wider range is used; a constant column has spread
    1.

    Parameters
    ----------
    X : ndarray of shape (n, d), n >= 1, finite
    central_ranges : sequence, default=CENTRAL_RANGES
        The range to use, the inner half by default, followed by wider ones.

    Returns
    -------
    median, spread : ndarrays of shape (d,)
    """
    X, spread = bounded(X), np.zeros(X.shape[1])
    for tail, normal_width in central_ranges:
        if np.all(spread > 0):
            break
        low, high = np.quantile(X, [tail, 1 - tail], axis=0)
        spread = np.where(spread > 0, spread, (high - low) / normal_width)
    return np.median(X, axis=0), np.where(spread > 0, spread, 1.0)
