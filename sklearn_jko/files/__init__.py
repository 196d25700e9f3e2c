"""Saved models, read as if a stranger had written them, and checkpoints of one's own fits."""

__all__ = []
