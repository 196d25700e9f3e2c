"""The rows of a fit: which train and which judge, in one process or several."""

__all__ = []
