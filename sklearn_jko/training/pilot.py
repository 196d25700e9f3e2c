"""Choice of the scaling by short pilot runs."""

import functools
import math
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from sklearn_jko.flow import in_batches
from sklearn_jko.scaling import make_scaler
from sklearn_jko.statistics.thinning import evenly_spread
from sklearn_jko.training.flow_training import train_flow
from sklearn_jko.training.scaled_rows import Rows, as_rows, outlier_ceiling, row_nll

__all__ = ["CANDIDATES", "ScalingChoice", "choose_scaling"]

# If time is short, the last ones are left out.
CANDIDATES = (
    "marginal+whiten",
    "whiten",
    "power+whiten",
    "standard",
    "marginal",
    "whiten+radial",
    "marginal+whiten+radial",
)
MAX_ROWS = 20_000
PILOT_SHARE = 0.2
N_FINALISTS = 2
# A pilot trains a small flow for a short time. SOAP tolerates the higher rate.
PILOT_BLOCKS, PILOT_ITER, PILOT_EVALUATIONS = 2, 120, 4
PILOT_WIDTH, PILOT_BATCH = 64, 256
PILOT_RATE, PILOT_RATE_OF_ADAMW = 3e-2, 1e-2
# Often best after training, though not before, so these are always finalists: "marginal" leaves
# correlations to the flow, and powers, which are close to logarithms, turn products of columns into
# sums, which a flow learns easily (a single column has no products). Only a network with a
# structure learns as well from plain columns.
SLOW_STARTERS, SLOW_STARTERS_OF_STRUCTURE = ("marginal", "power+whiten"), ("standard", "marginal")
# Mixtures, for rows that form clusters. As a fit takes a second or more, they are not
# cross-validated: the likeliest of CLUSTERS joins the pilots. But from MANY_ROWS on, the wide
# network of the fit learns more from a plainer scaling, which pilots cannot show: there
# CLUSTERS_OF_MANY must be likelier without any block than the others after their pilots. This does
# not apply to two columns, where clusters are as good as the network, and score much faster.
CLUSTERS, CLUSTERS_OF_MANY = ("tails+mixture", "power+mixture", "marginal+mixture"), "power+mixture"
MANY_ROWS, MAX_ROWS_OF_CLUSTERS = 3000, 4000
SECONDS_OF_PILOT = 2.0  # shorter pilots learn too little to be compared
N_FOLDS, MAX_ROWS_OF_FOLDS = 5, 2000
# For fewer rows this is better than what folds and pilots choose, on eighteen tables of 1 to 36
# columns.
FEW_ROWS, SCALING_OF_FEW = 32, "marginal+whiten"


class ScalingChoice(NamedTuple):
    """Names of the scaling to train blocks behind, and of that for a flow that keeps none."""

    before_blocks: str
    alone: str


def choose_scaling(X, X_held_out, options, seed, device, max_time=math.inf, make=make_scaler):
    """Name the candidate whose short flow gives the held-out rows the largest likelihood.

    The likelihood of a scaling without any block predicts the result of training only roughly, so
    it only picks finalists; with each of these two small blocks are trained, except for clusters of
    many rows. But if the flow will keep no block, that likelihood is what counts: correlations that
    a scaling leaves to the blocks would be lost.

    Parameters
    ----------
    X : ndarray of shape (n, d) or BlurredRows
    X_held_out : ndarray of shape (m, d)
    options : TrainingOptions
        Options of the flow to train afterwards.
    seed : int
    device : torch.device
    max_time : float
        Seconds for the whole fit, of which the pilots use at most a fifth, and the work before them
        hardly more than another fifth.
    make : callable
        Maps a name to an unfitted scaler.

    Returns
    -------
    choice : ScalingChoice
    """
    if len(X) < FEW_ROWS:
        return ScalingChoice(SCALING_OF_FEW, SCALING_OF_FEW)
    X, base = evenly_spread(X, MAX_ROWS), options.base
    deadline = time.monotonic() + PILOT_SHARE * max_time
    cross_validated = _in_time(
        {name: functools.partial(_cross_validated_nll, make, name, base, X) for name in CANDIDATES},
        deadline,
    )
    finalists = _best_first(cross_validated)
    if options.max_blocks == 0:
        return ScalingChoice(finalists[0], finalists[0])
    slow = SLOW_STARTERS if options.structure is None else SLOW_STARTERS_OF_STRUCTURE
    slow = slow if X.shape[1] > 1 else slow[:1]
    finalists = dict.fromkeys([*finalists[:N_FINALISTS], *slow])
    scalers = {name: make(name).fit(X) for name in finalists}
    may_form_clusters, has_many_rows = _may_form_clusters(X, options), _has_many_rows(X)
    if may_form_clusters and not has_many_rows and time.monotonic() < deadline:
        name, scalers[name] = _likeliest_clusters(make, base, X, X_held_out, deadline)
    alone = {
        name: _nll_alone(scaler, X_held_out, base)
        for name, scaler in scalers.items()
        if name == next(iter(finalists)) or name in CLUSTERS
    }
    seconds = PILOT_SHARE * max_time / len(scalers)
    pilots = {
        name: _pilot_nll(scaler, X, X_held_out, options, seed, device, seconds)
        for name, scaler in scalers.items()
    }
    if may_form_clusters and has_many_rows and seconds >= SECONDS_OF_PILOT:
        scaler = make(CLUSTERS_OF_MANY).fit(evenly_spread(X, MAX_ROWS_OF_CLUSTERS))
        alone[CLUSTERS_OF_MANY] = _nll_alone(scaler, X_held_out, base)
        pilots[CLUSTERS_OF_MANY] = alone[CLUSTERS_OF_MANY]
    return ScalingChoice(_best_first(pilots)[0], _best_first(alone)[0])


