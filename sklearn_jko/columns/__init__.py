"""What the columns of a table hold, and the table as numbers."""

__all__ = []
