"""Outlier detector with the interface of scikit-learn."""

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp
from scipy.stats import false_discovery_control
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_jko.checks import check_complete, check_keys, check_ndarray, check_number
from sklearn_jko.columns.numbers import FLOATS, NOT_NUMERIC, NUMERIC_DTYPES, validated_numbers
from sklearn_jko.detection.attribution import attribute
from sklearn_jko.detection.combined_score import SCALING, CombinedScore
from sklearn_jko.detection.conformal import conformal_p_values, score_tolerance
from sklearn_jko.detection.coordinates import standard_normal_log_density
from sklearn_jko.estimator import JKOFlowDensity
from sklearn_jko.files.persistence import FileMixin
from sklearn_jko.fitting.fit_input import read_rows
from sklearn_jko.flow import ROWS_AT_ONCE
from sklearn_jko.rows.dask_tables import by_partitions
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.rows.splitting import rank_among_equals
from sklearn_jko.rows.weighting import weighted_rows
from sklearn_jko.statistics.thinning import evenly_spread
from sklearn_jko.training.reports import CallbackSupportMixin, watched_part, with_callbacks
from sklearn_jko.user_warnings import warn_user

__all__ = ["JKOFlowOutlierDetector"]

# Training rows kept as neighbours. On ADBench 10,000 were no better, and took 2.5 times as long.
MAX_NEIGHBOURS = 4000
FENCE = 1.5  # Tukey's, in interquartile ranges
# With fewer held-out scores the quartiles are mostly noise: after a fit to 20 normal rows, five of
# them held out, up to 73 % of new normal rows were called outliers. With the scores of all rows,
# held out or not, it was up to 19 %.
MIN_SCORES_OF_FENCE = 20
# Completions of a row with gaps: from the mixture, and from its neighbours. Where rows lie close to
# a curve, the mixture's draws are beside it, and score far too low.
N_DRAWS = N_NEIGHBOURS = 4
LARGEST_SCORE = 1e301
FITTED = (
    "neighbours_",
    "latent_neighbours_",
    "calibration_scores_",
    "calibration_size_",
    "offset_",
)


