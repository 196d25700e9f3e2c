"""The course of a fit: from its input to a fitted estimator."""

import copy
import math
import time

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sklearn_jko.columns.category_model import CategoryModel
from sklearn_jko.columns.input_codes import n_codes_given
from sklearn_jko.devices import on_device_of
from sklearn_jko.files.checkpoint import SavedFit
from sklearn_jko.files.density_state import attributes_of_flow, density_state, restore_density
from sklearn_jko.fitting.advice import warn_of_convergence, warn_of_rows
from sklearn_jko.fitting.fit_input import read_input
from sklearn_jko.fitting.fit_job import check_group, open_checkpoint
from sklearn_jko.rows.processes import ALONE, Group, is_one_of_many
from sklearn_jko.rows.shards import divide_among
from sklearn_jko.solver_steps import calibrate_steps, n_measurable, with_draws
from sklearn_jko.solvers import SCORING_SOLVERS, TABLEAUS
from sklearn_jko.statistics.columns import bounded, median_and_spread
from sklearn_jko.statistics.thinning import evenly_spread
from sklearn_jko.table_scaler import make_table_scaler
from sklearn_jko.training.automatic import training_options
from sklearn_jko.training.flow_training import train_flow
from sklearn_jko.training.observation import NOBODY
from sklearn_jko.training.pilot import ScalingChoice, choose_scaling
from sklearn_jko.training.reports import open_reports
from sklearn_jko.training.scaled_rows import as_rows
from sklearn_jko.training.threads import no_idle_threads
from sklearn_jko.user_warnings import warn_user

__all__ = ["fit_density"]

AFTER_EQUAL_STEPS, AFTER_ADAPTIVE_STEPS = SCORING_SOLVERS
# Share of `max_time` for training; the rest is for measuring the errors of the finished flow.
TRAINING_SHARE = 0.93
# A scaler is fitted to so many rows at most; they hold so many numbers, including codes of labels.
MAX_SCALER_ROWS, MAX_SCALER_NUMBERS = 200_000, 2**25
MANY_ROWS = 100_000
MAX_MEASURED_ROWS = 1000
MAX_GIVEN_ROWS = 1000


def fit_density(
    density,
    X,
    sample_weight=None,
    X_val=None,
    process_group=None,
    spares_held_out=False,
):
    """Fit an estimator, which stays unchanged until the fit is complete.

    Parameters
    ----------
    density : JKOFlowDensity
    X, sample_weight, X_val, process_group
        See its `fit`.
    spares_held_out : bool, default=False
        Whether the scaling never uses the held-out rows, so that these score like new rows.
        Otherwise, if no block is kept, it is fitted to all rows, which gives a better density.

    Returns
    -------
    train : ndarray of int, or None
        Indices of the rows of X that were not held out; None in a group of processes.
    """
    start = time.monotonic()
    processes = _processes(process_group)
    fitted = type(density)(**density.get_params(deep=False))
    with processes.failing_together():
        read = read_input(fitted, X, sample_weight, X_val)
    if not processes.is_alone:
        check_group(fitted, read, processes)
    checkpoint = open_checkpoint(fitted, read, processes)
    saved = processes.on_first(checkpoint.load) if checkpoint else None
    seed = processes.on_first(lambda: check_random_state(fitted.random_state).randint(2**31 - 1))
    if saved is not None:
        seed, start = saved.seed, start - saved.seconds
    fit = _Fit(fitted, read, seed, processes, spares_held_out)
    fit.scale(saved and saved.scaling)

    def save(progress):
        checkpoint.save(SavedFit(seed, fit.choice, time.monotonic() - start, progress))

    reports = NOBODY
    with processes.failing_together():
        if processes.is_first:
            reports = open_reports(checkpoint and save, density, read.sampled.X, fit.attributes)
    fit.train(saved and saved.progress, start, reports)
    fit.measure(start + fit.max_time)
    vars(density).pop("feature_names_in_", None)  # of an earlier fit
    vars(density).update(vars(fitted))
    reports.ended()
    if not processes.is_alone:
        return None
    return fit.read.sampled.indices_of(fit.parts.train.row_indices)


