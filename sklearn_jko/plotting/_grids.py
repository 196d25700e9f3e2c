"""Even grids over the columns of a table, and bins and histograms on them."""

import numpy as np

from sklearn_jko.plotting._axes import central_range, with_margin

__all__ = ["bin_edges", "draw_histogram", "even_grid", "shared_edges", "smoothed_histogram"]

MAX_BINS = 60
# From here on the edges of an integer's cell cannot be represented by floats.
LARGEST_WHOLE = 2.0**52
# As a share of the points' own deviation in each direction, so that a narrow ridge stays narrow.
SMOOTHING = 0.19
LEAST_SMOOTHING = 0.7  # cells


def even_grid(rows, samples, n_points):
    """Even points along each column over most rows and samples, shape (d, n_points)."""
    limits = []
    for k, column in enumerate(rows.T):
        low, high = central_range(column)
        if samples is not None:
            # A model far wider than the rows must not squeeze them into a point.
            wide = np.quantile(samples[:, k], [0.001, 0.999])
            wide = wide.clip(low - (high - low), high + (high - low))
            low, high = min(low, wide[0]), max(high, wide[1])
            if _are_whole(column, samples[:, k]):
                low, high = low - 0.5, high + 0.5
        limits.append(np.linspace(*with_margin(low, high), n_points))
    return np.array(limits)


def bin_edges(values, grid):
    """Even bin edges along the axis, in a number that suits the values within it."""
    low, high = grid[0], grid[-1]
    near = values[(values >= low) & (values <= high)]
    n_bins, spread = MAX_BINS, near.max(initial=low) - near.min(initial=high)
    # On an axis far wider than the values numpy would make the edges of billions of bins.
    if not 0 < MAX_BINS * spread < high - low:
        n_bins = min(len(np.histogram_bin_edges(near, "auto", (low, high))) - 1, MAX_BINS)
    return np.linspace(low, high, n_bins + 1)


def shared_edges(rows, samples, grid):
    """Bin edges to compare rows and samples in; around each integer if all values are integers."""
    if _are_whole(rows, samples):
        return _edges_around_integers(grid)
    edges = bin_edges(rows, grid)
    # A single bin, as for a constant column, would hide how the samples are spread.
    return edges if len(edges) > 2 else bin_edges(samples, grid)


def draw_histogram(ax, values, edges, **style):
    """Histogram between even edges, as a density relative to all values."""
    counts, _ = np.histogram(values, edges)
    ax.stairs(counts / (len(values) * (edges[1] - edges[0])), edges, **style)


def _are_whole(*columns):
    return all((column % 1 == 0).all() and abs(column).max() < LARGEST_WHOLE for column in columns)


def _edges_around_integers(grid):
    """Edges of cells that hold one integer each or, if these are too many, equally many."""
    first, last = np.ceil(grid[0]), np.floor(grid[-1])
    n_integers = last - first + 1
    step = np.ceil(n_integers / MAX_BINS)
    return first - 0.5 + step * np.arange(np.ceil(n_integers / step) + 1)


def smoothed_histogram(x, y, x_grid, y_grid):
    """Smoothed counts of points around grid points, shape (len(y_grid), len(x_grid))."""
    edges = _edges(y_grid), _edges(x_grid)
    counts, _, _ = np.histogram2d(y, x, edges)
    cells = np.stack(
        [(v - e[0]) / (e[1] - e[0]) for v, e in zip((y, x), edges, strict=True)], axis=1
    )
    inside = cells[((cells >= 0) & (cells <= counts.shape)).all(axis=1)]
    kernel = LEAST_SMOOTHING**2 * np.eye(2)
    if len(inside) > 1:
        kernel += SMOOTHING**2 * np.cov(inside.T)
    return _smoothed(counts, kernel)


def _smoothed(counts, covariance):
    """Convolution with a Gaussian, whose covariance is in units of cells."""
    padded = 2 * counts.shape[0], 2 * counts.shape[1]
    frequencies = np.fft.fftfreq(padded[0])[:, None], np.fft.rfftfreq(padded[1])
    quadratic = sum(
        covariance[i, j] * frequencies[i] * frequencies[j] for i in range(2) for j in range(2)
    )
    spectrum = np.fft.rfft2(counts, padded) * np.exp(-2 * np.pi**2 * quadratic)
    smooth = np.fft.irfft2(spectrum, padded)[: counts.shape[0], : counts.shape[1]]
    return np.where(smooth > 1e-9 * smooth.max(), smooth, 0.0)


def _edges(centres):
    """Edges of cells around even points."""
    half = (centres[1] - centres[0]) / 2
    return np.append(centres - half, centres[-1] + half)
