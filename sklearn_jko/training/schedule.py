"""When the training of a block warms up, is evaluated and cools down."""

from dataclasses import dataclass

__all__ = ["COOLDOWN_SHARE", "LONG", "Schedule", "cooldown_start"]

WARMUP_SHARE = 0.1
COOLDOWN_SHARE = 0.4
# Longer training warms up, and is first evaluated, as if it ended here: a block that overfits early
# does so however much time there is.
LONG = 1000
MAX_COST = 0.2  # of all evaluations, as a share of training


def cooldown_start(end):
    """The step at which training that ends after `end` steps leaves the plateau."""
    return end - int(COOLDOWN_SHARE * end)


@dataclass(frozen=True)
class Schedule:
    """Schedule of a block, in optimiser steps.

    Parameters
    ----------
    end : int
        Last step, unless training overfits.
    n_evaluations : int
        Number of evaluations on held-out rows until the end, or in the first 1,000 steps; after
        that, one whenever the number of steps has grown by a share of 1 / n_evaluations.
    patience : int
        Evaluations in a row without a gain that end the plateau. At least twice as many fit into
        the schedule.
    cost : int
        Cost of an evaluation.
    """

    end: int
    n_evaluations: int
    patience: int
    cost: int

    @property
    def warmup(self):
        return int(WARMUP_SHARE * min(self.end, LONG))

    @property
    def cooldown_start(self):
        return cooldown_start(self.end)

    def period(self, n_iter):
        """Steps from one evaluation to the next, after `n_iter` steps."""
        horizon = max(n_iter, min(self.end, LONG))
        enough = self.end // (2 * self.patience)  # evaluations for the patience
        period = -(-horizon // self.n_evaluations)  # rounded up, for no more than so many
        return max(period, min(int(self.cost / MAX_COST), enough))
