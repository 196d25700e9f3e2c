"""What a column holds, and its bounds."""

import math
from typing import NamedTuple

__all__ = ["CATEGORY", "INTEGER", "LARGEST_BOUND", "NUMERIC", "Kind"]

NUMERIC, INTEGER, CATEGORY = "numeric", "integer", "category"
# Differences of larger numbers overflow.
LARGEST_BOUND = 1e300


class Kind(NamedTuple):
    """What a column holds, and its bounds, which are infinite where open."""

    name: str = NUMERIC
    low: float = -math.inf
    high: float = math.inf

    @property
    def spelling(self):
        """As `columns` takes it; None for numbers without bounds."""
        bounds = tuple(None if math.isinf(bound) else bound for bound in (self.low, self.high))
        if self.name == CATEGORY:
            return CATEGORY
        if self.name == INTEGER:
            return INTEGER if bounds == (None, None) else (INTEGER, *bounds)
        return None if bounds == (None, None) else bounds

    def check(self, column):
        """Raise ValueError, naming the column, unless the bounds are valid."""
        for bound in (self.low, self.high):
            if math.isfinite(bound) and abs(bound) > LARGEST_BOUND:
                raise ValueError(
                    f"column {column}: the bound {bound} is beyond {LARGEST_BOUND}; use None for "
                    "an open side."
                )
            if self.name == INTEGER and math.isfinite(bound) and not bound.is_integer():
                raise ValueError(
                    f"column {column}: the bound {bound} of integers must be an integer."
                )
        if not self.low < self.high:
            raise ValueError(
                f"column {column}: the lower bound {self.low} must be below the upper, {self.high}."
            )
