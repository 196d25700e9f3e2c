"""Joint probabilities of several categories, by the chain rule."""

from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import gen_batches

from sklearn_jko.checks import SMALLEST, check_ndarray, check_number
from sklearn_jko.statistics.drawing import drawn_index

__all__ = ["CategoricalChain"]

# Prior number of rows for each label of a column, as in Krichevsky and Trofimov's estimate.
PRIOR_ROWS = 0.5
# Inverses of the penalty on half the squared slopes; each column takes the likeliest on held-out
# rows. On eleven tables of 5 to 14 columns cut from iris, wine, glass, diabetes, breast cancer,
# cardio and pendigits (150 to 2,000 rows) that is at worst 0.01 nat per row behind the best one for
# all columns, and ahead by up to 0.12; 1.0 for all loses up to 0.5. A tree of the likeliest pairs
# (Chow and Liu) is better on one of them, by 0.4, and mostly worse by 0.1 to 0.9.
FREEDOMS = (0.03, 0.1, 0.3, 1.0, 3.0)
# With more rows times labels the choice would take long and matters little.
NUMBERS_TO_CHOOSE, USUAL_FREEDOM = 50_000, 1.0
FOLDS = 3
# Inputs have about unit deviation, and are clipped to this.
LARGEST_INPUT = 30.0
LARGEST_COEFFICIENT = 1e6
NUMBERS_AT_ONCE = 2**21


