"""Density estimator with the interface of scikit-learn."""

import copy
import functools
import math
import os
import time
import warnings
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array as check_table
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from sklearn_jko.automatic import step_sizes, training_options
from sklearn_jko.category_model import CategoryModel
from sklearn_jko.checkpoint import Checkpoint, SavedFit, data_digest
from sklearn_jko.checks import check_array, check_keys, check_number, shown
from sklearn_jko.column_statistics import median_and_spread
from sklearn_jko.columns import resolve_roles
from sklearn_jko.completion import completed
from sklearn_jko.devices import device_named
from sklearn_jko.diagnostics import STEPS, calibrate_steps
from sklearn_jko.evaluation import Evaluator
from sklearn_jko.input_codes import InputCodes
from sklearn_jko.marginal_mixture import MarginalMixture
from sklearn_jko.missing import draw_missing
from sklearn_jko.model_state import (
    categories_from_state,
    flow_from_state,
    flow_state,
    history_from_state,
    history_state,
    parts_state,
    roles_from_state,
    scaler_from_state,
)
from sklearn_jko.monitoring import CallbackSupportMixin, open_reports, with_callbacks
from sklearn_jko.observation import Observer
from sklearn_jko.partitioned import by_parts
from sklearn_jko.persistence import FileMixin
from sklearn_jko.pilot import as_rows, choose_scaling
from sklearn_jko.processes import ALONE, Group
from sklearn_jko.reservoir import in_memory
from sklearn_jko.scaling import make_scaler
from sklearn_jko.shards import are_pooled, check_alike, divide_among
from sklearn_jko.solvers import TABLEAUS, TRAINING_SOLVERS
from sklearn_jko.structure import structure_of
from sklearn_jko.table_scaler import make_table_scaler
from sklearn_jko.training import Ending, train_flow

__all__ = ["JKOFlowDensity"]

# So many rows that a layer's activations stay in the processor's cache.
CHUNK = 2048
# The rest of the time is for measuring the errors of the finished flow.
TRAINING_SHARE = 0.93
# For each row with missing values; and rows of the flow's own to which these are fitted.
N_PROPOSALS, PROPOSAL_ROWS = 64, 5000
# Nats per row: what a block gains beyond this is worth telling when it was the last.
NOTABLE_GAIN = 0.05
MAX_SCALER_ROWS = 200_000
MANY_ROWS = 100_000
FLOATS = (np.float64, np.float32)
# From a warning's own function, `fit` and its two decorators lie between.
CALLER = 5
MAX_MEASURED_ROWS = 1000
# After a training of equal steps, and after an adaptive one. Their work has a bound.
SCORING_SOLVERS = ("dop853", "dopri5_by_row")
# What `fit` learns and a file holds; the other attributes follow from these.
FITTED = (
    "n_features_in_",
    "feature_names_in_",
    "roles_",
    "categories_",
    "validation_indices_",
    "noise_width_",
    "scaling_",
    "scaler_",
    "history_",
    "flow_",
    "solver_error_",
    "inversion_error_",
)