def _in_time(functions, deadline):
    """Results by name of the functions that could be called before a deadline, or of the first."""
    returned = {}
    for name, function in functions.items():
        if returned and time.monotonic() >= deadline:
            break
        returned[name] = function()
    return returned


def _likeliest_clusters(make, base, X, X_held_out, deadline):
    """Name and scaler of the clusters that fit held-out rows best."""
    fits = {name: functools.partial(make(name).fit, X) for name in CLUSTERS}
    scalers = _in_time(fits, deadline)
    nll = {name: _nll_alone(scaler, X_held_out, base) for name, scaler in scalers.items()}
    name = _best_first(nll)[0]
    return name, scalers[name]


def _may_form_clusters(X, options):
    # A regression on given columns is subtracted after the scaling, and would tear clusters apart.
    return X.shape[1] > 1 and options.structure is None and not options.n_given


def _has_many_rows(X):
    n, d = X.shape
    return d > 2 and n >= MANY_ROWS


def _best_first(nll):
    """Names sorted by their mean negative log-density, with a common ceiling for rows."""
    nll = {name: rows.nan_to_num(nan=math.inf) for name, rows in nll.items()}
    ceiling = outlier_ceiling(min(nll.values(), key=torch.median))
    return sorted(nll, key=lambda name: float(nll[name].clamp(max=ceiling).mean()))


def _cross_validated_nll(make, name, base, X):
    """Held-out negative log-density of each row without any block, in nats."""
    n_folds = N_FOLDS if len(X) < MAX_ROWS_OF_FOLDS else 2
    folds = np.arange(len(X)) * n_folds // len(X)  # copies of a row are adjacent
    parts = [
        _nll_alone(make(name).fit(X[folds != fold]), X[folds == fold], base)
        for fold in range(n_folds)
    ]
    return torch.cat(parts)


def _nll_alone(scaler, X, base):
    """Negative log-density of each row without any block, in nats."""
    return row_nll(base, as_rows(scaler, X, "cpu"))


def _pilot_nll(scaler, X, X_held_out, options, seed, device, seconds):
    """Negative log-density of each held-out row after a short training, in nats."""
    rows, held_out = (as_rows(scaler, part, device) for part in (X, X_held_out))
    options = replace(
        options,
        max_blocks=min(options.max_blocks, PILOT_BLOCKS),
        n_refinements=0,
        max_iter=min(options.max_iter, PILOT_ITER),
        learning_rate=PILOT_RATE if options.turns_axes else PILOT_RATE_OF_ADAMW,
        n_evaluations=PILOT_EVALUATIONS,
    )
    if options.structure is None:
        hidden = options.hidden_layer_sizes and (PILOT_WIDTH,) * 2  # linear flows stay so
        options = replace(options, hidden_layer_sizes=hidden, batch_size=PILOT_BATCH)
    generator = torch.Generator(device).manual_seed(seed)
    flow = train_flow(rows.x, held_out, options, generator, time.monotonic() + seconds).flow
    with torch.no_grad():
        z, log_det = in_batches(flow, flow, held_out.x)
    return row_nll(flow.base, Rows(z, held_out.log_det + log_det)).cpu()
