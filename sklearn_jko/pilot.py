"""Choice of the scaling by short pilot runs."""

import math
from dataclasses import replace

import numpy as np
import torch

from sklearn_jko.bases import StandardNormal
from sklearn_jko.scaling import make_scaler
from sklearn_jko.training import Rows, row_nll, train_flow

__all__ = ["CANDIDATES", "as_rows", "choose_scaling"]

CANDIDATES = (
    "standard",
    "whiten",
    "whiten+radial",
    "power+whiten",
    "marginal",
    "marginal+whiten",
    "marginal+whiten+radial",
)
MAX_ROWS = 20_000
N_FINALISTS = 4
N_FOLDS = 5
FEW_ROWS = 2000


def as_rows(scaler, X, device):
    """Scale rows and put them on the device in single precision."""
    Z, log_det = scaler.transform(X)
    return Rows(*(torch.as_tensor(a, dtype=torch.float32, device=device) for a in (Z, log_det)))


def choose_scaling(X, X_held_out, options, seed, device):
    """Name the candidate whose short flow gives the held-out rows the most likelihood.

    The likelihood of a scaling by itself only says roughly what training will make of it, so it
    picks finalists; each of these trains two small blocks.

    Parameters
    ----------
    X, X_held_out : ndarray of shape (n, d)
    options : TrainingOptions
        Of the flow to come.
    seed : int
    device : torch.device

    Returns
    -------
    name : str
    """
    X = X[:: math.ceil(len(X) / MAX_ROWS)]
    zero_block = {name: _cross_validated_nll(name, X) for name in CANDIDATES}
    finalists = sorted(CANDIDATES, key=zero_block.get)[:N_FINALISTS]
    if options.max_blocks == 0 or len(X_held_out) == 0:
        return finalists[0]
    pilots = {name: _pilot_nll(name, X, X_held_out, options, seed, device) for name in finalists}
    return min(finalists, key=pilots.get)


def _cross_validated_nll(name, X):
    """Mean held-out negative log-likelihood of a scaling without any block, in nats."""
    n_folds = min(N_FOLDS, len(X)) if len(X) < FEW_ROWS else 2
    folds = np.arange(len(X)) % n_folds
    total = 0.0
    for fold in range(n_folds):
        rows = as_rows(make_scaler(name).fit(X[folds != fold]), X[folds == fold], "cpu")
        total += float(row_nll(StandardNormal(), rows).double().sum())
    return total / len(X)


def _pilot_nll(name, X, X_held_out, options, seed, device):
    """Held-out negative log-likelihood after a short training, in nats."""
    scaler = make_scaler(name).fit(X)
    rows, held_out = (as_rows(scaler, part, device) for part in (X, X_held_out))
    options = replace(
        options,
        hidden_layer_sizes=options.hidden_layer_sizes and (64, 64),
        max_blocks=min(options.max_blocks, 2),
        max_iter=min(options.max_iter, 80),
        batch_size=256,
        learning_rate=2 * options.learning_rate,
    )
    generator = torch.Generator(device).manual_seed(seed)
    _, history = train_flow(rows.x, held_out, options, generator)
    return history[-1].validation_nll
