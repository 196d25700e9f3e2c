"""The rows of a fit: training rows and held-out rows, in one process or several."""

__all__ = []
