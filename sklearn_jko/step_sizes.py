"""Step sizes of the JKO scheme, and when its free block may follow."""

import functools
import math

__all__ = ["geometric_step", "has_settled", "step_sizes"]

GROWTH = 2.0


def step_sizes(step_size):
    """The step size of a block as a function of its number, by the parameter of an estimator."""
    if callable(step_size):
        return step_size
    return functools.partial(geometric_step, first=step_size, growth=GROWTH)


def geometric_step(k, first, growth):
    """Step size h_k = first * growth^k of block k = 0, 1, ..."""
    try:
        return first * float(growth) ** k
    except OverflowError:
        return math.inf


def has_settled(record, tol):
    """Whether a block moved its rows so little that the free block may follow.

    The paper's criterion: E|x1 - x0|^2 / E|x1|^2 < tol. False for a dropped block.
    """
    return record.kept and record.movement < tol
