"""The kinds and roles of a table's columns, and the table encoded as numbers."""

__all__ = []