class JKOFlowOutlierDetector(
    CallbackSupportMixin,
    FileMixin,
    OutlierMixin,
    TransformerMixin,
    ClassNamePrefixFeaturesOutMixin,
    BaseEstimator,
):
    """Outlier detection combining a normalizing flow with nearest neighbours.

    The score of a row is a weighted mean of four estimates of its log-density:

    - 1/3: the log-density of a `JKOFlowDensity`;
    - 1/3: nearest neighbours in standardised columns;
    - 1/6: nearest neighbours in the flow's latent coordinates;
    - 1/6: independent columns, the mean of a normal and a spline estimate of each.

    The neighbours are the second and the sqrt(n)-th nearest of n training rows. The flow follows
    structure that distances miss, and neighbours show what is rare where rows are few or columns
    many.

    If the density has categories, the independent columns include the shares of their labels, and
    two rows with different labels are at a distance of 1, like rows whose values differ by a
    standard deviation.

    The score of a row with missing values is the logarithm of the mean of exp(score) over eight
    completions: four random ones given the observed values, from a mixture that is fitted to
    samples of the flow, and those by the missing columns of the four training rows that are
    nearest in the observed ones. So a gap makes a row neither much rarer nor much more common than
    it is.

    If the density has a `condition`, outliers are rows whose other columns are rare given these,
    however rare these are themselves: a high price for a small house. Distances between rows do not
    distinguish the two, so the score is then the mean of log p(rest | condition) and the normal
    log-density of the latent coordinates, which are spread alike under every condition.

    Parameters
    ----------
    contamination : "auto" or float in (0, 0.5], default="auto"
        Share of outliers among the training rows, which `predict` then finds. "auto" uses Tukey's
        fence: Q1 - 1.5 (Q3 - Q1) of the held-out scores (of all scores if fewer than 20 rows are
        held out).
    density : JKOFlowDensity or None, default=None
        The density to fit. None is ``JKOFlowDensity("tails+standard", hidden_layer_sizes=(64,
        64))``: a scaling that follows each column closely would hide outliers among the training
        rows, and a single value far from all others must not hide other outliers. To search over
        its parameters, such as ``density__max_blocks``, pass a density.
    random_state : int, RandomState instance or None, default=None
        Seed for a density without a `random_state` of its own.

    Attributes
    ----------
    density_ : JKOFlowDensity
        The fitted density.
    offset_ : float
        Threshold of `score_samples`, below which a row is an outlier.
    calibration_scores_ : ndarray of shape (n_held_out,)
        Scores of the rows that the density held out (of all rows if none were), ascending.
    calibration_size_ : float
        Number of rows of weight one that these scores stand for.
    neighbours_ : ndarray of shape (n_neighbours, n_features_in_)
        The training rows used as neighbours, at most 4,000, with labels as codes.
    latent_neighbours_ : ndarray of shape (n_neighbours, n_modelled)
        Their latent coordinates.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X has names.

    See Also
    --------
    JKOFlowDensity : The density itself; lists the warnings of `fit` and of scores.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
    >>> X = load_iris().data
    >>> density = JKOFlowDensity("tails+standard", max_iter=50)
    >>> detector = JKOFlowOutlierDetector(density=density, random_state=0).fit(X)
    >>> detector.predict([[5.0, 3.4, 1.5, 0.2], [5.0, 3.4, 6.0, 0.2]])
    array([ 1, -1])
    >>> strange = np.array([[5.0, 9.0, 1.5, 0.2]])
    >>> int(detector.explain(strange).argmin())  # the sepal width
    1
    """

    _unsaved = ("density",)  # its parameters are saved with the fitted state

    _parameter_constraints: ClassVar[dict] = {
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "density": [JKOFlowDensity, None],
        "random_state": ["random_state"],
    }

    def __init__(self, contamination="auto", *, density=None, random_state=None):
        self.contamination = contamination
        self.density = density
        self.random_state = random_state

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the density and the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), collection of Dask, or iterator
            Rows of which all or most are normal, with NaN where a value is missing; see
            `JKOFlowDensity.fit`.
        y : ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows; see `JKOFlowDensity.fit`.

        Returns
        -------
        self : JKOFlowOutlierDetector

        Raises
        ------
        ValueError
            See `JKOFlowDensity.fit`.
        """
        sampled = read_rows(X, sample_weight)
        X, sample_weight = sampled.X, sampled.weight
        # Until all is done, the detector stays as it was.
        fitted = type(self)(**self.get_params(deep=False))
        density = self._unfitted_density()
        if density.columns is None:
            _check_numbers(fitted, X)
        with watched_part(self, density, X):
            train = density._fit_to_calibrate(X, sample_weight)
            fitted.density_ = density
            fitted._take_names()
            table = density._validated(X)
            fitted._calibrate(table, weighted_rows(table, sample_weight), train)
            held_out = fitted.density_.validation_indices_
            fitted.density_.validation_indices_ = sampled.indices_of(held_out)
            vars(self).pop("feature_names_in_", None)  # of an earlier fit
            vars(self).update(vars(fitted))
        return self

    @by_partitions()
    def score_samples(self, X):
        """Weighted mean of the estimates of each row's log-density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            NaN where a value is missing.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats, up to a constant, and always finite; the higher, the more normal.
        """
        return self._scores(self._validated(X))

    @by_partitions()
    def decision_function(self, X):
        """Score relative to the threshold: `score_samples` minus `offset_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    @by_partitions(int)
    def predict(self, X, fdr=None):
        """Label rows as outliers or normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        fdr : float in (0, 1), optional
            Bound on the false discovery rate, the expected share of normal rows among those
            labelled as outliers, by Benjamini and Hochberg's procedure on the `p_values`. No
            p-value is below ``1 / (1 + calibration_size_)``, so a row can be found only if at least
            ``len(X) / (fdr * (1 + calibration_size_))`` rows are that extreme: finding few outliers
            among many rows takes many held-out rows. By default a row is an outlier if its score is
            below `offset_`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers and 1 for normal rows.

        Raises
        ------
        ValueError
            If `fdr` is not between 0 and 1.

        Warns
        -----
        UserWarning
            If `fit` held out too few rows for any outlier to be found.
        """
        if fdr is None:
            return np.where(self.decision_function(X) < 0, -1, 1)
        if not isinstance(fdr, Real) or not 0 < fdr < 1:
            raise ValueError(f"fdr={fdr!r} must be a number between 0 and 1, such as 0.1.")
        check_is_fitted(self)
        if fdr * (1 + self.calibration_size_) < 1:
            warn_user(
                f"fdr={fdr} is below the smallest p-value possible with "
                f"{self.calibration_size_:.0f} held-out rows, so no row is labelled an outlier. "
                "Fit to more rows, or set a larger validation_fraction in the density.",
            )
        return np.where(false_discovery_control(self.p_values(X)) <= fdr, -1, 1)

    @by_partitions()
    def p_values(self, X):
        """Conformal p-value of each row: how rare a score this low is among normal rows.

        It is the share of rows that score no higher, among the held-out rows and the row itself: at
        least ``1 / (1 + calibration_size_)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        p_values : ndarray of shape (n_samples,)
            For a row from the distribution of X in `fit`, P(p <= u) <= u for every u. This holds
            approximately, as the held-out rows were also used for early stopping; only roughly for
            rows with gaps, if those in `fit` have none; and not at all if no rows were held out. A
            held-out row with an integer weight k counts as k rows, as its copies would: if such
            weights express importance, and not how often a row was observed, p-values are too
            small.
        """
        scores = self.score_samples(X)
        return conformal_p_values(scores, self.calibration_scores_, self.calibration_size_)

    @by_partitions(width=lambda self: self.n_features_in_)
    def explain(self, X):
        """Contribution of each column to the score of each row.

        The contributions of a row add up to its score minus that of a reference row (`references`);
        they follow the score along the straight line from the reference to the row. The most
        negative contributions name the columns that make a row an outlier. Columns that determine
        one another, such as a radius and an area, may get large contributions of opposite sign:
        their sum is what counts. Costs about 32 score evaluations per column and row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Without missing values.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_features)
            In nats.

        See Also
        --------
        sklearn_jko.detection.attribution.attribute : How the contributions are computed.
        """
        X = self._complete(X)
        return attribute(self._scores, X, self._references(X), self._labels[0])

    def references(self, X):
        """The reference rows of `explain`: for each row, the nearest typical row.

        The typical rows are those of `neighbours_` that score at least their median. Distances are
        taken in standardised columns; those in the columns of a `condition` take precedence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Without missing values.

        Returns
        -------
        X_reference : ndarray of shape (n_samples, n_features)
            A table like X of `fit`, if the density has `columns` or a `condition`.
        """
        rows = self._references(self._complete(X))
        return self.density_._decoded(rows, like=X)

    @by_partitions(width=lambda self: self._n_features_out)
    def transform(self, X):
        """Map rows to latent coordinates, which are standard normal for `density_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_modelled)
            As in `JKOFlowDensity.transform`; NaN in rows with a missing value.
        """
        X = self._validated(X)
        return self._new_evaluator().latent(X)

    def inverse_transform(self, X, condition=None):
        """Map latent coordinates back to rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_modelled)
        condition : array-like of shape (n_samples, n_inputs), optional
            As in `JKOFlowDensity.inverse_transform`.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            See `JKOFlowDensity.inverse_transform`.
        """
        check_is_fitted(self)
        return self.density_.inverse_transform(X, condition)

    def sample(self, n_samples=1, random_state=None, condition=None):
        """Draw rows from `density_`.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, or of rows for each row of `condition`.
        random_state : int, RandomState instance or None, default=None
        condition : array-like of shape (n_conditions, n_given), optional
            As in `JKOFlowDensity.sample`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_conditions * n_samples, n_features)

        Raises
        ------
        ValueError
            See `JKOFlowDensity.sample`.
        """
        check_is_fitted(self)
        return self.density_.sample(n_samples, random_state, condition)

    def score(self, X, y=None):
        """Total log-likelihood of rows under `density_`, which a parameter search can maximise.

        It is not the sum of `score_samples`, whose scores are known up to a constant only.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        log_likelihood : float
            In nats.
        """
        check_is_fitted(self)
        return self.density_.score(X)

    @property
    def _n_features_out(self):
        return self.density_._n_features_out

    def _new_evaluator(self):
        return self.density_._new_evaluator()

    @property
    def _has_condition(self):
        return self.density_.given_rows_ is not None

    @property
    def _labels(self):
        """Indices of the columns that hold labels, and how many labels each has."""
        roles = self.density_.roles_
        if roles is None:
            return np.arange(0), []
        return roles.category, roles.n_labels_of(roles.category)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "offset_")

    def _fitted_state(self):
        try:
            densities = {
                "density": None if self.density is None else self.density._parameters_state(),
                "density_": self.density_._state(),
            }
        except TypeError as error:
            raise TypeError(f"{error} Set it in both `density` and `density_`.") from None
        return {**densities, **{name: getattr(self, name) for name in FITTED}}

    def _set_fitted_state(self, state):
        check_keys("fitted", state, ("density", "density_", *FITTED))
        if state["density"] is not None:
            self.density = JKOFlowDensity._from_parameters_state(state["density"])
        self.density_ = JKOFlowDensity._from_state(state["density_"])
        self._take_names()
        n = min(len(state["neighbours_"]), MAX_NEIGHBOURS)
        check_ndarray("neighbours_", state["neighbours_"], (n, self.n_features_in_))
        check_ndarray("latent_neighbours_", state["latent_neighbours_"], (n, self._n_features_out))
        for j, n_labels in zip(*self._labels, strict=True):
            codes = state["neighbours_"][:, j]
            check_ndarray("neighbours_", codes, (n,), 0.0, n_labels - 1.0)
        scores = state["calibration_scores_"]
        check_ndarray("calibration_scores_", scores, (np.size(scores),))
        if n == 0 or np.any(np.diff(scores) < 0):
            raise ValueError("neighbours_ must be rows, and calibration_scores_ ascend")
        check_number("calibration_size_", state["calibration_size_"], low=0.0, high=1e18)
        check_number("offset_", state["offset_"], low=-LARGEST_SCORE, high=LARGEST_SCORE)
        vars(self).update({name: state[name] for name in FITTED})
        self._index_neighbours()

    def __getstate__(self):
        # The neighbour trees are quickly rebuilt; skops does not trust them.
        state = super().__getstate__()
        return {key: value for key, value in state.items() if key not in ("_score", "_typical")}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "neighbours_" in state:
            self._index_neighbours()

    def _take_names(self):
        """Take the names of the columns, and their number, from the density."""
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.density_, name):
                setattr(self, name, getattr(self.density_, name))

    def _validated(self, X):
        check_is_fitted(self)
        if self.density_.roles_ is not None:
            return self.density_._validated(X)
        return validated_numbers(self, X, dtype=NUMERIC_DTYPES, reset=False)

    def _complete(self, X):
        table = self._validated(X)
        check_complete(self, table, "fill them in first, as by `density_.impute(X)`")
        return np.asarray(table, dtype=np.float64)

    def _unfitted_density(self):
        if self.density is None:
            density = JKOFlowDensity(SCALING, hidden_layer_sizes=(64, 64))
        else:
            density = clone(self.density)
        # If neither has a seed, the density draws its own, which a checkpoint then stores.
        if density.random_state is None and self.random_state is not None:
            seed = check_random_state(self.random_state).randint(2**31 - 1)
            density.set_params(random_state=seed)
        return density

    def _calibrate(self, X, rows, train):
        """Set the neighbours, the scores of held-out rows and the threshold."""
        held_out, evaluator = self.density_.validation_indices_, self._new_evaluator()
        train = _once_each(train, X, rows)
        neighbours = X[evenly_spread(train, MAX_NEIGHBOURS)].astype(np.float64)
        self.neighbours_ = evaluator.filled(neighbours, seed=0, same_noise=False)
        self.latent_neighbours_, _ = evaluator.latent_and_log_density(self.neighbours_)
        self._index_neighbours()

        calibration = held_out if len(held_out) else rows.repeated
        self.calibration_scores_ = np.sort(self._scores(X[calibration]))
        share = len(held_out) / len(rows.observed) if len(held_out) else 1.0
        self.calibration_size_ = float(share * rows.size)
        is_auto, scores = self.contamination == "auto", self.calibration_scores_
        if not is_auto or len(scores) < MIN_SCORES_OF_FENCE:
            scores = self._scores(X)[rows.repeated]
        if is_auto:
            low, high = np.quantile(scores, [0.25, 0.75])
            threshold = float(low - FENCE * (high - low))
        else:
            threshold = float(np.percentile(scores, 100 * self.contamination))
        self.offset_ = float(threshold - score_tolerance(threshold))

    def _index_neighbours(self):
        self._typical = None  # the typical neighbours, found when first needed
        self._score = CombinedScore(self.neighbours_, self.latent_neighbours_, *self._labels)

    def _references(self, X):
        if self._typical is None:
            scores = self._scores(self.neighbours_)
            self._typical = np.flatnonzero(scores >= np.median(scores))
        typical, roles = self.neighbours_[self._typical], self.density_.roles_
        given = () if roles is None else roles.given  # the rest is compared given these
        return typical[self._score.nearest(X, typical, given)]

    def _scores(self, X):
        scores, evaluator = np.empty(len(X)), self._new_evaluator()
        for chunk in gen_batches(len(X), ROWS_AT_ONCE):
            part = np.ascontiguousarray(X[chunk], dtype=np.float64)
            is_complete = ~np.isnan(part).any(axis=1)
            for rows, method in (
                (is_complete, self._complete_scores),
                (~is_complete, self._scores_of_gaps),
            ):
                if rows.any():
                    scores[chunk][rows] = method(evaluator, part[rows])
        return scores

    def _scores_of_gaps(self, evaluator, X):
        """Logarithm of the mean exponential score over completions of rows with gaps."""
        draws = [evaluator.filled(X, seed, same_noise=True) for seed in range(N_DRAWS)]
        nearest = self._score.nearest_to_observed(X, N_NEIGHBOURS)
        copies = [np.where(np.isnan(X), self.neighbours_[rows], X) for rows in nearest.T]
        scores = self._complete_scores(evaluator, np.concatenate([*draws, *copies]))
        scores = scores.reshape(-1, len(X))
        return logsumexp(scores, axis=0) - np.log(len(scores))

    def _complete_scores(self, evaluator, X):
        latent, log_density = evaluator.latent_and_log_density(X)
        if self._has_condition:
            return (log_density + standard_normal_log_density(latent)) / 2
        return self._score.of(X, latent, log_density)


def _check_numbers(detector, X):
    """Raise ValueError or TypeError, naming the detector, unless the table holds numbers only."""
    try:
        validated_numbers(detector, X, dtype=FLOATS, ensure_min_samples=2)
    except ValueError as error:
        if NOT_NUMERIC not in str(error):
            raise
        raise ValueError(
            f"{error}. To use strings as categories, pass "
            f"density=JKOFlowDensity({SCALING!r}, columns='auto')."
        ) from error


def _once_each(train, X, rows):
    """Indices of training rows, thinned by weight, without copies that only express weights.

    A row must not find copies of itself among its neighbours. As many rows are left as the
    effective sample size; with integer weights, all.
    """
    if rows.has_whole_weights:
        return train
    some = evenly_spread(train, max(round(rows.size * len(train) / len(rows.repeated)), 1))
    _, group = np.unique(hash_rows(X), return_inverse=True)
    in_data = np.bincount(group[rows.observed], minlength=group.max() + 1)
    return some[rank_among_equals(group[some]) < in_data[group[some]]]
