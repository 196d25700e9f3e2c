"""Saved models, which are read as untrusted files, and checkpoints of one's own fits."""

__all__ = []
