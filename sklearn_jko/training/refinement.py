"""Trajectory reparameterisation and progressive refinement, section 4.2 of the JKO-iFlow paper."""

import copy
import math

import numpy as np

from sklearn_jko.flow import JKOBlock

__all__ = ["are_even", "halved", "next_round", "respread"]

EVEN = 2.0
DAMPING = 0.5
# For normal rows, a step of size h takes the mean m to m / (1 + h): with this h, half way.
HALF_WAY = 1.0


def next_round(blocks, step_sizes, distances):
    """Blocks and step sizes to train next, from those of a trained flow.

    While the distances are uneven the step sizes are adjusted; then every interval is halved.

    Parameters
    ----------
    blocks : sequence of JKOBlock
    step_sizes : sequence of float
    distances : sequence of float
        Root mean squared distance by which each block moves the rows: S_k.

    Returns
    -------
    prepared : list of (JKOBlock, float)
        Copies of the blocks, or of their halves, with their weights, and the step size for each;
        the last is free.
    """
    if are_even(distances):
        blocks, step_sizes = halved(blocks, step_sizes)
    else:
        blocks, step_sizes = copy.deepcopy(list(blocks)), respread(step_sizes, distances)
    return list(zip(blocks, [*step_sizes[:-1], math.inf], strict=True))


def are_even(distances):
    """Whether the longest distance is at most twice the shortest."""
    return max(distances) <= EVEN * min(distances)


def respread(step_sizes, distances):
    """Step sizes that even out the distances S_k: h_k + eta (h_k mean(S) / S_k - h_k).

    The damping eta is 0.5, as in the paper. A step size that is infinite stays so.
    """
    step_sizes, distances = np.asarray(step_sizes), np.asarray(distances)
    wanted = np.mean(distances) / distances
    return (step_sizes * (1 + DAMPING * (wanted - 1))).tolist()


def halved(blocks, step_sizes):
    """Split every block's interval of time in two: both halves together are the block.

    Two steps of h / 2 cost as much transport as one of h that covers the same distance. The first
    half of a free block gets the step size of half the way, and its second half is free.
    """
    halves, sizes = [], []
    for block, h in zip(blocks, step_sizes, strict=True):
        middle = (block.t0 + block.t1) / 2
        for t0, t1 in ((block.t0, middle), (middle, block.t1)):
            halves.append(JKOBlock(copy.deepcopy(block.velocity), t0, t1))
        sizes += [h / 2, h / 2] if math.isfinite(h) else [HALF_WAY, math.inf]
    return halves, sizes