class JKOFlowDensity(
    CallbackSupportMixin,
    FileMixin,
    TransformerMixin,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    BaseEstimator,
):
    """Density estimation by a normalizing flow trained in JKO steps (JKO-iFlow).

    The data are scaled by an invertible map and then carried to a standard normal
    distribution by a row of neural ordinary differential equations. Each of these blocks is one
    proximal step of the Kullback-Leibler divergence in Wasserstein space and is trained by
    itself, on rows pushed through those before it. Held-out rows decide when a block is done
    and whether it is kept; with none kept, the density is the scaling's own, down to a
    Gaussian. Log-densities are exact up to the solver's error, which is measured.

    Parameters
    ----------
    scaling : str, default="auto"
        Invertible scaling before the flow: "none", "standard", "whiten", "power", "marginal",
        "radial", or several joined by "+" and applied from left to right, such as
        "marginal+whiten+radial". "auto" trains a short pilot on several and takes the best.
    columns : dict, "auto" or None, default=None
        What columns hold, by name or number, such as ``{"share": (0, 1), "price": (0, None),
        "rooms": "integer", "city": "category"}``; others are numbers. Bounds (low, high): the
        density is zero outside, samples are inside, and a logarithm or logit (exact, as all
        scaling) goes first, so that nothing is lost at them. "integer", or ("integer", low, high):
        scores hold the probability of the integer, samples are integers. "category", of texts or
        numbers: its probability goes by logistic regression, and the flow is given it. "auto"
        guesses, by types first; `roles_` tells what.
    condition : list of str or int, or None, default=None
        Names or numbers of columns that are given: the density is that of the others, log p(rest |
        condition). A category must be named in `columns` too.
    structure : tuple of int, array-like or sparse matrix, or None, default=None
        Which columns lie near which. A tuple (height, width) or (height, width, channels) says that
        the columns are the pixels of an image, in C order; an adjacency matrix (n_modelled,
        n_modelled) that they are the nodes of a graph, with an edge wherever it is not zero, both
        ways. One small network then serves all pixels or nodes, each by what is around it
        (`sklearn_jko.structure`), which takes fewer rows to learn, and longer. It is about the
        columns that are modelled, or about these and the numbers in `condition`, in their order in
        X: then a given number is near some nodes. Categories are never in it.
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the velocity network's hidden layers. "auto" is two layers of 64, 128 or 256
        by the size of the data, or of 32 with a structure. ``()`` makes the velocity linear.
    max_blocks : int, default=6
        Largest number of blocks tried, the free block included; 0 leaves the scaling alone.
    step_size : float or callable, default=0.5
        Step size h_0 of the first block, doubled for each one after. The last of `max_blocks`, or
        the one after a block that moved the rows by less than 0.01 (mean squared movement over
        mean squared norm), is free (h = inf). Or a function of the block's number k = 0, 1, ...
        that returns h_k: then only the last of `max_blocks` is free. ``math.inf`` leaves out the
        transport cost: with ``max_blocks=1`` that is the usual continuous normalizing flow
        (FFJORD).
    n_refinements : int, default=0
        Most rounds in which all blocks are trained again, from where they are, after their step
        sizes were spread anew, so that movements become even, or, where they are, after every
        block was cut into two. The last round is undone, and ends it, where the held-out rows do
        not gain.
    max_iter : "auto" or int, default="auto"
        Most optimiser steps in a block; fewer where they need more than two solver steps each.
        "auto" is 1000, or as many as `max_time` allows.
    batch_size : "auto" or int, default="auto"
        Rows of a minibatch; "auto" is 256, or 512 for a network wider than 128, or 128 with a
        structure. Up to 2,000 training rows are first repeated, with a little noise, to about
        4,000.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of AdamW. "auto" is 0.64 over the network's width, at most 0.01; with a
        structure a quarter of that.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay of AdamW. "auto" is proportional to columns over rows; with a
        structure a tenth of that.
    solver : {"rk4", "midpoint", "dopri5", "dopri5_adjoint"}, default="rk4"
        Solver in training. Its steps are refined where held-out rows show that the training
        exploits its error. Scores use Dormand and Prince's rule of order 8 or, after an adaptive
        solver, steps that each row chooses for itself, so that no row feels the others.
    solver_tol : float, default=1e-3
        Scores use so many solver steps in each block, up to 64, that twice as many change the
        log-density of no row of (at most 1,000) held-out rows by more than this, in nats.
    validation_fraction : float, default=0.1
        Share of rows held out; raised for small data (up to a quarter) and at most 4,000 rows.
        Copies of a row stay together unless they are very many.
    max_time : float or None, default=None
        Seconds that `fit` may take, approximately. Results then depend on the machine.
    checkpoint : str, path-like or None, default=None
        File that is replaced, in one step, before the first block and after each. `fit` with
        the same data and parameters goes on after the last block in it, and ends with the model
        of an uninterrupted fit (the same numbers on the same CPU). It is left in place in the
        end. A file of other data, parameters or versions, or a damaged one, is an error.
    verbose : bool, default=False
        Whether to print a line after each block, unless the logger "sklearn_jko" shows it.
    device : str, default="auto"
        Where to compute, as torch names it; "auto" is "cuda" where there is one, else "cpu".
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the batches, the split and the noise of `fit`.

    Attributes
    ----------
    flow_ : JKOFlow
        The fitted blocks, float64 on the CPU, between scaled rows and latent rows.
    scaler_ : object
        The fitted scaling, see `sklearn_jko.scaling`.
    scaling_ : str
        Its name.
    n_blocks_ : int
        Number of blocks kept.
    history_ : list of BlockRecord
        One record a block tried, of all rounds: step size, loss terms, movement, held-out
        negative log-likelihood (nats per row), solver error, seconds, whether it was kept.
    n_iter_ : int
        Optimiser steps in all blocks.
    roles_ : Roles or None
        What the columns are, where `columns` or `condition` tell: `roles_.kinds` as `columns` takes
        it, `roles_.modelled` the numbers of the columns of `transform`.
    categories_ : CategoryModel or None
        Probabilities of the categories that are not given.
    validation_indices_ : ndarray of shape (n_held_out,), int
        Numbers of the rows of X that were held out, as often as their weights say; none where
        `X_val` or a process group was given.
    noise_width_ : ndarray of shape (n_features_in_,)
        Width, in units of X, of the uniform noise added to each column in `fit`; 0 for an
        untouched column. The density is that of the data with this noise.
    solver_error_ : float
        Largest change of a held-out row's log-density, in nats, when the solver's steps are
        doubled; above `solver_tol` where 64 steps were not enough.
    inversion_error_ : float
        Largest change of a held-out value by `transform` and `inverse_transform`, as a share of
        its column's spread, or of its distance from the median where that is larger.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names.

    Warns
    -----
    UserWarning
        Naming the columns with repeated values or linear relations, to which noise was added; or
        with missing values, which were filled in.
    ConvergenceWarning
        If `max_blocks` or `max_time` ended the training while blocks still gained more than 0.05
        nats per row; or if `solver_error_` exceeds `solver_tol`.
    RuntimeWarning
        If the checkpoint could not be written; training goes on.

    Notes
    -----
    Where values repeat, or columns depend linearly on each other, the likelihood of a density
    has no upper bound: it grows as the model narrows. Such columns get uniform noise of the
    width `noise_width_` for training: the gap between neighbouring values of a discrete column,
    a thousandth of the spread otherwise. The density is then that of X plus this noise: finite,
    comparable between models of the same noise, and for a discrete column, times the width, about
    the probability of the value. Other relations between columns get no noise; how narrow the
    density may become around them is limited by the solver, whose error is watched.

    References
    ----------
    Xu, Cheng and Xie (2023), Normalizing flow neural networks by JKO scheme, NeurIPS,
    arXiv:2212.14424.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import JKOFlowDensity
    >>> X = load_iris().data
    >>> density = JKOFlowDensity(random_state=0, max_iter=50).fit(X)
    >>> density.score_samples(X).shape
    (150,)
    >>> density.sample(3, random_state=0).shape
    (3, 4)
    """

    _unsaved = ("checkpoint",)
    _parameter_constraints: ClassVar[dict] = {
        "scaling": [str],
        "columns": [dict, StrOptions({"auto"}), None],
        "condition": ["array-like", None],
        "structure": [tuple, "array-like", "sparse matrix", None],
        "hidden_layer_sizes": [StrOptions({"auto"}), "array-like"],
        "max_blocks": [Interval(Integral, 0, None, closed="left")],
        "step_size": [callable, Interval(Real, 0, None, closed="right")],
        "n_refinements": [Interval(Integral, 0, None, closed="left")],
        "max_iter": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "weight_decay": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions(set(TRAINING_SOLVERS))],
        "solver_tol": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "max_time": [None, Interval(Real, 0, None, closed="neither")],
        "checkpoint": [str, os.PathLike, None],
        "verbose": ["boolean"],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        scaling="auto",
        *,
        columns=None,
        condition=None,
        structure=None,
        hidden_layer_sizes="auto",
        max_blocks=6,
        step_size=0.5,
        n_refinements=0,
        max_iter="auto",
        batch_size="auto",
        learning_rate_init="auto",
        weight_decay="auto",
        solver="rk4",
        solver_tol=1e-3,
        validation_fraction=0.1,
        max_time=None,
        checkpoint=None,
        verbose=False,
        device="auto",
        random_state=None,
    ):
        self.scaling = scaling
        self.columns = columns
        self.condition = condition
        self.structure = structure
        self.hidden_layer_sizes = hidden_layer_sizes
        self.max_blocks = max_blocks
        self.step_size = step_size
        self.n_refinements = n_refinements
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.solver = solver
        self.solver_tol = solver_tol
        self.validation_fraction = validation_fraction
        self.max_time = max_time
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.device = device
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, X_val=None, process_group=None):
        """Fit the density to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), collection of Dask, or iterator
            NaN where a value is missing: for training it is filled in with a draw given the other
            values of the row, from a mixture fitted to what is observed. An iterator gives tables
            with rows, such as the batches of a file, and is read once. Of more than 2^26 numbers
            (6.7 million rows of 10 columns), from an array in memory, a mapped file, Dask or an
            iterator alike, a sample of so many is taken (`sklearn_jko.reservoir`).
        y : ignored
            Present for the interface.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows. Whole ones (or whole multiples of the least) are as good as
            repeated rows, and a weight of zero as a row left out; others count in proportion.
        X_val : array-like of shape (n_val_samples, n_features), optional
            Rows that judge the training, in place of a share of X (`validation_fraction`): at
            least two, of which 4,000 are taken.
        process_group : torch.distributed.ProcessGroup, optional
            Processes that fit together, each with rows of its own as X (and of X_val): all call
            `fit` with the same parameters, and all get the same model. Gradients are added up, by
            the weights of the rows, so that it is that of all rows together; a batch is divided
            between the processes. `columns`, `condition` and missing values are not taken then.

        Returns
        -------
        self : JKOFlowDensity

        Raises
        ------
        RuntimeError
            If another process of the group failed, ended, or was not heard of within the timeout of
            the group.
        ValueError
            If a parameter is out of range; X or X_val is not a numeric table (but for categories)
            or has infinite values, X has less than two rows or a column of NaN alone; a value is
            not of its column's kind, or outside its bounds, or missing where `columns` or
            `condition` are set; a weight is negative, or all are zero.
        """
        start = time.monotonic()
        processes = ALONE if process_group is None else Group(process_group)
        read = self._read(X, sample_weight, X_val, processes)
        sampled, arrays, roles, structure, device = read
        checkpoint = self._open_checkpoint(arrays, structure, device, processes)
        saved = processes.of_first(checkpoint.load) if checkpoint else None
        seed = processes.of_first(lambda: check_random_state(self.random_state).randint(2**31 - 1))
        if saved is not None:
            seed, start = saved.seed, start - saved.seconds
        X, sample_weight, X_val = self._completed(*arrays, seed)

        fraction = self.validation_fraction
        shares = divide_among(
            X, sample_weight, X_val, fraction, seed, roles, processes, sampled.scale
        )
        parts, processes = shares.parts, shares.processes
        processes.of_first(lambda: self._warn_of_noise(parts.noise_width, roles))
        train, held_out = parts.train, parts.held_out[:]
        size = shares.train_size, X.shape[1], _n_given(roles)
        options = training_options(self, *size, structure)
        categories = _category_model(roles, parts.all)

        noise_width = parts.noise_width
        scaler_of = functools.partial(
            make_table_scaler, roles=roles, noise_width=noise_width, whitens=structure is None
        )
        max_time = self.max_time or math.inf
        scaling = self.scaling if saved is None else saved.scaling
        if scaling == "auto":
            scaling = processes.of_first(
                lambda: choose_scaling(train, held_out, options, seed, device, max_time, scaler_of)
            )
        scaler = processes.of_first(lambda: scaler_of(scaling).fit(_some(train)))
        visited = shares.train.some(max(options.n_visits, MANY_ROWS))  # no batch takes more
        with processes.failing_together():
            rows, judges = (as_rows(scaler, part, device) for part in (visited, held_out))

        def save(progress):
            checkpoint.save(SavedFit(seed, scaling, time.monotonic() - start, progress))

        def attributes(flow, history):
            scaled = self._attributes_of(flow, history, scaler, scaling, parts.noise_width)
            return {**scaled, "roles_": roles, "categories_": categories, "_proposal": None}

        reports = Observer()
        with processes.failing_together():
            if processes.is_first:
                reports = open_reports(checkpoint and save, self, X, y, attributes)
        flow, history, ending = train_flow(
            rows.x,
            judges,
            options,
            torch.Generator(device).manual_seed(seed + processes.rank),
            start + TRAINING_SHARE * max_time,
            resume=saved and saved.progress,
            observer=reports,
            processes=processes,
        )
        processes.of_first(lambda: self._warn_of_convergence(history, ending))
        if len(flow.blocks) == 0:
            scaler = scaler_of(scaling, whitens=True).fit(_some(parts.all))
        fitted = copy.copy(self)  # until all is done, an interrupt leaves the estimator as it was
        vars(fitted).update(attributes(flow, history))
        are_own = X_val is None and processes.is_alone
        held_out_numbers = parts.held_out.row_numbers if are_own else np.arange(0)
        fitted.validation_indices_ = sampled.numbers_of(held_out_numbers)
        measured = (held_out if len(held_out) else train[:])[:MAX_MEASURED_ROWS]
        state = processes.of_first(lambda: fitted._calibrated(measured))
        if not processes.is_first:
            fitted._set_fitted_state(state)
        vars(self).update(vars(fitted))
        reports.ended()
        return self

    @by_parts()
    def score_samples(self, X, return_std=False):
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Of a row with missing values, NaN, it is the density of those observed: an estimate by
            importance sampling, from 256 draws of the others (`sklearn_jko.missing`). The first
            such call takes seconds longer, to learn what to draw.
        return_std : bool, default=False
            Whether to return the standard errors of such estimates too.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Natural logarithm, in the units of X; always finite: -1e300 outside the bounds of
            `columns`, where the density is zero. A value on a bound counts as one just inside,
            see `sklearn_jko.scaling.bounds`. With a `condition` it is log p(rest | condition).
            Of integers and categories it is the probability; that of integers is the density's
            mean over their cells, estimated from 16 points, the same for all rows
            (`sklearn_jko.cells`).
        standard_error : ndarray of shape (n_samples,), if `return_std`
            In nats; 0 where the log-density is exact, as of complete rows without integers.
        """
        X = self._validated(X, allow_missing=True)
        if not return_std:
            return self._by_chunks(X, Evaluator.log_density, np.empty(len(X)))
        both = self._by_chunks(X, Evaluator.log_density_and_error, np.empty((len(X), 2)))
        return both[:, 0], both[:, 1]

    def impute(self, X, random_state=None):
        """Fill missing values with draws given the observed values of their row.

        Draws of one call scatter as the values might; several calls tell how far (multiple
        imputation). They are taken from 64 proposals each, by their densities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN where a value is missing.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X_complete : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If X has infinite values, or `columns` or `condition` are set, with which values may
            not be missing.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_jko import JKOFlowDensity
        >>> X = load_iris().data
        >>> density = JKOFlowDensity(max_blocks=1, max_iter=50, random_state=0).fit(X)
        >>> X[0, 2] = np.nan
        >>> bool(1 < density.impute(X, random_state=0)[0, 2] < 2)  # of the short petals
        True
        """
        X = self._validated(X, allow_missing=True)
        seed = check_random_state(random_state).randint(2**31 - 1)
        return draw_missing(
            self._evaluator(self.flow_).complete_log_density,
            self._missing_proposal(),
            np.asarray(X, dtype=np.float64),
            N_PROPOSALS,
            np.random.default_rng(seed),
        )

    def score(self, X, y=None):
        """Total log-likelihood: the sum of `score_samples`, as in KernelDensity.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        log_likelihood : float

        Examples
        --------
        A grid search takes this total, which grows with the rows of a fold. In nats per row, and
        with rows shuffled, which without a target it does not do:

        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import GridSearchCV, KFold
        >>> from sklearn_jko import JKOFlowDensity
        >>> def mean_log_likelihood(estimator, X, y=None):
        ...     return estimator.score_samples(X).mean()
        >>> search = GridSearchCV(
        ...     JKOFlowDensity(max_blocks=1, max_iter=20, random_state=0),
        ...     {"scaling": ["standard", "whiten"]},
        ...     scoring=mean_log_likelihood,
        ...     cv=KFold(3, shuffle=True, random_state=0),
        ... )
        >>> search.fit(load_iris().data).best_params_
        {'scaling': 'whiten'}
        """
        return float(self.score_samples(X).sum())

    @by_parts(width=lambda self: self._n_features_out)
    def transform(self, X):
        """Map rows to latent coordinates, which are standard normal for the fitted density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_modelled)
            One coordinate for every column that is neither given nor a category. All of a row
            that misses a value are NaN: `impute` it first.
        """
        X = self._validated(X, allow_missing=True)
        return self._by_chunks(X, Evaluator.latent, np.empty((len(X), self._n_features_out)))

    def inverse_transform(self, X, condition=None):
        """Map latent coordinates back to rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_modelled)
            Latent coordinates.
        condition : array-like of shape (n_samples, n_inputs), optional
            Columns that are given or categories, in their order in X of `fit`, or by name in a
            frame; needed where there are any.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            A table like X of `fit`, with its types, where `columns` or `condition` are set.

        Raises
        ------
        ValueError
            If these are not as many latent coordinates, or rows of `condition`, or it holds
            something that is not of its column's kind.
        """
        check_is_fitted(self)
        Z = check_table(X)
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {Z.shape[1]} columns, but {type(self).__name__} has "
                f"{self._n_features_out} latent coordinates."
            )
        inputs = () if self.roles_ is None else self.roles_.inputs
        table = self._table_of(condition, inputs, len(Z))
        if table is not None and len(table) != len(Z):
            raise ValueError(f"condition has {len(table)} rows; it must have {len(Z)}, as X.")
        return self._original_table(Z, table, np.empty(Z.shape))

    def sample(self, n_samples=1, random_state=None, condition=None):
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, or of rows for every row of `condition`.
        random_state : int, RandomState instance or None, default=None
        condition : array-like of shape (n_conditions, n_given), optional
            The columns named in the parameter `condition`, in their order in X of `fit`, or by name
            in a frame; needed where that is set.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_conditions * n_samples, n_features)
            All columns, rows of one condition together. A table like X of `fit`, with its types,
            where `columns` or `condition` are set.

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer, or `condition` is missing, or holds something
            that is not of its column's kind.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a positive integer; got {n_samples!r}.")
        seed = check_random_state(random_state).randint(2**31 - 1)
        given = () if self.roles_ is None else self.roles_.given
        table = self._table_of(condition, given, n_samples)
        if condition is not None:
            table = table.repeat(n_samples, axis=0)
        if self.categories_ is not None:
            self.categories_.draw(table, seed)
        shape = (n_samples if table is None else len(table), self._n_features_out)
        Z = self.flow_.base.sample(shape, torch.Generator().manual_seed(seed)).numpy()
        return self._original_table(Z, table, out=Z)

    def _fitted_state(self):
        names = getattr(self, "feature_names_in_", None)
        return {
            "n_features_in_": self.n_features_in_,
            "feature_names_in_": None if names is None else names.tolist(),
            "roles_": None if self.roles_ is None else self.roles_.state(),
            "categories_": None if self.categories_ is None else parts_state(self.categories_),
            "validation_indices_": self.validation_indices_,
            "noise_width_": self.noise_width_,
            "scaling_": self.scaling_,
            "scaler_": parts_state(self.scaler_),
            "history_": history_state(self.history_),
            "flow_": flow_state(self.flow_),
            "solver_error_": self.solver_error_,
            "inversion_error_": self.inversion_error_,
        }

    def _set_fitted_state(self, state):
        check_keys("fitted", state, FITTED)
        d, names = state["n_features_in_"], state["feature_names_in_"]
        check_number("n_features_in_", d, 1, whole=True)
        check_array("noise_width_", state["noise_width_"], (d,), low=0.0)
        self.roles_ = roles_from_state(state["roles_"], d)
        self.categories_ = categories_from_state(state["categories_"], self.roles_)
        indices = state["validation_indices_"]
        check_array("validation_indices_", indices, (np.size(indices),), low=0, dtype=np.int64)
        check_number("solver_error_", state["solver_error_"], low=0.0)
        check_number("inversion_error_", state["inversion_error_"])
        self.n_features_in_, self._proposal = d, None
        if names is not None:
            self.feature_names_in_ = _names_of_columns(names, d)
        self.validation_indices_ = indices
        self.noise_width_, self.scaling_ = state["noise_width_"], state["scaling_"]
        flow = flow_from_state(state["flow_"], self._n_flow_columns)
        scaler = self.scaling_, state["scaler_"], d, self.roles_
        self.scaler_ = scaler_from_state(*scaler, whitens=state["flow_"]["structure"] is None)
        if flow.base.n_given != self._n_flow_columns - self._n_features_out:
            raise ValueError(f"n_given={flow.base.n_given} is not what the columns give")
        vars(self).update(_trained(flow, history_from_state(state["history_"])))
        if self.flow_.solver not in SCORING_SOLVERS:
            raise ValueError(f"solver={self.flow_.solver!r} must be one of {SCORING_SOLVERS}")
        check_array("n_steps", self.flow_.n_steps, (self.n_blocks_,), 1, STEPS[-1], dtype=np.int64)
        self.solver_error_ = state["solver_error_"]
        self.inversion_error_ = state["inversion_error_"]

    def __getstate__(self):
        # In a pickle too the flow is names and arrays: torch's own is of its version, and skops
        # takes none of it.
        state = super().__getstate__()
        if "flow_" in state:
            state["flow_"] = flow_state(state["flow_"])
            state["_proposal"] = None
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "flow_" in state:
            self.flow_ = flow_from_state(state["flow_"], self._n_flow_columns)

    @property
    def _n_features_out(self):
        return self.n_features_in_ if self.roles_ is None else len(self.roles_.modelled)

    @property
    def _n_flow_columns(self):
        """Number of columns of the flow's rows, what they are given included."""
        return self._n_features_out + _n_given(self.roles_)

    def _validated(self, X, allow_missing=False):
        check_is_fitted(self)
        if self.roles_ is None:
            finite = "allow-nan" if allow_missing else True
            return validate_data(self, X, reset=False, ensure_all_finite=finite)
        _check_feature_names(self, X, reset=False)
        table = self.roles_.encode(X)
        self._warn_of_unknown(table)
        return table

    def _read(self, X, sample_weight, X_val, processes):
        """What a fit needs to know of its rows, or an error in all processes.

        The sample; its rows, their weights and the rows to judge by, as arrays; the roles of the
        columns, and their structure; and the device.
        """
        with processes.failing_together():
            sampled = in_memory(X, sample_weight)
            *arrays, roles = self._validated_for_fit(*sampled[:2], X_val)
            is_given = np.zeros(arrays[0].shape[1], bool) if roles is None else roles.numbers_given
            structure = structure_of(self.structure, is_given)
            device = device_named(self.device)
            if self.scaling != "auto":
                make_scaler(self.scaling)  # a wrong name must fail before the work begins
            form = {}
            if not processes.is_alone:
                self._check_group_can(arrays)
                form = {**self._form(arrays), **self._job(structure, device)}
        check_alike(form, processes)
        return sampled, arrays, roles, structure, device

    def _validated_for_fit(self, X, sample_weight, X_val):
        """The rows of a fit, their weights, the rows to judge by, and the roles of the columns.

        All but the rows may be None.
        """
        if self.columns is None and self.condition is None:
            roles = None
            X = validate_data(
                self, X, dtype=FLOATS, ensure_min_samples=2, ensure_all_finite="allow-nan"
            )
        else:
            roles = resolve_roles(X, self.columns, self.condition)
            if len(roles.modelled) == 0:
                raise ValueError(
                    f"columns={self.columns!r} and condition={self.condition!r} leave no numbers "
                    "to model: all columns are categories or given."
                )
            _check_feature_names(self, X, reset=True)
            X = check_table(roles.encode(X), ensure_min_samples=2)
            self.n_features_in_ = X.shape[1]
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
            if np.count_nonzero(sample_weight) < 2:
                raise ValueError(
                    "sample_weight is zero for all rows, or all but one: give two or more a "
                    "positive weight."
                )
        if X_val is not None and roles is None:
            X_val = validate_data(
                self,
                X_val,
                dtype=FLOATS,
                reset=False,
                ensure_min_samples=2,
                ensure_all_finite="allow-nan",
            )
        elif X_val is not None:
            _check_feature_names(self, X_val, reset=False)
            X_val = check_table(roles.encode(X_val), ensure_min_samples=2)
            roles.check_inside(X_val)
        return X, sample_weight, X_val, roles

    def _completed(self, X, sample_weight, X_val, seed):
        """The rows, weights and judges of a fit, with missing values filled in."""
        judges = [] if X_val is None else [X_val]
        misses = [_are_missing(table) for table in (X, *judges)]
        if not any(part.any() for part in misses):
            return X, sample_weight, X_val
        self._check_missing(misses[0])
        is_empty = misses[0].all(axis=1)
        if is_empty.any():  # it tells nothing
            weight = np.ones(len(X)) if sample_weight is None else sample_weight
            sample_weight = np.where(is_empty, 0.0, weight)
        X, *judges = completed(X, seed, *judges)
        return X, sample_weight, judges[0] if judges else None

    def _table_of(self, condition, numbers, n_rows):
        """An encoded table of what rows are given, NaN elsewhere; None where X has no roles."""
        roles = self.roles_
        if len(numbers) == 0:
            if condition is not None:
                raise ValueError(
                    f"condition={shown(condition)}: this density is given nothing; fit one with "
                    "condition=[...], the names or numbers of columns."
                )
            return None if roles is None else np.full((n_rows, len(roles.columns)), np.nan)
        if condition is None:
            names = ", ".join(roles.columns[j].shown for j in numbers)
            raise ValueError(f"condition must be a table of the columns that are given: {names}.")
        return roles.encode_some(condition, numbers, "condition")

    def _original_table(self, Z, table, out):
        """Rows of latent coordinates (n, n_modelled), with what they are given in ``table``."""
        if table is None:
            return self._by_chunks(Z, Evaluator.original, out)
        roles = self.roles_
        if len(roles.inputs):
            Z = np.hstack([Z, self.scaler_.codes.transform(table[:, roles.inputs])])
        table[:, roles.modelled] = self._by_chunks(Z, Evaluator.original, out)
        return roles.decode(table)

    def _by_chunks(self, rows, method, out):
        """Fill ``out`` with what a method of `Evaluator` gives, by chunks of bounded memory."""
        evaluator = self._evaluator(copy.deepcopy(self.flow_).to(device_named(self.device)))
        for chunk in gen_batches(len(rows), CHUNK):
            out[chunk] = method(evaluator, np.ascontiguousarray(rows[chunk], dtype=np.float64))
        return out

    def _evaluator(self, flow):
        return Evaluator(self.scaler_, flow, self.roles_, self.categories_, self._missing_proposal)

    def _missing_proposal(self):
        """From which missing values are drawn: near the density itself. Made when first needed."""
        if self._proposal is None:
            self._proposal = MarginalMixture().fit(self.sample(PROPOSAL_ROWS, 0), seed=0)
        return self._proposal

    def _latent_and_log_density(self, X):
        """Both of float64 rows, in one pass: (n, d) and (n,)."""
        out = np.empty((len(X), X.shape[1] + 1))
        both = self._by_chunks(X, Evaluator.latent_and_log_density, out)
        return both[:, :-1], both[:, -1]

    def _job(self, structure, device):
        """Parameters on which the training depends, in a form that can be compared."""
        job = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in ("checkpoint", "solver_tol", "verbose")
        }
        job["step_size"] = [step_sizes(self.step_size)(k) for k in range(self.max_blocks)]
        job["structure"] = structure and structure.plain()
        job["device"] = device.type
        if not isinstance(self.random_state, Integral):
            job["random_state"] = None  # the seed drawn then stands in the checkpoint
        return job

    def _open_checkpoint(self, arrays, structure, device, processes):
        """The checkpoint, bound to all that the training depends on; None where none is wanted."""
        if self.checkpoint is None:
            return None
        X, sample_weight, X_val = arrays
        tables = {"X": (X,), "sample_weight": (X, sample_weight), "X_val": (X_val,)}
        with processes.failing_together():
            job = self._job(structure, device)
            digests = {
                name: None if table[-1] is None else (len(table[0]), data_digest(*table))
                for name, table in tables.items()
            }
        for name, own in digests.items():
            lengths, sums = zip(*processes.gathered(own or (0, 0)), strict=True)
            job[name] = own and (sum(lengths), X.shape[1], f"{sum(sums) % 2**64:016x}")
        # Of more rows a group chooses the scaling and the held-out rows by a sample.
        job["process_group"] = "any" if are_pooled(job["X"][0], processes) else None
        return processes.of_first(lambda: Checkpoint(self.checkpoint, job))

    def _check_group_can(self, arrays):
        for name, plain in (("columns", None), ("condition", None)):
            value = getattr(self, name)
            if value != plain:
                raise ValueError(
                    f"{name}={value!r} is not supported with a process group; leave it at "
                    f"{plain!r}, or fit in one process."
                )
        X, _, X_val = arrays
        if any(_are_missing(table).any() for table in (X, X_val) if table is not None):
            raise ValueError(
                "X or X_val has missing values (NaN), which are not supported with a process "
                "group; leave these rows out, or fit in one process."
            )

    def _form(self, arrays):
        """What must be the same in all processes beside the parameters."""
        X, sample_weight, X_val = arrays
        names = getattr(self, "feature_names_in_", None)
        return {
            "the number of columns of X": X.shape[1],
            "the names of its columns": None if names is None else names.tolist(),
            "whether there is a sample_weight": sample_weight is not None,
            "whether there is an X_val": X_val is not None,
            "whether there is a checkpoint": self.checkpoint is not None,
        }

    def _attributes_of(self, flow, history, scaler, scaling, noise_width):
        """Fitted attributes that stand before the flow's errors are measured."""
        flow = copy.deepcopy(flow).double().cpu()
        flow.solver = SCORING_SOLVERS[self.solver not in TABLEAUS]
        return {
            **_trained(flow, list(history)),
            "noise_width_": noise_width,
            "scaling_": scaling,
            "scaler_": scaler,
            "solver_error_": math.nan,
        }

    def _warn_of_convergence(self, history, ending):
        history = [record for record in history if record.refinement == 0]
        n_kept = sum(record.kept for record in history)
        last = history[-1] if history else None
        gains = last is not None and last.gain > NOTABLE_GAIN and not last.overfits
        if ending is Ending.OUT_OF_TIME and (gains or n_kept == 0):
            reason = f"max_time={self.max_time} ended training"
        elif len(history) == self.max_blocks and gains:
            reason = f"max_blocks={self.max_blocks} and max_iter={self.max_iter} ended training"
        else:
            return
        gain = f", the last of which gained {last.gain:.2f} nats per row" if gains else ""
        warnings.warn(
            f"{reason} with {n_kept} of {len(history)} blocks kept{gain}. Allow more for a better "
            "density.",
            ConvergenceWarning,
            stacklevel=CALLER + 2,
        )

    def _check_missing(self, is_missing):
        if is_missing.all(axis=0).any():
            raise ValueError(
                f"{self._names(is_missing.all(axis=0))} hold no value, from which nothing can be "
                "learned; leave them out."
            )
        if is_missing.any():
            warnings.warn(
                f"{self._names(is_missing.any(axis=0))} miss values. For training these were "
                "filled in with draws given the other values of their rows.",
                UserWarning,
                stacklevel=CALLER + 1,
            )

    def _names(self, chosen):
        """How many columns these are, and their names or numbers."""
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))[chosen]
        shown = ", ".join(repr(name) for name in names[:10].tolist())
        dots = ", ..." if len(names) > 10 else ""
        return f"{len(names)} of {self.n_features_in_} columns ({shown}{dots})"

    def _warn_of_unknown(self, table):
        unknown = [j for j in self.roles_.unknown(table) if j in self.roles_.given]
        if unknown:
            warnings.warn(
                f"{self._names(np.array(unknown))} of the condition hold labels that were not seen "
                "in fit. Given these, the density is that of rows without a label.",
                UserWarning,
                stacklevel=5,  # between are `_validated`, the method and its decorator
            )

    def _warn_of_noise(self, noise_width, roles):
        is_unasked = True if roles is None else np.isnan(roles.noise_width)
        noisy = np.flatnonzero(is_unasked & (noise_width > 0))
        if len(noisy):
            warnings.warn(
                f"{self._names(noisy)} hold repeated values or depend linearly on others, where a "
                "density is unbounded. Uniform noise of the width `noise_width_` was added to them "
                "for training.",
                UserWarning,
                stacklevel=CALLER + 2,
            )

    def _calibrated(self, rows):
        """Choose the solver's steps for scores, record their errors, and give what was learned."""
        Z, _ = self.scaler_.transform(rows)
        self.flow_.n_steps, self.solver_error_ = calibrate_steps(
            self.flow_, torch.tensor(Z), self.solver_tol
        )
        if self.solver_error_ > self.solver_tol:
            warnings.warn(
                f"Doubling the solver's steps, {self.flow_.n_steps.tolist()} in each block, still "
                f"moves the score of a row by {self.solver_error_:.2g} nats, more than solver_tol="
                f"{self.solver_tol}. A larger weight_decay makes a flow that is easier to solve.",
                ConvergenceWarning,
                stacklevel=CALLER + 2,
            )
        modelled = slice(None) if self.roles_ is None else self.roles_.modelled
        rows = rows[:, modelled]
        centre, spread = median_and_spread(rows)
        latent = self.flow_.transform(torch.tensor(Z)).numpy()
        back = self._evaluator(self.flow_).original(latent)
        error = np.abs(back - rows) / np.maximum(spread, np.abs(rows - centre))
        self.inversion_error_ = float(error.max(initial=0.0))
        return self._fitted_state()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "solver_error_")


