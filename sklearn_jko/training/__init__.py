"""The training of a flow, block by block."""

__all__ = []
