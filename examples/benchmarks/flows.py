"""Our flow as the suites train, fit and judge it, and made-up rows for it."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import torch
from measuring import seconds_of, timed
from sklearn.exceptions import ConvergenceWarning

from sklearn_jko import JKOFlowDensity
from sklearn_jko.flow import JKOBlock
from sklearn_jko.training import automatic
from sklearn_jko.training.block_training import BlockTraining
from sklearn_jko.training.scaled_rows import Rows
from sklearn_jko.velocities import VELOCITIES

__all__ = [
    "FORCED_BLOCKS",
    "OURS",
    "OURS_DETECTOR",
    "STEP_SIZE",
    "curved_rows",
    "fit_ours",
    "forced_rows",
    "judged",
    "library_training",
    "likelihood",
    "new_block",
    "quiet_fit",
    "training_options",
    "warm_up",
]

OURS, OURS_DETECTOR = "JKOFlowDensity", "JKOFlowOutlierDetector"
STEP_SIZE = 0.5
HELD_OUT = 100
REFINED_ROWS = 2000


def warm_up():
    """A fit of no account: the first in a process loads, for a second, parts of torch."""
    settings = {"scaling": "standard", "max_blocks": 1, "max_iter": 2, "random_state": 0}
    quiet_fit({**settings, "hidden_layer_sizes": (8,), "device": "cpu"}, curved_rows(50, 2, 0))


def quiet_fit(settings, X):
    """A fit whose blocks are limited on purpose, without the warning of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return JKOFlowDensity(**settings).fit(X)


def curved_rows(n, d, seed):
    """Rows (n, d) of deviation 1, each column bent along the one before, without ties."""
    Z = np.random.default_rng(seed).normal(size=(n, d))
    X = Z.copy()
    X[:, 1:] += 0.5 * (Z[:, :-1] ** 2 - 1)
    return X / np.sqrt(np.r_[1.0, np.full(d - 1, 1.5)])


def small_step(k):
    return 0.02


# On rows three times too wide, small steps leave something to gain for dozens of blocks, so that
# none is dropped and none settles.
FORCED_BLOCKS = {"scaling": "none", "step_size": small_step}


def forced_rows(n, d, seed):
    """Rows for which a fit with `FORCED_BLOCKS` keeps every block."""
    return 3 * curved_rows(n, d, seed)


def training_options(n, d, width, **changes):
    """The defaults of `JKOFlowDensity` for n training rows of d columns, with changes."""
    estimator = JKOFlowDensity(hidden_layer_sizes=(width, width))
    options = automatic.training_options(estimator, n, d, automatic.MIN_VALIDATION_ROWS)
    return replace(options, **changes)


def new_block(d, hidden_layer_sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    return JKOBlock(VELOCITIES["mlp"](d, hidden_layer_sizes, generator))


def library_training(x, options, seed):
    """The library's own training of a first block; its ``step(batch, generator)`` is one step."""
    block = new_block(x.shape[1], options.hidden_layer_sizes, seed)
    held_out = Rows(x[:HELD_OUT], x.new_zeros(len(x[:HELD_OUT])))
    return BlockTraining(block, STEP_SIZE, x, held_out, options)


def fit_ours(parts, seed, **settings):
    """Fit, and score with the solver's steps as they are, doubled and quadrupled.

    A true figure stands when the steps are doubled.
    """
    train, validation, test = parts
    estimator = JKOFlowDensity(random_state=seed, **settings)
    seconds = seconds_of(lambda: estimator.fit(np.concatenate([train, validation])))
    return {"fit_seconds": seconds, **judged(estimator, test)}


def judged(estimator, test):
    """Facts of a fitted flow; likelihood with the solver's steps as is, doubled and quadrupled."""
    figures = likelihood(estimator.score_samples, test)
    return {
        **figures,
        "scaling": estimator.scaling_,
        "n_blocks": estimator.n_blocks_,
        "parameters": sum(parameter.numel() for parameter in estimator.flow_.parameters()),
        "inversion_error": estimator.inversion_error_,
        "optimiser_steps": [record.n_iter for record in estimator.history_],
        "training_solver_steps": [record.solver_steps for record in estimator.history_],
        "n_steps": estimator.flow_.n_steps.tolist(),
        **{f"nll_steps_x{k}": _refined_nll(estimator, figures["nll"], test, k) for k in (2, 4)},
    }


def likelihood(log_density, test):
    """Mean negative log-density in nats per row, its standard error, and seconds."""
    values, seconds = timed(lambda: log_density(test))
    return {
        "nll": -float(np.mean(values)),
        "standard_error": float(np.std(values, ddof=1) / np.sqrt(len(values))),
        "score_seconds": seconds,
    }


def _refined_nll(estimator, nll, test, factor):
    """The figure at finer steps; by how much it changes is measured on some of the rows."""
    some = test[:REFINED_ROWS]
    refined = copy.deepcopy(estimator)
    refined.flow_.n_steps *= factor
    return nll - float((refined.score_samples(some) - estimator.score_samples(some)).mean())
