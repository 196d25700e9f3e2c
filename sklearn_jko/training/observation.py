"""Listeners to a training."""

__all__ = ["NOBODY", "Observer"]


class Observer:
    """Listener that does nothing; override what should be heard.

    A training is the object with the properties `flow`, `history` and `progress`, made when asked
    for.
    """

    def started(self, training):
        """Hear that no block of this training has been trained yet."""

    def block_started(self, max_evaluations):
        """Hear that a block will be trained, with about so many evaluations, or None: not known."""

    def evaluated(self):
        """Hear that the block's weights have been evaluated on the held-out rows."""

    def block_ended(self, training):
        """Hear that the last block of `training.history` is done, and answer whether to stop."""
        return False

    def ended(self):
        """Hear that the fit is done."""


NOBODY = Observer()
