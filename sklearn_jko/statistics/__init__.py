"""Statistics of columns and rows: spreads, covariances, mixtures, and evenly spread rows."""

__all__ = []
