"""Choice of the scaling by short pilot runs."""

import math
import time
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
LARGEST = 1e15  # whose square is well within single precision
PILOT_SHARE = 0.2
N_FINALISTS = 2
# The marginal scaling alone leaves the correlations to the flow: last before training, it is
# often first after.
SLOW_STARTER = "marginal"
N_FOLDS = 5
FEW_ROWS = 2000


def as_rows(scaler, X, device):
    """Scale rows, bounded, and put them on the device in single precision."""
    Z, log_det = scaler.transform(X)
    Z = Z.clip(-LARGEST, LARGEST)
    return Rows(*(torch.as_tensor(a, dtype=torch.float32, device=device) for a in (Z, log_det)))


def choose_scaling(X, X_held_out, options, seed, device, max_time=math.inf):
    """Name the candidate whose short flow gives the held-out rows the most likelihood.

    The likelihood of a scaling by itself only says roughly what training will make of it, so it
    picks finalists; each of these trains three small blocks.

    Parameters
    ----------
    X, X_held_out : ndarray of shape (n, d)
    options : TrainingOptions
        Of the flow to come.
    seed : int
    device : torch.device
    max_time : float
        Seconds for the whole fit, of which the pilots use a fifth at most.

    Returns
    -------
    name : str
    """
    if len(X) < 2:
        return "standard"
    X = X[:: math.ceil(len(X) / MAX_ROWS)]
    zero_block = {name: _cross_validated_nll(name, X) for name in CANDIDATES}
    finalists = sorted(CANDIDATES, key=zero_block.get)[:N_FINALISTS]
    if options.max_blocks > 0 and SLOW_STARTER not in finalists:
        finalists.append(SLOW_STARTER)
    if options.max_blocks == 0 or len(X_held_out) == 0:
        return finalists[0]
    seconds = PILOT_SHARE * max_time / len(finalists)
    pilots = {
        name: _pilot_nll(name, X, X_held_out, options, seed, device, seconds) for name in finalists
    }
    return min(finalists, key=pilots.get)


def _cross_validated_nll(name, X):
    """Mean held-out negative log-likelihood of a scaling without any block, in nats."""
    n_folds = min(N_FOLDS, len(X)) if len(X) < FEW_ROWS else 2
    folds = np.arange(len(X)) % n_folds
    nll = []
    for fold in range(n_folds):
        rows = as_rows(make_scaler(name).fit(X[folds != fold]), X[folds == fold], "cpu")
        nll.append(row_nll(StandardNormal(), rows))
    return float(torch.cat(nll).double().mean())


def _pilot_nll(name, X, X_held_out, options, seed, device, seconds):
    """Held-out negative log-likelihood after a short training, in nats."""
    scaler = make_scaler(name).fit(X)
    rows, held_out = (as_rows(scaler, part, device) for part in (X, X_held_out))
    options = replace(
        options,
        hidden_layer_sizes=options.hidden_layer_sizes and (64, 64),
        max_blocks=min(options.max_blocks, 3),
        max_iter=min(options.max_iter, 120),
        batch_size=256,
        learning_rate=1e-2,
    )
    generator = torch.Generator(device).manual_seed(seed)
    _, history = train_flow(rows.x, held_out, options, generator, time.monotonic() + seconds)
    return history[-1].validation_nll
