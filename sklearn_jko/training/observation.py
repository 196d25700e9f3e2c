"""Observers of training."""

__all__ = ["NOBODY", "Observer"]


class Observer:
    """Observer that does nothing; override the methods of interest.

    A training is an object with the attributes `flow`, `history` and `progress`; the first and the
    last are made on access.
    """

    def started(self, training):
        """Called before the first block of a training."""

    def block_started(self, max_evaluations):
        """Called before a block, with the approximate number of evaluations, or None if unknown."""

    def evaluated(self):
        """Called after the block's weights were evaluated on the held-out rows."""

    def block_ended(self, training):
        """Called after the last block of `training.history`; returns whether to stop."""
        return False

    def ended(self):
        """Called after the fit."""


NOBODY = Observer()
