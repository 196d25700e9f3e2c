"""Listeners to a training."""

__all__ = ["NOBODY", "Observer"]


class Observer:
    """Listener that does nothing; override what should be heard.

    A training is the object with the properties `flow`, `history` and `progress`, made when asked
    for.
    """

    def started(self, training):
        """Hear that no block of this training has been trained yet."""

    def block_started(self, most_judgements):
        """Hear that a block will be trained, and judged about so often; None where that is open."""

    def evaluated(self):
        """Hear that the block's weights have been judged on the held-out rows."""

    def block_ended(self, training):
        """Hear that the last block of `training.history` is done, and answer whether to stop."""
        return False

    def ended(self):
        """Hear that the fit is done."""


NOBODY = Observer()
