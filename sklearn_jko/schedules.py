"""Step sizes of the JKO scheme."""

import math

__all__ = ["geometric_step"]


def geometric_step(k, first, growth, largest=math.inf):
    """Step size h_k = min(first * growth^k, largest) of block k = 0, 1, ..."""
    try:
        return min(first * float(growth) ** k, largest)
    except OverflowError:
        return largest