class CategoricalChain:
    """The chain rule P(c1 | u) P(c2 | c1, u) ... of coded categories c, given inputs u.

    A column without inputs or columns before it has the frequencies of its labels, with half a row
    added to each (Krichevsky and Trofimov's estimate). Every other column has a multinomial
    logistic regression on the inputs and the one-hot codes of the columns before it, with half a
    row for each label at which the inputs and codes are zero, and a penalty on squared slopes that
    is chosen by the likelihood in three folds. Its terms are additive: an effect of two columns
    that is not the sum of their own, such as an exclusive or, is not represented. An unknown label,
    code -1, has the probability of one that was never seen, 1/2 of n + (K + 1)/2 rows; it has no
    effect on the columns after it.

    Probabilities are exact and positive, and those of all codes add up to one.

    Attributes
    ----------
    n_categories_ : ndarray of shape (m,), int64
        Numbers K of labels.
    n_inputs_ : int
    unknown_ : ndarray of shape (m,)
        Probability of an unknown label.
    coefficients_ : ndarray of shape (k,)
        The columns' matrices one after the other, in C order, each (K, 1 + inputs + labels
        before): constants, slopes of the inputs, slopes of the labels before.

    References
    ----------
    Krichevsky and Trofimov (1981), The performance of universal encoding, IEEE Transactions on
    Information Theory 27.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.columns.categories import CategoricalChain
    >>> chain = CategoricalChain().fit(np.array([[0], [0], [1]]), n_categories=[2])
    >>> np.exp(chain.log_prob(np.array([[0], [1], [-1]]))).round(6).tolist()
    [0.555556, 0.333333, 0.111111]
    """

    learned = ("n_categories_", "n_inputs_", "unknown_", "coefficients_")

    def fit(self, codes, n_categories, inputs=None):
        """Estimate the probabilities.

        Equal rows are merged first, in ascending order, so the order of the rows does not matter.

        Parameters
        ----------
        codes : ndarray of shape (n, m)
            Integers from 0 to K - 1 in each column.
        n_categories : sequence of int
            K of each column, whether all of them are seen or not.
        inputs : ndarray of shape (n, q), optional
            Numbers of about unit deviation, which are clipped to +-30.

        Returns
        -------
        self : CategoricalChain

        Raises
        ------
        ValueError
            If a code is out of range.
        """
        self.n_categories_ = np.array(n_categories, dtype=np.int64)
        self.n_inputs_ = 0 if inputs is None else inputs.shape[1]
        codes, inputs = self._checked(codes, inputs, lowest=0)
        codes, inputs, weight = _joined(codes, inputs)
        unseen = weight.sum() + PRIOR_ROWS * (self.n_categories_ + 1)
        self.unknown_ = PRIOR_ROWS / unseen
        matrices = [
            _fit_column(codes[:, j], K, _features(codes[:, :j], self.n_categories_, inputs), weight)
            for j, K in enumerate(self.n_categories_.tolist())
        ]
        self.coefficients_ = np.concatenate([matrix.ravel() for matrix in matrices])
        return self

    def check(self, n_columns):
        """Raise ValueError unless what was learned fits this number of columns."""
        check_ndarray("n_categories_", self.n_categories_, (n_columns,), low=1, dtype=np.int64)
        check_number("n_inputs_", self.n_inputs_, low=0, high=2**31, whole=True)
        check_ndarray("unknown_", self.unknown_, (n_columns,), SMALLEST, 0.5)
        size = sum(rows * columns for rows, columns in self._shapes())
        bound = LARGEST_COEFFICIENT
        check_ndarray("coefficients_", self.coefficients_, (size,), -bound, bound)

    def log_prob(self, codes, inputs=None):
        """Log-probability of each row's codes, in nats.

        Parameters
        ----------
        codes : ndarray of shape (n, m)
            Integers from 0 to K - 1 in each column, or -1 for an unknown label.
        inputs : ndarray of shape (n, q)
            As many as in `fit`; None where there were none.

        Returns
        -------
        log_prob : ndarray of shape (n,)

        Raises
        ------
        ValueError
            If a code is out of range, or the inputs are not of the shape of those in `fit`.
        """
        codes, inputs = self._checked(codes, inputs, lowest=-1)
        log_prob = np.zeros(len(codes))
        matrices = self._matrices()
        for part in self._parts(len(codes)):
            for j, matrix in enumerate(matrices):
                log_known = log_softmax(self._logits(matrix, codes[part, :j], inputs[part]), axis=1)
                known = codes[part, j] >= 0
                of_code = np.take_along_axis(log_known, codes[part, j : j + 1], axis=1)[:, 0]
                unknown = self.unknown_[j]
                log_prob[part] += np.where(known, of_code + np.log1p(-unknown), np.log(unknown))
        return log_prob

    def log_prob_of_each(self, inputs):
        """Log-probability (n, K) of each label of the first column, known ones, in nats.

        Parameters
        ----------
        inputs : ndarray of shape (n, q)
        """
        nothing = np.zeros((len(inputs), len(self.n_categories_)))
        _, inputs = self._checked(nothing, inputs, lowest=0)
        return log_softmax(self._logits(self._matrices()[0], nothing[:, :0], inputs), axis=1)

    def sample(self, n_samples, random_state, inputs=None):
        """Draw codes, unknown labels excepted.

        Parameters
        ----------
        n_samples : int
        random_state : int or numpy Generator
        inputs : ndarray of shape (n_samples, q)
            As many as in `fit`; None where there were none.

        Returns
        -------
        codes : ndarray of shape (n_samples, m), int64

        Raises
        ------
        ValueError
            If the inputs are not of the shape of those in `fit`, or of `n_samples` rows.
        """
        codes = np.zeros((n_samples, len(self.n_categories_)), dtype=np.int64)
        _, inputs = self._checked(codes, inputs, lowest=0)
        uniform = np.random.default_rng(random_state).random(codes.shape)
        matrices = self._matrices()
        for part in self._parts(n_samples):
            for j, matrix in enumerate(matrices):
                log_known = log_softmax(self._logits(matrix, codes[part, :j], inputs[part]), axis=1)
                codes[part, j] = drawn_index(np.exp(log_known), uniform[part, j])
        return codes

    def _checked(self, codes, inputs, lowest):
        """Codes as integers, and inputs, none as no columns of them."""
        codes = np.asarray(codes).astype(np.int64)
        for j, K in enumerate(self.n_categories_):
            wrong = codes[(codes[:, j] < lowest) | (codes[:, j] >= K), j]
            if len(wrong):
                raise ValueError(
                    f"categorical column {j}: the code {wrong[0]} must be within "
                    f"[{lowest}, {K - 1}]."
                )
        inputs = np.empty((len(codes), 0)) if inputs is None else inputs
        shape = len(codes), self.n_inputs_
        if inputs.shape != shape:
            raise ValueError(f"inputs of the shape {inputs.shape} must be of the shape {shape}.")
        return codes, np.clip(inputs, -LARGEST_INPUT, LARGEST_INPUT)

    def _shapes(self):
        before = self.n_inputs_ + 1
        for K in self.n_categories_.tolist():
            yield K, before
            before += K

    def _matrices(self):
        shapes = list(self._shapes())
        ends = np.cumsum([0] + [rows * columns for rows, columns in shapes])
        parts = [self.coefficients_[start:end] for start, end in pairwise(ends)]
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _parts(self, n):
        return gen_batches(n, max(NUMBERS_AT_ONCE // int(self.n_categories_.max()), 1))

    def _logits(self, matrix, codes_before, inputs):
        """Logarithms of the labels' weights, (n, K)."""
        logits = np.repeat(matrix[None, :, 0], len(inputs), axis=0)
        # Not by a matrix product, whose rounding depends on the number of rows.
        for number, slope in zip(inputs.T, matrix[:, 1:].T, strict=False):
            logits += number[:, None] * slope
        start = 1 + self.n_inputs_
        for code, K in zip(codes_before.T, self.n_categories_, strict=False):
            nothing = np.zeros(len(matrix))  # which is found at -1
            logits += np.vstack([matrix[:, start : start + K].T, nothing])[code]
            start += K
        return logits


def _joined(codes, inputs):
    """The distinct rows, in ascending order, and how often each is there."""
    rows, m = np.concatenate([codes, inputs], axis=1), codes.shape[1]
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    return distinct[:, :m].astype(np.int64), distinct[:, m:], counts.astype(np.float64)


def _features(codes, n_categories, inputs):
    """Inputs next to one-hot codes, as a sparse matrix."""
    if codes.shape[1] == 0:
        return sparse.csr_matrix(inputs)
    labels = [np.arange(K) for K in n_categories[: codes.shape[1]]]
    # Sparse, whatever scikit-learn's global setting of transform_output is.
    encoder = OneHotEncoder(categories=labels).set_output(transform="default")
    one_hot = encoder.fit_transform(codes)
    return sparse.hstack([inputs, one_hot], format="csr")


def _fit_column(codes, n_categories, features, weight):
    """Matrix (K, 1 + features) of constants and slopes."""
    if features.shape[1] == 0 or n_categories == 1:
        matrix = np.zeros((n_categories, 1 + features.shape[1]))
        matrix[:, 0] = np.log(np.bincount(codes, weight, minlength=n_categories) + PRIOR_ROWS)
        return matrix
    freedom = USUAL_FREEDOM
    if len(codes) * n_categories <= NUMBERS_TO_CHOOSE:
        freedom = _likeliest_freedom(codes, n_categories, features, weight)
    return _regression(codes, n_categories, features, weight, freedom, tol=1e-6)


def _likeliest_freedom(codes, n_categories, features, weight):
    folds = _folds(weight)

    def held_out_log_likelihood(freedom):
        total = 0.0
        for held_out in folds:
            train = weight - held_out
            matrix = _regression(codes, n_categories, features, train, freedom, tol=1e-4)
            logits = features @ matrix[:, 1:].T + matrix[:, 0]
            log_prob = log_softmax(logits, axis=1)[np.arange(len(codes)), codes]
            total += held_out @ log_prob
        return total

    return max(FREEDOMS, key=held_out_log_likelihood)


def _folds(weight):
    """The weights divided among folds, unit by unit, as those of repeated rows would be."""
    start = np.random.default_rng(0).integers(FOLDS, size=len(weight))
    whole = np.floor(weight / FOLDS)
    rest = weight - FOLDS * whole
    return [whole + np.clip(rest - (fold - start) % FOLDS, 0, 1) for fold in range(FOLDS)]


def _regression(codes, n_categories, features, weight, freedom, tol):
    # Half a row of each label, about which nothing else is known; in two parts, or scikit-learn
    # would take many labels of few rows for numbers, and warn.
    nothing = sparse.csr_matrix((2 * n_categories, features.shape[1]))
    regression = LogisticRegression(C=freedom, tol=tol, max_iter=1000).fit(
        sparse.vstack([features, nothing], format="csr"),
        np.r_[codes, np.arange(n_categories), np.arange(n_categories)],
        sample_weight=np.r_[weight, np.full(2 * n_categories, PRIOR_ROWS / 2)],
    )
    matrix = np.zeros((n_categories, 1 + features.shape[1]))
    # Of two labels it has one row: that of the second against the first.
    rows = slice(1, 2) if n_categories == 2 else slice(None)
    matrix[rows, 0], matrix[rows, 1:] = regression.intercept_, regression.coef_
    return matrix
