"""Values of parameters that are "auto", from the numbers of rows and columns."""

from numbers import Real
from typing import NamedTuple

from sklearn_jko.checks import is_whole
from sklearn_jko.step_sizes import step_sizes
from sklearn_jko.training.block_training import TrainingOptions

__all__ = ["MIN_VALIDATION_ROWS", "peak_rate", "training_options"]

MAX_ITER, MAX_ITER_TIMED = 1000, 1_000_000
# At equal cost many steps on small batches gain more than few on large ones, except where the
# network is wide and rows are many.
BATCH, WIDE, LARGE_BATCH, ROWS_FOR_LARGE_BATCH = 256, 128, 512, 50_000
# Weight decay is DECAY_PER_COLUMN * columns / rows, chosen on fifteen data sets of 300 to 10,000
# rows and 2 to 21 columns.
DECAY_PER_COLUMN, MAX_AUTO_DECAY = 200, 3.0
# From so many rows on the optimiser is SOAP, which rotates axes; below it is AdamW, as SOAP
# overfits few rows: with it five tables of 150 to 450 rows lost 0.03 to 0.6 nats per row, while
# most of 1,000 rows or more gained 0.1 to 1.3.
ROWS_TO_TURN_AXES = 700
# Learning rates are RATE_TIMES_WIDTH / width, up to a maximum: at higher ones wide networks become
# stiff, and the solver steps that they then need cost more than the rate gains.
RATE_TIMES_WIDTH, MAX_AUTO_RATE = 2.0, 2e-2
RATE_TIMES_WIDTH_OF_ADAMW, MAX_AUTO_RATE_OF_ADAMW = 0.64, 1e-2
# On more rows weights decay less, and networks become stiff at lower rates already. There the rate
# falls with the root of the number of rows, down to this share.
MANY_ROWS, MIN_RATE_SHARE = 20_000, 0.3
# All nodes of an image or graph share one network, and each of them trains it. So it is small, its
# batches have few rows, and its weights decay little. Its late gains are smaller than the noise of
# training, so it is allowed more evaluations without a gain. Graphs decay more than images: their
# nodes have more weights of their own, and overfit more. Chosen on digits and fields on grids.
LOCAL_WIDTH, LOCAL_BATCH, LOCAL_RATE = 32, 128, 0.4
IMAGE_DECAY, GRAPH_DECAY = 0.1, 0.5
PATIENCE, LOCAL_PATIENCE = 5, 9
# With fewer held-out rows (by default, up to 26 rows in all) no block is trained: they cannot show
# what it gains. Of twelve tables of 4 to 20 rows, more lost than gained by blocks, up to a thousand
# nats per row.
MIN_VALIDATION_ROWS = 7
SETTLED = 0.01  # the tolerance of `has_settled`


def training_options(density, n, d, n_held_out, n_given=0, structure=None):
    """Options of the training of an estimator.

    Parameters
    ----------
    density : JKOFlowDensity
        Its parameters are read.
    n : float
        Number of training rows.
    d : int
        Number of columns.
    n_held_out : int
        Number of held-out rows.
    n_given : int, default=0
        Number of given columns, at the end of the flow's rows.
    structure : Structure, optional
        Structure of the other columns.

    Returns
    -------
    options : TrainingOptions

    Raises
    ------
    ValueError
        If `hidden_layer_sizes` are not positive integers, or not two with a structure; or if a
        callable `step_size` returns a value that is not positive.
    """
    is_local = structure is not None
    hidden = _hidden_layer_sizes(density.hidden_layer_sizes, n, d, is_local)
    auto = _local_defaults(n, d, hidden, structure) if is_local else _plain_defaults(n, d, hidden)
    if callable(density.step_size):
        _check_step_sizes(density.step_size, density.max_blocks)
    return TrainingOptions(
        step_size=step_sizes(density.step_size),
        velocity=auto.velocity,
        hidden_layer_sizes=hidden,
        max_blocks=int(density.max_blocks) if n_held_out >= MIN_VALIDATION_ROWS else 0,
        n_refinements=int(density.n_refinements),
        tol=0.0 if callable(density.step_size) else SETTLED,
        max_iter=int(
            _unless_auto(density.max_iter, MAX_ITER if density.max_time is None else MAX_ITER_TIMED)
        ),
        batch_size=int(_unless_auto(density.batch_size, auto.batch_size)),
        learning_rate=_unless_auto(density.learning_rate_init, auto.learning_rate),
        weight_decay=_unless_auto(density.weight_decay, auto.weight_decay),
        turns_axes=auto.turns_axes,
        solver=density.solver,
        patience=auto.patience,
        n_given=n_given,
        structure=structure,
    )