def _processes(process_group):
    if process_group is not None:
        return Group(process_group)
    if is_one_of_many():
        warn_user(
            "process_group=None in a process of torchrun: this process fits a model to its own "
            "rows only. To fit one model to the rows of all processes, call "
            "torch.distributed.init_process_group() and then pass "
            "process_group=torch.distributed.group.WORLD, which is None before that call."
        )
    return ALONE


class _Fit:
    """One fit of an estimator, after its input was read.

    Parameters
    ----------
    density : JKOFlowDensity
        Its parameters are read, and its attributes are set at the end.
    read : FitInput
    seed : int
    processes : Processes
    spares_held_out : bool
        See `fit_density`.
    """

    def __init__(self, density, read, seed, processes, spares_held_out):
        read = read.completed(density, seed)
        self.density, self.read, self.seed = density, read, seed
        self.spares_held_out = spares_held_out
        self.holds_out_own_rows = read.X_val is None and processes.is_alone
        self.shares = self._divided(processes)
        self.parts, self.processes = self.shares.parts, self.shares.processes
        self.held_out = self.parts.held_out[:]
        self.options = training_options(
            density,
            self.shares.train_size,
            read.X.shape[1],
            len(self.held_out),
            n_codes_given(read.roles),
            read.structure,
        )
        self.processes.on_first(lambda: warn_of_rows(density, read, self.parts))
        self.categories = _category_model(read.roles, self.parts.train)
        self.max_time = density.max_time or math.inf

    def scale(self, saved_scaling):
        """Choose a scaling, unless one is saved or named, and fit it."""
        self.choice = saved_scaling or ScalingChoice(*(self.density.scaling,) * 2)
        if self.choice.before_blocks == "auto":
            self.choice = self.processes.on_first(self._best_scaling)
        self.scaling = self.choice.before_blocks
        self.scaler = self.processes.on_first(lambda: self._fitted_scaler(self.parts.train))

    def train(self, progress, start, reports):
        """Train a flow of the scaled rows, and set all attributes except its errors."""
        # The batches take no more. Fits without blocks need none, but the noise that few rows get
        # is drawn before a checkpoint holds the generator's state, from which blocks may be added.
        visited = max(self.options.n_visits, MANY_ROWS)
        with self.processes.failing_together():
            rows = as_rows(self.scaler, self.shares.train.some(visited), self.read.device)
            held_out = as_rows(self.scaler, self.held_out, self.read.device)
        flow, history, is_out_of_time = train_flow(
            rows.x,
            held_out,
            self.options,
            torch.Generator(self.read.device).manual_seed(self.seed + self.processes.rank),
            start + TRAINING_SHARE * self.max_time,
            resume=progress,
            observer=reports,
            processes=self.processes,
        )
        self.processes.on_first(lambda: warn_of_convergence(self.density, history, is_out_of_time))
        if len(flow.blocks) == 0:  # such a flow has no structure
            self.scaling = self.choice.alone
            rows = self.parts.train if self.spares_held_out else self.parts.all
            self.scaler = self._fitted_scaler(rows, whitens=True)
        vars(self.density).update(self.attributes(flow, history))

    def attributes(self, flow, history):
        """The fitted attributes that are known before the flow's errors are measured."""
        flow = copy.deepcopy(flow).double().cpu()
        flow.solver = AFTER_EQUAL_STEPS if self.density.solver in TABLEAUS else AFTER_ADAPTIVE_STEPS
        names = getattr(self.density, "feature_names_in_", None)
        held_out = self.parts.held_out.row_indices if self.holds_out_own_rows else np.arange(0)
        return {
            "n_features_in_": self.density.n_features_in_,
            **({} if names is None else {"feature_names_in_": names}),
            "validation_indices_": self.read.sampled.indices_of(held_out),
            "roles_": self.read.roles,
            "categories_": self.categories,
            "given_rows_": _given_rows(self.read.roles, self.parts.train),
            "noise_width_": self.parts.noise_width,
            "scaling_": self.scaling,
            "scaler_": self.scaler,
            **attributes_of_flow(flow, list(history)),
            "solver_error_": math.nan,
            "_cache": {},
        }

    def measure(self, deadline):
        """Choose the solver steps for scores and record their errors, in all processes."""
        rows = self.held_out[:MAX_MEASURED_ROWS]
        # The errors of only a few rows would say little about others.
        rows = np.concatenate([rows, self.parts.train[: MAX_MEASURED_ROWS - len(rows)]])

        def state_of_first():
            with no_idle_threads(self.options):
                _measure_errors(self.density, rows, deadline)
            return density_state(self.density)

        state = self.processes.on_first(state_of_first)
        if not self.processes.is_first:
            restore_density(self.density, state)

    def _divided(self, processes):
        read = self.read
        return divide_among(
            read.X,
            read.sample_weight,
            read.X_val,
            self.density.validation_fraction,
            self.seed,
            read.roles,
            processes,
            read.sampled.scale,
        )

    def _new_scaler(self, name, whitens=False):
        """An unfitted scaler; it may mix columns if `whitens`, or if the flow has no structure."""
        return make_table_scaler(
            name,
            self.read.roles,
            whitens=whitens or self.read.structure is None,
            noise_width=self.parts.noise_width,
            share=self.parts.share,
        )

    def _fitted_scaler(self, rows, whitens=False):
        n_numbers = self.read.X.shape[1] + n_codes_given(self.read.roles)
        n_rows = min(MAX_SCALER_ROWS, MAX_SCALER_NUMBERS // n_numbers)
        return self._new_scaler(self.scaling, whitens).fit(evenly_spread(rows, n_rows))

    def _best_scaling(self):
        return choose_scaling(
            self.parts.train,
            self.held_out,
            self.options,
            self.seed,
            self.read.device,
            self.max_time,
            self._new_scaler,
        )


def _measure_errors(density, rows, deadline):
    flow, scaler, roles = density.flow_, density.scaler_, density.roles_
    Z = on_device_of(flow, scaler.transform(rows)[0])
    Z = Z[: n_measurable(flow, Z, deadline)]
    rows = rows[: len(Z)]
    n_steps, error, back = calibrate_steps(flow, with_draws(flow, Z), density.solver_tol)
    flow.n_steps, density.solver_error_, back = n_steps, error, back[: len(Z)]
    if density.solver_error_ > density.solver_tol:
        warn_user(
            f"Doubling the solver steps, {flow.n_steps.tolist()} in the blocks, still changes the "
            f"log-density of a row by {density.solver_error_:.2g} nats, more than solver_tol="
            f"{density.solver_tol}. A larger weight_decay gives a flow that is easier to solve.",
            ConvergenceWarning,
        )
    rows = bounded(rows if roles is None else rows[:, roles.modelled])
    centre, spread = median_and_spread(rows)
    error = np.abs(scaler.inverse_transform(back.cpu().numpy()) - rows) / np.maximum(
        spread, np.abs(rows - centre)
    )
    density.inversion_error_ = float(error.max(initial=0.0))


def _category_model(roles, rows):
    """The model of the categories that are not given; None if there are none."""
    if roles is None or len(roles.modelled_categories) == 0:
        return None
    return CategoryModel.of_roles(roles).fit(evenly_spread(rows, MAX_SCALER_ROWS))


def _given_rows(roles, rows):
    """Given values of some rows, evenly spread; None if no column is given."""
    if roles is None or len(roles.given) == 0:
        return None
    return evenly_spread(rows, MAX_GIVEN_ROWS).take(roles.given, axis=1)
