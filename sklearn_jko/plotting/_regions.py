"""Highest-density regions."""

import numpy as np

from sklearn_jko.plotting._axes import MODEL

__all__ = [
    "SHARES",
    "draw_regions",
    "enclosed_mass",
    "region_patches",
    "region_thresholds",
]

# Probabilities inside the contours.
SHARES = (0.99, 0.95, 0.8, 0.5)


def region_thresholds(sample_log_density):
    """Log-densities above which `SHARES` of a model's samples lie.

    Hyndman (1996), Computing and graphing highest density regions.
    """
    return np.quantile(sample_log_density, 1 - np.array(SHARES))


def enclosed_mass(weights):
    """For each point of an even grid, the share of the weight at points at least as heavy.

    It is 1 everywhere if all weights are zero: no region encloses less.
    """
    if not weights.any():
        return np.ones(weights.shape)
    order = np.argsort(-weights, axis=None, kind="stable")
    mass = np.cumsum(weights.ravel()[order])
    enclosed = np.empty(weights.size)
    enclosed[order] = mass / mass[-1]
    return enclosed.reshape(weights.shape)


def draw_regions(ax, x, y, values, thresholds):
    """Fill where the values on a grid exceed each threshold, the outermost first."""
    low, high = thresholds.min(), max(values.max(), thresholds.max())
    # Interpolated contours must not depend on how far below them the lowest values are.
    values = values.clip(min=low - (high - low) - 1e-9 * abs(low))
    top = high + max(high - low, 1e-9 * abs(high), 1e-300)
    for threshold, colour in zip(thresholds, region_colours(), strict=True):
        ax.contourf(x, y, values, levels=[threshold, top], colors=[colour])


def region_colours():
    """Colours from near white to the model's colour, one for each of `SHARES`."""
    from matplotlib.colors import to_rgb

    strength = np.linspace(0.18, 0.85, len(SHARES))[:, None]
    return 1 - strength * (1 - np.array(to_rgb(MODEL)))


def region_patches():
    """Legend handles, the innermost region first."""
    from matplotlib.patches import Patch

    coloured = list(zip(SHARES, region_colours(), strict=True))
    return [Patch(color=colour, label=f"{share:.0%} of model") for share, colour in coloured[::-1]]
