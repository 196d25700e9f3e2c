"""Step sizes of the JKO scheme."""

import math

__all__ = ["geometric_step"]


def geometric_step(k, first, growth, largest=math.inf):
    """Step size h_k = min(first * growth^k, largest) of block k = 0, 1, ..."""
    exponent = math.log(first) + k * math.log(growth) if math.isfinite(first) else math.inf
    return min(math.exp(exponent), largest) if exponent < 700 else largest
