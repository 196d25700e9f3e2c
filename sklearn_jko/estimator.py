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
from sklearn_jko.columns.numbers import NUMERIC_DTYPES, validated_numbers
from sklearn_jko.columns.tables import check_different_names
from sklearn_jko.devices import device_named
from sklearn_jko.evaluation import Evaluator
from sklearn_jko.files.density_state import density_state, restore_density
from sklearn_jko.files.model_state import flow_from_state, flow_state
from sklearn_jko.files.persistence import FileMixin
from sklearn_jko.fitting.course import fit_density
from sklearn_jko.rows.dask_tables import by_partitions, check_computed
from sklearn_jko.rows.table_types import without_masks_or_arrow
from sklearn_jko.solvers import TRAINING_SOLVERS
from sklearn_jko.training.reports import CallbackSupportMixin, with_callbacks
from sklearn_jko.user_warnings import warn_user

__all__ = ["JKOFlowDensity"]


@contextlib.contextmanager
def _plain_torch():
    """Have gradients, no autocast and tensors on the CPU, whatever the caller's torch context."""
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
    distribution by a sequence of blocks, each a neural ordinary differential equation. A block is
    one proximal step of the Kullback-Leibler divergence in Wasserstein space and is trained on
    its own, on rows pushed through the blocks before it. Held-out rows decide when the training
    of a block ends and whether the block is kept; if none is kept, the density is that of the
    scaling alone, which may be as simple as a Gaussian. Log-densities are exact up to the error
    of the ODE solver, which is measured.

    Parameters
    ----------
    scaling : str, default="auto"
        Invertible scaling before the flow: "none", "standard", "tails" (which pulls in far values),
        "whiten", "power", "marginal", "radial", "mixture" (of normal clusters), or several joined
        by "+" and applied from left to right, such as "marginal+whiten+radial". "auto" trains a
        short pilot flow on several and takes the best, or, if no block is kept after it, the one
        that is best by itself; with fewer than 32 training rows it is "marginal+whiten".
    columns : dict, "auto" or None, default=None
        Kind of each column, by name or index, such as ``{"share": (0, 1), "price": (0, None),
        "rooms": "integer", "city": "category"}``. All other columns are unbounded numbers.

        - ``(low, high)``: numbers within bounds, where None leaves a side open. The density is zero
          outside, and samples are inside. The column is first mapped by a logarithm or logit (with
          an exact Jacobian, like every scaling), so that no probability is lost at the bounds.
        - ``"integer"`` or ``("integer", low, high)``: scores contain the probability of the
          integer, of up to 2^52, and samples are integers.
        - ``"category"``, of at most 1,000 strings, booleans or numbers: its probability comes from
          a logistic regression, and the flow is conditioned on it. Beside other columns, a label
          that only one training row has counts as no label.

        ``"auto"`` guesses the kind of every column, from its type and then from its values.
        ``roles_.kinds`` holds the result: pass it as `columns` to fix the kinds across the folds of
        a cross-validation.
    condition : list of str or int, or None, default=None
        Columns that are given, by name or index: the density is that of the other columns, log
        p(rest | condition). A category must be named in `columns` too. Given numbers outside the
        range seen in `fit` are damped, and capped far outside: the data do not show how the
        relation continues.
    structure : tuple of int, array-like or sparse matrix, or None, default=None
        Which columns are neighbours. A tuple (height, width) or (height, width, channels) says that
        the columns are the pixels of an image, in C order; an adjacency matrix (n_modelled,
        n_modelled) says that they are the nodes of a graph, and each nonzero entry is an undirected
        edge. All pixels or nodes then share one small network, which sees the surroundings of each
        (`sklearn_jko.structure`): it learns from fewer rows, but takes longer. The structure covers
        the modelled columns, or these and the numbers in `condition`, in their order in X; given
        numbers are then neighbours of some nodes. Categories are never part of it.
    hidden_layer_sizes : "auto" or tuple of int, default="auto"
        Widths of the velocity network's hidden layers; "auto" is two layers, see Notes. ``()``
        makes the velocity linear. With three or more the divergence is estimated in training, by
        random projections, and computed one column at a time in scores, which takes longer. With a
        `structure`, two integers.
    max_blocks : int, default=6
        Largest number of blocks tried. 0 fits the scaling alone, as does a fit with fewer than
        seven held-out rows (by default up to 26 rows in all): these cannot show what a block gains.
    step_size : float or callable, default=0.5
        Step size h_0 of the first block; it doubles with each block. Small steps keep a block close
        to the identity. The block that reaches `max_blocks`, or follows one that hardly moved the
        rows (see Notes), is *free*: h = inf, no transport cost; the first block always has step
        h_0. A callable k -> h_k sets the step of each block k = 0, 1, ...; then only the last of
        several `max_blocks` is free. ``max_blocks=1, step_size=math.inf`` is the usual continuous
        normalizing flow (FFJORD).
    n_refinements : int, default=0
        Largest number of rounds in which all blocks are trained again, each from its own weights.
        Before a round, step sizes are adjusted to make the distances covered by the blocks more
        even or, where these are even already, every block is split in two. Refinement ends with the
        first round that does not improve the held-out likelihood; that round is undone. Each round,
        and the training before them, has an equal part of `max_time`.
    max_iter : "auto" or int, default="auto"
        Largest number of optimiser steps per block; a block that needs more than two solver steps
        takes fewer. "auto" is 1000 or, with `max_time`, as many as that allows.
    batch_size : "auto" or int, default="auto"
        Rows per minibatch; "auto" suits most tables (see Notes). Up to 2,000 training rows are
        first repeated, with a little noise, to at most 4,000.
    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate; "auto" suits most tables (see Notes). A block that needs more than two
        solver steps takes a rate that is lower in proportion. The optimiser is SOAP (Vyas et al.
        2024), which runs Adam along the principal axes of the gradients, or AdamW for fewer than
        700 training rows without a structure.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay (as in AdamW) of the first block; "auto" suits most tables (see
        Notes). Each later block has 0.6 times the decay of the one before it, or 0.25 times if that
        one was dropped or its held-out likelihood stopped improving early.
    solver : {"rk4", "midpoint", "dopri5", "dopri5_adjoint"}, default="rk4"
        ODE solver in training. Its steps are refined where held-out rows show that the training
        exploits its error. Scores use Dormand and Prince's rule of order 8 or, after an adaptive
        solver, step sizes chosen for each row on its own, so a row's score does not depend on the
        other rows of the batch.
    solver_tol : float, default=1e-3
        Scores use enough solver steps (up to 64 per block) that doubling them changes the
        log-density of each of 1,000 rows, and of 250 draws, by at most `solver_tol` / 2. (In nats,
        divided by 1 + |log-density| / 1000; held-out rows are taken first.)
    validation_fraction : float, default=0.1
        Share of rows held out; raised for small data (up to a quarter) and at most 4,000 rows.
        Copies of a row stay together unless there are very many.
    max_time : float or None, default=None
        Approximate time limit of `fit` in seconds. Results then depend on the machine.
    checkpoint : str, path-like or None, default=None
        File that is replaced, atomically, before the first block and after each block. A `fit` with
        the same data and parameters resumes after the last block in it, and ends with the model
        of an uninterrupted fit (the same numbers on the same CPU). The file is kept, and a fit with
        another `max_time`, `solver_tol` or `verbose`, more `max_blocks` (before any refinement) or
        more `n_refinements` resumes from it too: this is the warm start. A file of other data,
        parameters or versions, or a damaged one, raises an error; so does a checkpoint in a
        cross-validation or search, whose fits would share the file.
    verbose : bool, default=False
        Whether to print a line after each block, unless the logger "sklearn_jko" shows it.
    device : str, default="auto"
        Where to compute: "cpu", "cuda", or "cuda:1" and so on; other devices of torch are refused.
        "auto" is "cuda" if available, else "cpu".
    random_state : int, RandomState instance or None, default=None
        Seed of the weights, the batches, the split and the noise of `fit`. Held-out rows are chosen
        by hashing the values, so rescaling X or converting it to float32 gives another split.

    Attributes
    ----------
    flow_ : JKOFlow
        The fitted blocks, in float64 on the CPU, which map scaled rows to latent rows.
    scaler_ : object
        The fitted scaling, see `sklearn_jko.scaling`.
    scaling_ : str
        Name of the fitted scaling.
    n_blocks_ : int
        Number of blocks kept.
    history_ : list of BlockRecord
        One record per block tried, in all rounds: step size, loss terms, movement, held-out
        negative log-likelihood (nats per row), solver error, seconds, whether it was kept; see
        `sklearn_jko.training.block_training.BlockRecord`.
    n_iter_ : int
        Number of optimiser steps, over all blocks tried.
    roles_ : Roles or None
        What the columns are, if `columns` or `condition` is set: `roles_.kinds` in the form that
        `columns` takes, `roles_.modelled` the indices of the columns of `transform`.
    categories_ : CategoryModel or None
        Probabilities of the categories that are not given.
    given_rows_ : ndarray of shape (n_given_rows, n_given), or None
        Encoded values of the columns in `condition`, of up to 1,000 training rows. The draws of
        missing values are learned for rows with such values.
    validation_indices_ : ndarray of shape (n_held_out,), int
        Indices of the rows of X that were held out, each as often as its weight says; one of
        several equal rows stands for all of them. Empty if `X_val` or a process group was given. If
        no block was kept, the scaling was then fitted to these rows too (except within a
        `JKOFlowOutlierDetector`).
    noise_width_ : ndarray of shape (n_features_in_,)
        Width, in units of X, of the uniform noise added to each column in `fit`; 0 for an
        untouched column. The density is that of the data with this noise.
    solver_error_ : float
        Largest change of the log-density of 1,000 rows (or all, or fewer if `max_time` is short),
        held-out rows first, and of a fourth as many draws from the flow, when the solver steps are
        doubled; in nats, divided by 1 + |log-density| / 1000. It exceeds `solver_tol` only where
        64 steps were not enough.
    inversion_error_ : float
        Largest error in a value of these rows, clipped to +-1e300, after `transform` and
        `inverse_transform`, relative to its column's spread or, where that is larger, to its
        distance from the column's median.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X has names.

    Warns
    -----
    UserWarning
        In `fit`, naming the columns, if values repeat or are linearly related, so that noise was
        added; if values are missing and were filled in; if values are beyond 1e290, where
        computations are clipped; or if the values of a column of the kind "integer" differ only by
        multiples of another number. Also if `X_val` has fewer than seven rows, or fewer than seven
        of more than 26 rows are held out, so that no block is trained; and if torchrun started this
        process among others and no `process_group` is passed. In scores, naming the columns, if
        labels of a given category were not seen in `fit`, or none of those of another in several
        rows; if labels are of another type than in `fit`; if given values are outside their bounds;
        or if values of a column of the kind "integer" are not integers, which are rounded, or are
        beyond 2^52, where they are clipped.
    ConvergenceWarning
        If `max_blocks` or `max_time` ended the training while blocks still gained more than 0.05
        nats per row; if `max_time` left no block; or if `solver_error_` exceeds `solver_tol`.
    RuntimeWarning
        If the checkpoint could not be written; training goes on.

    Notes
    -----
    **Automatic settings.** With n training rows (with weights, their effective number), d columns
    and a widest hidden layer of width w, "auto" is

    - `hidden_layer_sizes`: two layers of 64 for n < 3,000, else of 128 or, from 32 columns on, 256;
      two layers of 32 with a structure;
    - `batch_size`: 256, or 512 if w > 128 and n > 50,000; 128 with a structure;
    - `learning_rate_init`: min(2 / w, 0.02) for SOAP, and beyond 20,000 rows max(0.3, sqrt(20,000 /
      n)) times that; min(0.64 / w, 0.01) for AdamW; 0.4 min(2 / w, 0.02) with a structure;
    - `weight_decay`: min(200 d / n, 3), a tenth of that for an image, and half for a graph.

    **The free block.** A block hardly moved the rows if E|x1 - x0|^2 / E|x1|^2 < 0.01, the mean
    squared movement over the mean squared norm of the held-out rows.

    **Noise.** Where values repeat, or columns depend linearly on each other, the likelihood of a
    density has no upper bound: it grows as the model narrows. Such columns get uniform noise of the
    width `noise_width_` for training: the gap between neighbouring values of a discrete column; in
    a linear relation, noise whose standard deviation is a thousandth of the spread. The density is
    then that of X plus this noise: finite, and comparable between models with the same noise. Its
    integral over the noise around a value of a discrete column is the probability of that value,
    which the kind "integer" of `columns` gives. Other relations between columns get no noise; how
    narrow the density may become around them is limited by the solver, whose error is controlled.

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
            NaN (or None, or pandas' NA) where a value is missing. For training it is filled in with
            a draw given the other values of the row: a label by Bayes' rule, a number from a
            mixture, both fitted to the observed values. An iterator yields tables of rows, such as
            the batches of a file, and is read once. Of more than 2^26 numbers (6.7 million rows of
            10 columns), whether in memory, in a memory-mapped file, in Dask or from an iterator, a
            sample of that size is used (`sklearn_jko.rows.reservoir`). A pyarrow table is converted
            to a pandas data frame, here and elsewhere.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows. Weight zero is the same as leaving the row out. Integer weights (or
            integer multiples of the smallest) are the same as repeated rows, as long as they add up
            to at most 400,000 or the number of rows, except that all copies of a row with missing
            values are filled in alike. Other weights count in proportion.
        X_val : array-like of shape (n_val_samples, n_features), optional
            Validation rows, two or more, used in place of a share of X (`validation_fraction`).
            With fewer than seven no block is trained; of more than 4,000 a sample of 4,000 is used.
        process_group : torch.distributed.ProcessGroup, optional
            Processes that fit together, each with its own rows as X (and X_val). All call `fit`
            with the same parameters, and all get the same model: that of all rows together, as the
            gradients are summed, weighted like the rows. Each batch is divided among the processes.
            `columns`, `condition` and missing values are not supported then.

        Returns
        -------
        self : JKOFlowDensity

        Raises
        ------
        RuntimeError
            If another process of the group failed, ended, or did not answer within the timeout of
            the group.
        ValueError
            If a parameter is out of range, or names no scaling or device; X or X_val is not a
            numeric table (apart from categories), has infinite values or fewer than two rows; X has
            a column of NaN only; a value is not of its column's kind, is outside its bounds, or is
            missing in a given column; a category has more than 1,000 labels; `checkpoint` holds
            another fit; `structure` does not match the columns, or has more than 4,096 columns, too
            many channels or too many edges; a weight is negative, or fewer than two are positive.
        TypeError
            If X is a sparse matrix, or a lazy polars frame.
        """
        with _plain_torch():
            fit_density(self, X, sample_weight, X_val, process_group)
        return self

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_to_calibrate(self, X, sample_weight):
        """Fit without ever using the held-out rows, and return the indices of the others."""
        with _plain_torch():
            return fit_density(self, X, sample_weight, spares_held_out=True)

    @by_partitions()
    def score_samples(self, X, return_std=False):
        """Log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            For a row with missing values (NaN) the result is the density of the observed values
            (given those in `condition`, which must not be missing). If only labels are missing, in
            up to 1,024 combinations, these are summed over. Else it is estimated by importance
            sampling from 256 draws of the others (`sklearn_jko.missing.importance_sampling`). The
            first such call takes seconds longer, to learn what to draw; each such row costs as much
            as 256 complete ones. Labels beside missing numbers are drawn poorly if there are more
            than about a hundred.
        return_std : bool, default=False
            Whether to return the standard errors of the estimates too.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Natural logarithm, in the units of X; always finite: -1e300 outside the bounds of
            `columns`, where the density is zero. A value on a bound counts as one just inside (see
            `sklearn_jko.scaling.bounds`). With a `condition` it is log p(rest | condition).
            Integers and categories contribute probabilities. That of an integer k is the integral
            of the density from k - 1/2 to k + 1/2, estimated at 15 to 64 points, as each row needs.
            All rows share these points, so averaging over rows does not cancel the error
            (`sklearn_jko.columns.cells`). Of the integer at a bound it is too low where given
            values are far outside those of `fit`, as the density may then be infinite at the bound.
        standard_error : ndarray of shape (n_samples,), if `return_std`
            In nats; 0 where the log-density is exact, as for complete rows without integers. For
            rows with missing values it is itself estimated from 16 parts of the draws, and about a
            third too low on average; treat errors above about 0.5 as unreliable: both the error and
            the log-density are then mostly too low, as no draw came from where the density is high;
            so it is, for example, if the observed values are far from all data.
        """
        X = self._validated(X)
        if not return_std:
            return self._new_evaluator().log_density(X)
        both = self._new_evaluator().log_density_and_error(X)
        return both[:, 0], both[:, 1]

    def impute(self, X, random_state=None):
        """Fill missing values with random draws given the observed values of their row.

        The draws vary as the missing values might; compare several calls to see how much (multiple
        imputation). Each is taken from 64 proposals, with weights from their densities, or, if only
        labels are missing, from all combinations of these.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN where a value is missing.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X_complete : ndarray of shape (n_samples, n_features)
            A table like X of `fit`, with its types, if `columns` or `condition` is set.

        Raises
        ------
        ValueError
            If X has infinite values, labels that were not seen in `fit`, fractions in a column of
            integers, values outside the bounds of their column, or missing values in a given
            column.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_jko import JKOFlowDensity
        >>> X = load_iris().data
        >>> density = JKOFlowDensity(max_blocks=1, max_iter=50, random_state=0).fit(X)
        >>> X[0, 2] = np.nan
        >>> bool(1 < density.impute(X, random_state=0)[0, 2] < 2)  # a short petal
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
        A grid search maximises this total, which grows with the number of rows in a fold, and does
        not shuffle the rows. To search in nats per row and on shuffled rows:

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
            One coordinate for every column that is neither given nor a category. A row with a
            missing value becomes all NaN: `impute` it first.
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
            Values of the columns that are given or categories, in their order in X of `fit`;
            required if there are any. A data frame is read by column name, or by index if X of
            `fit` had no names and the frame has integer labels; it may have more columns, as X
            itself has.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            A table like X of `fit`, with its types, if `columns` or `condition` is set; with the
            index of the latent coordinates if both are frames of pandas.

        Raises
        ------
        ValueError
            If the number of latent coordinates or of rows of `condition` is wrong, or `condition`
            holds a value that is not of its column's kind.
        """
        check_is_fitted(self)
        check_computed(X)
        Z = check_array(X)
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {Z.shape[1]} columns, but this {type(self).__name__} has "
                f"{self._n_features_out} latent coordinates; pass an array as `transform` returns."
            )
        inputs = () if self.roles_ is None else self.roles_.inputs
        table = self._table_of(condition, inputs, len(Z))
        if table is not None and len(table) != len(Z):
            raise ValueError(f"condition has {len(table)} rows; it must have {len(Z)}, like X.")
        return self._decoded(self._new_evaluator().original(Z, table), like=X)

    def sample(self, n_samples=1, random_state=None, condition=None):
        """Draw rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, or of rows for each row of `condition`.
        random_state : int, RandomState instance or None, default=None
        condition : array-like of shape (n_conditions, n_given), optional
            Values of the columns named in the parameter `condition`, in their order in X of `fit`;
            required if that is set. A data frame is read by column name, or by index if X of `fit`
            had no names and the frame has integer labels; it may have more columns, as X itself
            has.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_conditions * n_samples, n_features)
            All columns; the rows of one condition stand together. A table like X of `fit`, with its
            types, if `columns` or `condition` is set; columns of pyarrow types, of 16- or 128-bit
            types and of decimals get the nearest other type (`sklearn_jko.columns.tables`).

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer, or `condition` is missing or holds a value
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
        # Pickles hold the flow as names and arrays too: torch's own pickles depend on its version,
        # and skops accepts none of them.
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
        """Number of columns of the flow's rows, including the encoded inputs."""
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
                "bounds, which were clipped to the bounds. Correct these values, or fit with wider "
                "bounds in `columns`."
            )

    def _table_of(self, condition, indices, n_rows):
        """An encoded table of the inputs, NaN in all other columns; None where X has no roles."""
        roles = self.roles_
        if len(indices) == 0:
            if condition is not None:
                raise ValueError(
                    f"condition={short_repr(condition)} was passed, but this density has no given "
                    "columns. Leave it out, or fit a density with condition=[...], a list of "
                    "column names or indices."
                )
            return None if roles is None else np.full((n_rows, len(roles.columns)), np.nan)
        if condition is None:
            names = ", ".join(roles.columns[j].display_name for j in indices)
            raise ValueError(
                f"condition=None, but the columns {names} are given or hold categories: pass a "
                "table of these columns, such as condition=X[[...]]."
            )
        return roles.encode_condition(condition, indices)

    def _decoded(self, rows, like=None, is_known=False):
        """A table with the types of X in `fit` and, for pandas, the index of the table `like`."""
        if self.roles_ is None:
            return rows
        table = self.roles_.decode(rows, is_known)
        if hasattr(table, "iloc") and hasattr(like, "iloc"):
            table.index = like.index
        return table

    def _new_evaluator(self):
        """The evaluator of the density, on the device to compute on."""
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
                "seen in fit; their rows are scored as rows without a label. Check the spelling of "
                "the labels, or fit to rows that have them."
            )
        if len(table) < 2:  # a single row may well be of a new label
            return
        alien = [j for j in self.roles_.modelled_categories if np.all(table[:, j] == -1)]
        if alien:
            warn_user(
                f"{columns_in_words(self, alien)} hold no label that was seen in fit. Check the "
                "spelling and the type of the labels."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "solver_error_")
