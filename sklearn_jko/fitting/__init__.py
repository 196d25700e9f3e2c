"""The course of a fit: from what it is given to an estimator that is fitted."""

__all__ = []
