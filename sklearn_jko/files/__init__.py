"""Saved models and checkpoints, read as if a stranger had written them."""

__all__ = []
