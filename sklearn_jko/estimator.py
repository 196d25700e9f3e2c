"""Density estimator with the interface of scikit-learn."""

import contextlib
import copy
import os
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
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from sklearn_jko.checks import are_nan, columns_in_words, is_whole, short_repr
from sklearn_jko.columns.input_codes import n_codes_given
from sklearn_jko.columns.tables import check_different_names
from sklearn_jko.devices import device_named
from sklearn_jko.evaluation import Evaluator
from sklearn_jko.files.density_state import density_state, restore_density
from sklearn_jko.files.model_state import flow_from_state, flow_state
from sklearn_jko.files.persistence import FileMixin
from sklearn_jko.fitting.course import fit_density
from sklearn_jko.fitting.fit_input import NUMERIC_DTYPES, validated_numbers
from sklearn_jko.rows.dask_tables import by_partitions, check_computed
from sklearn_jko.rows.table_types import without_masks_or_arrow
from sklearn_jko.solvers import TRAINING_SOLVERS
from sklearn_jko.training.reports import CallbackSupportMixin, with_callbacks
from sklearn_jko.user_warnings import warn_user

__all__ = ["JKOFlowDensity"]


@contextlib.contextmanager
def _plain_torch():
    """Gradients, precision as asked for and tensors on the CPU, wherever this is called."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # it would slow every operation
            stack.enter_context(torch.device("cpu"))
        yield


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
        Invertible scaling before the flow: "none", "standard", "tails" (which draws in far values),
        "whiten", "power", "marginal", "radial", "mixture" (of normal clusters), or several joined
        by "+" and applied from left to right, such as "marginal+whiten+radial". "auto" trains a
        short pilot on several and takes the best; with less than 32 rows to train on it is
        "marginal+whiten".
    columns : dict, "auto" or None, default=None
        Kind of each column, by name or number (its place in X), such as ``{"share": (0, 1),
        "price": (0, None), "rooms": "integer", "city": "category"}``. Others are numbers without
        bounds.

        - ``(low, high)``: numbers within bounds, None where open. The density is zero outside, and
          samples are inside. A logarithm or logit goes first (exact, as all scaling), so that
          nothing is lost at the bounds.
        - ``"integer"`` or ``("integer", low, high)``: scores hold the probability of the integer,
          and samples are integers.
        - ``"category"``, of texts or numbers: its probability is by logistic regression, and the
          flow is conditioned on it.

        ``"auto"`` guesses all kinds, by types and then by values. ``roles_.kinds`` tells them: pass
        that to fix the kinds across the folds of a cross-validation.
    condition : list of str or int, or None, default=None
        Names or numbers of columns that are given: the density is that of the others, log p(rest |
        condition). A category must be named in `columns` too. Outside the range that `fit` has
        seen a given number counts for less than it is, and far outside for no more: no row tells
        how the law goes on.
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
        Largest number of blocks tried, the free block included; 0 leaves the scaling alone. So does
        a fit with less than seven held-out rows, by default one of up to 26 rows: they cannot tell
        what a block gains.
    step_size : float or callable, default=0.5
        Step size h_0 of the first block, doubled for each one after. The last of `max_blocks`, or
        the one after a block that moved the rows by less than 0.01 (mean squared movement over
        mean squared norm), is free (h = inf) unless it is the first. Or a function of the block's
        number k = 0, 1, ... that returns h_k: then only the last of several is free. ``math.inf``
        leaves out the transport cost: with ``max_blocks=1`` that is the usual continuous
        normalizing flow (FFJORD).
    n_refinements : int, default=0
        Most rounds in which all blocks are trained again, each from its own weights. Before a
        round, step sizes are spread anew so that the distances of the blocks become even or, where
        these are even, every block is cut into two. Refinement ends with a round by which the
        held-out rows do not gain, and which is undone.
    max_iter : "auto" or int, default="auto"
        Most optimiser steps in a block; fewer where they need more than two solver steps each.
        "auto" is 1000, or as many as `max_time` allows.
    batch_size : "auto" or int, default="auto"
        Rows of a minibatch; "auto" is 256, or 128 with a structure, or 512 where a network is wider
        than 128 and learns from more than 50,000 rows. Up to 2,000 training rows are first
        repeated, with a little noise, to at most 4,000.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate of SOAP (Vyas et al. 2024), which is Adam in axes of the gradients' own.
        "auto" is 2 over the network's width, at most 0.02; with a structure 0.4 times that; else,
        of more than 20,000 rows, less by the root of their number, down to 0.3 times that. Fewer
        than 700 training rows, and no structure, are learned by AdamW, at 0.64 over the width, at
        most 0.01. A block that needs more than two solver steps takes a rate that is lower in
        proportion.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay (as in AdamW) in the first block; in each one after it 0.6 times that
        of the one before, or 0.25 times where the held-out rows stopped gaining early or the block
        was dropped. "auto" is 200 columns over rows, at most 3; of an image a tenth of that, of a
        graph half.
    solver : {"rk4", "midpoint", "dopri5", "dopri5_adjoint"}, default="rk4"
        Solver in training. Its steps are refined where held-out rows show that the training
        exploits its error. Scores use Dormand and Prince's rule of order 8 or, after an adaptive
        solver, steps that each row chooses for itself, so that no row feels the others.
    solver_tol : float, default=1e-3
        Scores use so many solver steps in each block, up to 64, that twice as many change the
        log-density of none of 1,000 rows, held-out ones first, by more than half of this, in nats
        over 1 + |log-density| / 1000.
    validation_fraction : float, default=0.1
        Share of rows held out; raised for small data (up to a quarter) and at most 4,000 rows.
        Copies of a row stay together unless they are very many.
    max_time : float or None, default=None
        Seconds that `fit` may take, approximately. Results then depend on the machine.
    checkpoint : str, path-like or None, default=None
        File that is replaced, in one step, before the first block and after each. `fit` with
        the same data and parameters goes on after the last block in it, and ends with the model
        of an uninterrupted fit (the same numbers on the same CPU). It is left in place in the
        end, and a fit with another `max_time`, `solver_tol` or `verbose`, more `max_blocks` (before
        any refinement) or more `n_refinements` goes on from there too: this is the warm start. A
        file of other data, parameters or versions, or a damaged one, is an error; so is one in a
        cross-validation or search, whose fits would share it.
    verbose : bool, default=False
        Whether to print a line after each block, unless the logger "sklearn_jko" shows it.
    device : str, default="auto"
        Where to compute, as torch names it; "auto" is "cuda" where there is one, else "cpu".
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the batches, the split and the noise of `fit`. Which rows are held out
        depends on their very numbers: the same rows in other units, or in single precision, are
        split as by another seed.

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
        it, `roles_.modelled` the indices of the columns of `transform`.
    categories_ : CategoryModel or None
        Probabilities of the categories that are not given.
    given_rows_ : ndarray of shape (n_given_rows, n_given), or None
        The columns named in `condition`, encoded, of up to 1,000 rows: for rows like these the
        draws of missing values are learned.
    validation_indices_ : ndarray of shape (n_held_out,), int
        Indices of the rows of X that were held out, as often as their weights say; of equal rows
        one stands for all. Empty where `X_val` or a process group was given. Where no block was
        kept, the scaling was then fitted to them too.
    noise_width_ : ndarray of shape (n_features_in_,)
        Width, in units of X, of the uniform noise added to each column in `fit`; 0 for an
        untouched column. The density is that of the data with this noise.
    solver_error_ : float
        Largest change of the log-density of 1,000 rows (or all), held-out ones first, in nats over
        1 + |log-density| / 1000, when the solver's steps are doubled; above `solver_tol` where 64
        steps were not enough.
    inversion_error_ : float
        Largest change of a value of these rows by `transform` and `inverse_transform`, as a share
        of its column's spread, or of its distance from the median where that is larger.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names.

    Warns
    -----
    UserWarning
        Naming the columns with repeated values or linear relations, to which noise was added; or
        with missing values, which were filled in; or of the kind "integer" whose values are all
        multiples of another number. If `X_val` has less than seven rows, or the weights of more
        than 26 rows leave less than seven held-out ones, so that no block is trained. And in
        scores, naming columns of which labels were not seen in `fit`, or are texts where those were
        numbers, or of the kind "integer" with values that are none: these count as the nearest
        ones.
    ConvergenceWarning
        If `max_blocks` or `max_time` ended the training while blocks still gained more than 0.05
        nats per row; if `max_time` left no block; or if `solver_error_` exceeds `solver_tol`.
    RuntimeWarning
        If the checkpoint could not be written; training goes on.

    Notes
    -----
    Where values repeat, or columns depend linearly on each other, the likelihood of a density
    has no upper bound: it grows as the model narrows. Such columns get uniform noise of the
    width `noise_width_` for training: the gap between neighbouring values of a discrete column; in
    a linear relation, noise with a thousandth of the spread as its deviation. The density is then
    that of X plus this noise: finite, and comparable between models of the same noise. Its integral
    over the noise around a value of a discrete column is the probability of that value, which the
    kind "integer" of `columns` gives. Other relations between columns get no noise; how narrow the
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
            NaN where a value is missing (or None, or pandas' own): for training it is filled in
            with a draw given the other values of the row, a label by Bayes' rule and a number from
            a mixture, both fitted to what is observed. An iterator gives tables with rows, such as
            the batches of a file, and is read once. Of more than 2^26 numbers (6.7 million rows of
            10 columns), from an array in memory, a mapped file, Dask or an iterator alike, a sample
            of so many is taken (`sklearn_jko.rows.reservoir`). A table of pyarrow counts, here and
            elsewhere, as the frame of pandas that it makes of itself.
        y : ignored
            Present for the interface.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows. A weight of zero is as good as a row left out. Whole ones (or whole
            multiples of the least) are as good as repeated rows, while they add up to at most
            400,000, or to the number of rows; but all copies of a row with gaps are then filled in
            alike. Others count in proportion.
        X_val : array-like of shape (n_val_samples, n_features), optional
            Rows that judge the training, in place of a share of X (`validation_fraction`): two or
            more. By less than seven no block is trained; of more than 4,000 so many are taken.
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
            or has infinite values, or less than two rows; X has a column of NaN alone; a value is
            not of its column's kind, or outside its bounds, or missing in a column that is given;
            `structure` does not go with the columns, or is of more than 4,096 columns, of too many
            channels or of a graph with too many edges; a weight is negative, or less than two are
            positive.
        TypeError
            If X is a sparse matrix, or a lazy frame of polars.
        """
        with _plain_torch():
            fit_density(self, X, y, sample_weight, X_val, process_group)
        return self

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_to_calibrate(self, X, sample_weight):
        """Fit, leave the held-out rows unseen, and return the indices of the others."""
        with _plain_torch():
            return fit_density(self, X, sample_weight=sample_weight, spares_held_out=True)

    @by_partitions()
    def score_samples(self, X, return_std=False):
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Of a row with missing values, NaN, it is the density of those observed (given those of
            the `condition`, which must be there): an estimate by importance sampling, from 256
            draws of the others (`sklearn_jko.missing.importance_sampling`). The first such call
            takes seconds longer, to learn what to draw; each such row takes as long as 256 others.
        return_std : bool, default=False
            Whether to return the standard errors of such estimates too.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Natural logarithm, in the units of X; always finite: -1e300 outside the bounds of
            `columns`, where the density is zero. A value on a bound counts as one just inside,
            see `sklearn_jko.scaling.bounds`. With a `condition` it is log p(rest | condition).
            Integers and categories contribute probabilities. An integer's is the mean density over
            its cell, estimated at 15 to 64 points, as each row needs. All rows share these points,
            so averaging over rows does not cancel the error (`sklearn_jko.columns.cells`).
        standard_error : ndarray of shape (n_samples,), if `return_std`
            In nats; 0 where the log-density is exact, as of complete rows without integers. Of
            rows with missing values errors from about 0.5 on are themselves too low, and so are
            their log-densities: no draw met what matters, as where the rest is far from all data.
        """
        X = self._validated(X)
        if not return_std:
            return self._new_evaluator().log_density(X)
        both = self._new_evaluator().log_density_and_error(X)
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
            A table like X of `fit`, with its types, where `columns` or `condition` are set.

        Raises
        ------
        ValueError
            If X has infinite values; a label that was not seen in fit; a value out of its column's
            bounds; or a value is missing in a column that is given.

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
        rows = self._validated(X, rounds=False)
        if self.roles_ is not None:
            self.roles_.check_known(rows, "X")
            self.roles_.check_inside(rows)
        seed = check_random_state(random_state).randint(2**31 - 1)
        filled = self._new_evaluator().imputed(rows, seed)
        return self._decoded(filled, like=X, is_known=~are_nan(rows))

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

    @by_partitions(width=lambda self: self._n_features_out)
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
        X = self._validated(X)
        return self._new_evaluator().latent(X)

    def inverse_transform(self, X, condition=None):
        """Map latent coordinates back to rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_modelled)
            Latent coordinates.
        condition : array-like of shape (n_samples, n_inputs), optional
            Columns that are given or categories, in their order in X of `fit`; needed where there
            are any. Those of a frame go by name, or by number where X of `fit` had no names and the
            frame is labelled by integers: it may hold others beside, as X itself.

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
        check_computed(X)
        Z = check_array(X)
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {Z.shape[1]} columns, but {type(self).__name__} has "
                f"{self._n_features_out} latent coordinates."
            )
        inputs = () if self.roles_ is None else self.roles_.inputs
        table = self._table_of(condition, inputs, len(Z))
        if table is not None and len(table) != len(Z):
            raise ValueError(f"condition has {len(table)} rows; it must have {len(Z)}, as X.")
        return self._decoded(self._new_evaluator().original(Z, table))

    def sample(self, n_samples=1, random_state=None, condition=None):
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, or of rows for every row of `condition`.
        random_state : int, RandomState instance or None, default=None
        condition : array-like of shape (n_conditions, n_given), optional
            The columns named in the parameter `condition`, in their order in X of `fit`; needed
            where that is set. Those of a frame go by name, or by number where X of `fit` had no
            names and the frame is labelled by integers: it may hold others beside, as X itself.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_conditions * n_samples, n_features)
            All columns, rows of one condition together. A table like X of `fit`, with its types,
            where `columns` or `condition` are set; in place of pyarrow's types, those of 16 or 128
            bits and decimals it has the nearest others (`sklearn_jko.columns.tables`).

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer, or `condition` is missing, or holds something
            that is not of its column's kind.
        """
        check_is_fitted(self)
        if not is_whole(n_samples) or n_samples < 1:
            raise ValueError(f"n_samples must be a positive integer; got {n_samples!r}.")
        seed = check_random_state(random_state).randint(2**31 - 1)
        given = () if self.roles_ is None else self.roles_.given
        table = self._table_of(condition, given, n_samples)
        if condition is not None:
            table = table.repeat(n_samples, axis=0)
        return self._decoded(self._new_evaluator().draw(n_samples, table, seed))

    def _fitted_state(self):
        return density_state(self)

    def _set_fitted_state(self, state):
        restore_density(self, state)

    def __getstate__(self):
        # In a pickle too the flow is names and arrays: torch's own is of its version, and skops
        # takes none of it.
        state = super().__getstate__()
        if "flow_" in state:
            state["flow_"] = flow_state(state["flow_"])
            state["_cache"] = {}
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
        return self._n_features_out + n_codes_given(self.roles_)

    def _validated(self, X, rounds=True):
        check_is_fitted(self)
        if self.roles_ is None:
            return validated_numbers(self, X, dtype=NUMERIC_DTYPES, reset=False)
        X = without_masks_or_arrow(X)
        check_different_names(X)
        _check_feature_names(self, X, reset=False)
        table = self.roles_.encode(X, rounds=rounds)
        self._warn_of_unknown(table)
        if rounds:
            self._clip_given(table)
        return table

    def _clip_given(self, table):
        moved = self.roles_.clip_given(table)
        if len(moved):
            warn_user(
                f"{columns_in_words(self, moved)} of the condition hold values outside their "
                "bounds, which count as the bounds themselves."
            )

    def _table_of(self, condition, indices, n_rows):
        """An encoded table of what rows are given, NaN elsewhere; None where X has no roles."""
        roles = self.roles_
        if len(indices) == 0:
            if condition is not None:
                raise ValueError(
                    f"condition={short_repr(condition)}: this density is given nothing; fit one "
                    "with condition=[...], the names or numbers of columns."
                )
            return None if roles is None else np.full((n_rows, len(roles.columns)), np.nan)
        if condition is None:
            names = ", ".join(roles.columns[j].display_name for j in indices)
            raise ValueError(
                f"condition=None: pass a table of the columns {names}, which are given or hold "
                "categories, such as condition=X[[...]]."
            )
        return roles.encode_some(condition, indices, "condition")

    def _decoded(self, rows, like=None, is_known=False):
        """A table of the data's types, with the index of another where pandas gave it one."""
        if self.roles_ is None:
            return rows
        table = self.roles_.decode(rows, is_known)
        if hasattr(table, "iloc") and hasattr(like, "iloc"):
            table.index = like.index
        return table

    def _new_evaluator(self):
        """What the density makes of rows, on the device to compute on."""
        device, flow = device_named(self.device), self.flow_
        if device.type != "cpu":
            with torch.inference_mode(False):
                flow = copy.deepcopy(flow).to(device)
        return Evaluator(
            n_modelled=self._n_features_out,
            scaler=self.scaler_,
            flow=flow,
            roles=self.roles_,
            category_model=self.categories_,
            given_rows=self.given_rows_,
            cache=self._cache,
        )

    def _warn_of_unknown(self, table):
        unknown = [j for j in self.roles_.unknown(table) if j in self.roles_.given]
        if unknown:
            warn_user(
                f"{columns_in_words(self, unknown)} of the condition hold labels that were not "
                "seen in fit. Given these, the density is that of rows without a label."
            )
        if len(table) < 2:  # a single row may well be of a new label
            return
        alien = [j for j in self.roles_.modelled_categories if np.all(table[:, j] == -1)]
        if alien:
            warn_user(f"{columns_in_words(self, alien)} hold no label that was seen in fit.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "solver_error_")
