"""Step sizes of the JKO scheme."""

import math

__all__ = ["geometric_step"]


def geometric_step(k, first, growth):
    """Step size h_k = first * growth^k of block k = 0, 1, ..."""
    try:
        return first * float(growth) ** k
    except OverflowError:
        return math.inf
