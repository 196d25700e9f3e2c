"""Missing values: mixtures that tell of some columns given others, and draws from these."""

__all__ = []