def _trained(flow, history):
    """The attributes that tell of a flow."""
    n_iter = sum(record.n_iter for record in history)
    return {"flow_": flow, "history_": history, "n_blocks_": len(flow.blocks), "n_iter_": n_iter}


def _are_missing(X):
    """Which values are NaN, by a look at their sum first: it is one where a value is."""
    with np.errstate(over="ignore", invalid="ignore"):
        has_any = np.isnan(X.sum())
    return np.isnan(X) if has_any else np.zeros((1, X.shape[1]), dtype=bool)


def _some(X):
    """So many of the rows, evenly spread, as a scaler needs at most."""
    return X[:: math.ceil(len(X) / MAX_SCALER_ROWS)]


def _names_of_columns(names, d):
    """They, as scikit-learn keeps them."""
    if not isinstance(names, list) or len(names) != d or not all(type(n) is str for n in names):
        raise ValueError(f"feature_names_in_={shown(names)} must be {d} strings")
    return np.array(names, dtype=object)


def _n_given(roles):
    """Number of columns in which the flow is told what a row is given."""
    return 0 if roles is None else InputCodes(roles.n_labels).n_codes


def _category_model(roles, rows):
    """That of the categories which are not given; None where there are none."""
    if roles is None or np.isin(roles.inputs, roles.given).all():
        return None
    return CategoryModel(roles).fit(_some(rows))
