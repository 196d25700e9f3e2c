"""Reports of a fit: log lines, the checkpoint, and scikit-learn's callbacks."""

import functools
import logging
import math
from contextlib import contextmanager

import numpy as np
from sklearn.utils.validation import _num_samples

from sklearn_jko.training.observation import Observer

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:
        """Stand-in without support for callbacks."""

    def with_callbacks(method):
        """Wrap only, to have as many frames as with the real decorator."""

        @functools.wraps(method)
        def same(*args, **kwargs):
            return method(*args, **kwargs)

        return same


__all__ = ["CallbackSupportMixin", "open_reports", "watched_part", "with_callbacks"]

LOGGER = logging.getLogger("sklearn_jko")


class Reports(Observer):
    """Write a log line and a checkpoint for each block.

    Parameters
    ----------
    save : callable or None
        Takes the `Progress`.
    verbose : bool
        Print the lines, unless the logger "sklearn_jko" shows them.
    """

    def __init__(self, save, verbose):
        self.save, self.verbose = save, verbose

    def started(self, training):
        if self.save is not None:
            self.save(training.progress)

    def block_ended(self, training):
        line = _line(len(training.history), training.history[-1])
        is_shown = LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers()
        if self.verbose and not is_shown:
            print(line, flush=True)
        LOGGER.info(line)
        if self.save is not None:
            self.save(training.progress)
        return False


class CallbackReports(Reports):
    """Also call scikit-learn's callbacks: one task per block, with one subtask per evaluation.

    Parameters
    ----------
    save, verbose
        See `Reports`.
    estimator : JKOFlowDensity
        The estimator that is being fitted.
    context : CallbackContext
        Context of the whole fit.
    X : array-like
        Data of the fit.
    attributes : callable
        Takes the flow and the history so far, and returns the attributes of an estimator fitted
        with them.
    """

    def __init__(self, save, verbose, estimator, context, X, attributes):
        super().__init__(save, verbose)
        self.estimator, self.context, self.attributes = estimator, context, attributes
        self.data = _data_of_tasks(X)

    def block_started(self, max_evaluations):
        self.block = self.context.subcontext("block", max_subtasks=max_evaluations)
        self.block.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        self.n_left = math.inf if max_evaluations is None else max_evaluations

    def evaluated(self):
        if self.n_left == 0:
            return  # a block that was rescheduled may take a few more
        self.n_left -= 1
        task = self.block.subcontext("evaluation")
        task.call_on_fit_task_begin(estimator=self.estimator)
        task.call_on_fit_task_end(estimator=self.estimator)

    def block_ended(self, training):
        super().block_ended(training)
        return self.block.call_on_fit_task_end(
            estimator=self.estimator,
            **self.data,
            reconstruction_attributes=lambda: self.attributes(training.flow, training.history),
        )

    def ended(self):
        self.context.call_on_fit_task_end(
            estimator=self.estimator, **self.data, reconstruction_attributes={}
        )


def open_reports(save, estimator, X, attributes):
    """The reports of a fit that begins; parameters as in `CallbackReports`."""
    if not hasattr(estimator, "_init_callback_context"):
        return Reports(save, estimator.verbose)
    n_blocks = None if estimator.n_refinements else estimator.max_blocks
    context = estimator._init_callback_context(max_subtasks=n_blocks)
    reports = CallbackReports(save, estimator.verbose, estimator, context, X, attributes)
    context.call_on_fit_task_begin(estimator=estimator, **reports.data)
    return reports


@contextmanager
def watched_part(estimator, part, X):
    """Let the callbacks of an estimator follow its fit to X, including the fit of its part."""
    if not hasattr(estimator, "_init_callback_context"):
        yield
        return
    data = _data_of_tasks(X)
    whole = estimator._init_callback_context(max_subtasks=1)
    whole.call_on_fit_task_begin(estimator=estimator, **data)
    task = whole.subcontext(type(part).__name__)
    with task.propagate_callback_context(part):
        task.call_on_fit_task_begin(estimator=estimator, **data)
        yield
        task.call_on_fit_task_end(estimator=estimator, **data)
    whole.call_on_fit_task_end(estimator=estimator, **data, reconstruction_attributes={})


def _data_of_tasks(X):
    # ScoringMonitor does not score without a y.
    return {"X": X, "y": np.zeros(_num_samples(X))}


def _line(number, record):
    """Log line of a block, with its likelihood in nats per row and its time in seconds."""
    fate = f"gain {record.gain:.3f}" if record.kept else "dropped"
    if record.refinement:
        fate += f", refinement {record.refinement}"
    step = "free" if math.isinf(record.h) else f"h {record.h:.3g}"
    return (
        f"block {number} ({step}): held-out NLL {record.validation_nll:.3f} ({fate}), "
        f"{record.n_iter} steps, {record.seconds:.1f} s"
    )
