"""When to stop adding blocks."""

__all__ = ["has_settled"]


def has_settled(record, tol):
    """Whether a block moved its rows so little that the free block may follow.

    The paper's criterion: E|x1 - x0|^2 / E|x1|^2 < tol, measured where the block was kept.
    """
    return record.kept and record.movement < tol