def _hidden_layer_sizes(given, n, d, is_local):
    """The widths, checked if they are not "auto"."""
    if isinstance(given, str):
        return (LOCAL_WIDTH,) * 2 if is_local else _auto_hidden_layer_sizes(n, d)
    hidden = tuple(given)
    if not all(is_whole(width) and width > 0 for width in hidden):
        raise ValueError(f"hidden_layer_sizes must be 'auto' or positive integers; got {hidden!r}.")
    if is_local and len(hidden) != 2:
        raise ValueError(
            f"hidden_layer_sizes={hidden!r} must be two integers, or 'auto', with a structure."
        )
    return tuple(map(int, hidden))


class _Defaults(NamedTuple):
    """Values for "auto", and options that are not parameters of the estimator."""

    velocity: str
    batch_size: int
    learning_rate: float
    weight_decay: float
    turns_axes: bool
    patience: int


def _plain_defaults(n, d, hidden):
    width, turns_axes = max(hidden, default=1), n >= ROWS_TO_TURN_AXES
    return _Defaults(
        velocity="mlp" if hidden else "linear",
        batch_size=_auto_batch_size(width, n),
        learning_rate=peak_rate(width, turns_axes) * _rate_share(n),
        weight_decay=_auto_decay(n, d),
        turns_axes=turns_axes,
        patience=PATIENCE,
    )


def _local_defaults(n, d, hidden, structure):
    is_graph = structure.shape is None
    return _Defaults(
        velocity="local",
        batch_size=LOCAL_BATCH,
        learning_rate=peak_rate(max(hidden), turns_axes=True) * LOCAL_RATE,
        weight_decay=_auto_decay(n, d) * (GRAPH_DECAY if is_graph else IMAGE_DECAY),
        turns_axes=True,
        patience=LOCAL_PATIENCE,
    )


def peak_rate(width, turns_axes):
    """Peak learning rate for a network of this width, by SOAP or AdamW, up to 20,000 rows."""
    if turns_axes:
        return min(RATE_TIMES_WIDTH / width, MAX_AUTO_RATE)
    return min(RATE_TIMES_WIDTH_OF_ADAMW / width, MAX_AUTO_RATE_OF_ADAMW)


def _check_step_sizes(step_size, max_blocks):
    for k in range(max_blocks):
        h = step_size(k)
        if not isinstance(h, Real) or not h > 0:
            raise ValueError(f"step_size({k}) is {h!r}; it must be a positive number, or math.inf.")


def _unless_auto(value, otherwise):
    return otherwise if isinstance(value, str) else value


def _rate_share(n):
    return min(max((MANY_ROWS / n) ** 0.5, MIN_RATE_SHARE), 1.0)


def _auto_decay(n, d):
    return min(DECAY_PER_COLUMN * d / n, MAX_AUTO_DECAY)


def _auto_batch_size(width, n):
    return LARGE_BATCH if width > WIDE and n > ROWS_FOR_LARGE_BATCH else BATCH


def _auto_hidden_layer_sizes(n, d):
    width = 64 if n < 3000 else 128 if d < 32 else 256
    return (width, width)
