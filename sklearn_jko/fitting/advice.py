"""What a fit tells its user in warnings: about the rows, and about training that was cut short."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_jko.checks import columns_in_words
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.training.automatic import MIN_VALIDATION_ROWS
from sklearn_jko.user_warnings import warn_user

__all__ = ["warn_of_convergence", "warn_of_rows"]

# Nats per row: if the last block gained more than this, a warning says so.
NOTABLE_GAIN = 0.05
# A quarter of up to so many rows is fewer than MIN_VALIDATION_ROWS, so no block is trained, as
# documented.
FEW_ROWS = 26
# Differences and products of larger numbers overflow.
LARGEST_SAFE = np.float64(1e290)


def warn_of_rows(density, read, parts):
    """Warn of values that are too far out, of noise that rows need, and of too few held-out rows.

    Parameters
    ----------
    density : JKOFlowDensity
    read : FitInput
    parts : sklearn_jko.rows.division.Parts
    """
    _warn_of_far_values(density, read.X)
    _warn_of_noise(density, parts.noise_width, read)
    _warn_of_few_held_out(density, parts, read.X_val)


def warn_of_convergence(density, history, is_out_of_time):
    """Warn if a limit ended training while the flow still gained by it.

    Parameters
    ----------
    density : JKOFlowDensity
    history : list of BlockRecord
    is_out_of_time : bool
        Whether `max_time` ended training.
    """
    history = [record for record in history if record.refinement == 0]
    n_kept = sum(record.kept for record in history)
    last = history[-1] if history else None
    gains = last is not None and last.gain > NOTABLE_GAIN and not last.overfits
    if is_out_of_time and (gains or n_kept == 0):
        reason = f"max_time={density.max_time} ended training"
    elif len(history) == density.max_blocks and gains:
        reason = f"max_blocks={density.max_blocks} and max_iter={density.max_iter} ended training"
    else:
        return
    gain = f", the last of which gained {last.gain:.2f} nats per row" if gains else ""
    warn_user(
        f"{reason} with {n_kept} of {len(history)} blocks kept{gain}. Raise the limit for a "
        "better density.",
        ConvergenceWarning,
    )


def _warn_of_far_values(density, X):
    is_far = (np.fmax.reduce(X) > LARGEST_SAFE) | (np.fmin.reduce(X) < -LARGEST_SAFE)
    if is_far.any():
        warn_user(
            f"{columns_in_words(density, is_far)} hold values beyond {LARGEST_SAFE:g}, where "
            "computations overflow and are clipped. If these values mark missing ones, use NaN; "
            "otherwise rescale the column."
        )


def _warn_of_noise(density, noise_width, read):
    is_unasked = True if read.roles is None else np.isnan(read.roles.noise_width)
    noisy = np.flatnonzero(is_unasked & (noise_width > 0))
    if len(noisy):
        repeated = "repeated values"
        if read.sample_weight is not None:
            repeated += " (whole weights repeat rows)"
        warn_user(
            f"{columns_in_words(density, noisy)} hold {repeated} or depend linearly on others, so "
            "that their likelihood has no upper bound. Uniform noise of the width `noise_width_` "
            "was added to them for training. For rounded measurements no action is needed; "
            "declare integers or labels with columns={...: 'integer'} or {...: 'category'}."
        )


def _warn_of_few_held_out(density, parts, X_val):
    """Warn if no block is trained, except for tables so small that this is documented."""
    n, n_held_out = len(parts.all.X), len(parts.held_out)
    if n_held_out >= MIN_VALIDATION_ROWS or density.max_blocks == 0:
        return
    fate = (
        "too few to measure whether a block helps, so no block is trained and the density is that "
        "of the scaling alone"
    )
    if X_val is not None:
        beside = " apart from copies" if n_held_out < len(parts.held_out.X) else ""
        more = f"Pass {MIN_VALIDATION_ROWS} rows or more."
        warn_user(f"X_val has {n_held_out} rows{beside}, {fate}. {more}")
    elif n > FEW_ROWS and parts.share < 1:
        warn_user(
            f"sample_weight leaves {n_held_out} of {n} rows as held-out rows, {fate}. A few "
            "weights outweigh all others: limit them, or pass X_val."
        )
    elif n > FEW_ROWS:
        n_different = len(np.unique(hash_rows(parts.all.X)))
        warn_user(
            f"X has {n} rows, at most {n_different} of them different, which leaves {n_held_out} "
            f"held-out rows, {fate}. Pass more rows that are not copies, or X_val."
        )
