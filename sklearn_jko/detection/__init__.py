"""Parts of the outlier detector: scores, neighbours, p-values, contributions of columns."""

__all__ = []
