"""What an outlier detector is made of."""

__all__ = []
