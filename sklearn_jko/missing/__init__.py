"""Missing values: mixtures that model some columns given others, and draws from these."""

__all__ = []
