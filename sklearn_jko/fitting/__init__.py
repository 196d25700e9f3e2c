"""The course of a fit: from its input to a fitted estimator."""

__all__ = []
