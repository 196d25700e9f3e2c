"""The scaling of tables with columns that have bounds or are given."""

import numpy as np
from sklearn.linear_model import RidgeCV

from sklearn_jko.checks import check_ndarray
from sklearn_jko.columns.input_codes import InputCodes
from sklearn_jko.columns.label_whitening import LabelWhitening
from sklearn_jko.scaling import make_scaler
from sklearn_jko.scaling.bounds import Bounds
from sklearn_jko.scaling.chain import Chain
from sklearn_jko.scaling.standard import Standard
from sklearn_jko.scaling.whiten import Whiten
from sklearn_jko.statistics.columns import MAX_DEVIATIONS
from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["Conditional", "make_table_scaler"]

# Penalties of the regression per row.
PENALTIES = np.geomspace(1e-6, 1.0, 13)
MAX_ROWS = 20_000
# Fewer rows are left without a regression.
MIN_ROWS = 4


def make_table_scaler(name, roles, whitens, noise_width=0.0, share=1.0):
    """An unfitted scaler for tables whose columns have roles.

    Parameters
    ----------
    name : str
        See `sklearn_jko.scaling.make_scaler`.
    roles : Roles or None
        See `sklearn_jko.columns.roles`. If modelled columns have bounds, `Bounds` comes first; if
        there are inputs, `Conditional` contains the others.
    whitens : bool
        Whether `Conditional` may mix columns: not if the flow has a structure.
    noise_width : ndarray of shape (d,) or float, default=0
        Width of the noise in the rows, which `Bounds` needs.
    share : float, default=1
        See `sklearn_jko.scaling.make_scaler`.

    Returns
    -------
    scaler : scaler

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    scaler = make_scaler(name, share)
    if roles is None:
        return scaler
    noise_width = np.broadcast_to(noise_width, roles.low.shape)
    low, high, noise_width = (v[roles.modelled] for v in (roles.low, roles.high, noise_width))
    if np.isfinite([low, high]).any():
        scaler = Chain([Bounds(low, high, noise_width), scaler])
    inputs = roles.inputs, roles.n_labels
    return Conditional(scaler, *inputs, whitens) if len(roles.inputs) else scaler


class Conditional:
    """Scale the modelled columns, and subtract what the inputs predict of them.

    After a scaler of their own the modelled columns are standardised, a linear regression on the
    inputs is subtracted, and the residual is whitened, then again within the labels of each
    category (`LabelWhitening`). So a normal density of the result is a conditional normal density
    whose mean depends on the inputs, and whose covariance depends on the labels. Everything else is
    left to the flow, for which the codes of the inputs (`InputCodes`) are appended to each row.

    Unlike with other scalers, ``transform(X)`` has more columns than X if a category is given, and
    ``inverse_transform`` returns the modelled columns only.

    Parameters
    ----------
    scaler : scaler
        Scaler of the modelled columns.
    inputs : ndarray of shape (g,), int
        Indices of the input columns; the others are modelled.
    n_labels : ndarray of shape (g,), int
        How many labels each input has; 0 for a column of numbers.
    whitens : bool, default=True
        Whether the residual is whitened, or only standardised.

    Attributes
    ----------
    slopes_ : ndarray of shape (n_codes, p)
        Slopes of a ridge regression, with the penalty of the smallest leave-one-out error.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.scaling.standard import Standard
    >>> from sklearn_jko.table_scaler import Conditional
    >>> rng = np.random.default_rng(0)
    >>> given = rng.normal(size=1000)
    >>> X = np.c_[3 * given + rng.normal(size=1000), given]
    >>> scaler = Conditional(Standard(), inputs=np.array([1]), n_labels=np.array([0])).fit(X)
    >>> Z, log_det = scaler.transform(X)
    >>> bool(abs(np.corrcoef(Z.T)[0, 1]) < 0.01)
    True
    """

    learned = ("slopes_",)

    def __init__(self, scaler, inputs, n_labels, whitens=True):
        self.scaler, self.inputs = scaler, inputs
        self.codes, self.standard = InputCodes(n_labels), Standard()
        self.residual = Whiten() if whitens else Standard()
        has_labels = (n_labels > 0) & whitens
        self.by_label = [LabelWhitening(n) for n in n_labels[has_labels].tolist()]
        self.parts = [scaler, self.codes, self.standard, self.residual, *self.by_label]

    def fit(self, X):
        modelled, inputs = self._split(X)
        codes = self.codes.fit(inputs).transform(inputs)
        Z, _ = self.scaler.fit(modelled).transform(modelled)
        standard, _ = self.standard.fit(Z).transform(Z)
        self.slopes_ = _ridge_slopes(codes, standard.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS))
        residual = standard - codes @ self.slopes_
        white, _ = self.residual.fit(residual).transform(residual)
        for whitening, labels in self._by_label(codes):
            white, _ = whitening.fit(white, labels).transform(white, labels)
        return self

    def check(self, n_features):
        p = n_features - len(self.inputs)
        self.codes.check()
        for scaler in (self.scaler, self.standard, self.residual, *self.by_label):
            scaler.check(p)
        check_ndarray("slopes_", self.slopes_, (self.codes.n_codes, p))

    def transform(self, X):
        modelled, inputs = self._split(X)
        codes = self.codes.transform(inputs)
        Z, log_det = self.scaler.transform(modelled)
        standard, of_standard = self.standard.transform(Z)
        white, of_residual = self.residual.transform(standard - codes @ self.slopes_)
        log_det = log_det + of_standard + of_residual
        for whitening, labels in self._by_label(codes):
            white, step = whitening.transform(white, labels)
            log_det += step
        return np.hstack([white, codes]), log_det

    def inverse_transform(self, Z):
        white, codes = np.split(Z, [Z.shape[1] - self.codes.n_codes], axis=1)
        for whitening, labels in reversed(self._by_label(codes)):
            white = whitening.inverse_transform(white, labels)
        standard = self.residual.inverse_transform(white) + codes @ self.slopes_
        return self.scaler.inverse_transform(self.standard.inverse_transform(standard))

    def _by_label(self, codes):
        """The whitening of each category, paired with the labels of the rows."""
        labels = self.codes.labels(codes).T[: len(self.by_label)]
        return [*zip(self.by_label, labels, strict=True)]

    def _split(self, X):
        return np.delete(X, self.inputs, axis=1), X[:, self.inputs]


def _ridge_slopes(codes, targets):
    if len(codes) < MIN_ROWS:
        return np.zeros((codes.shape[1], targets.shape[1]))
    codes, targets = (evenly_spread(part, MAX_ROWS) for part in (codes, targets))
    ridge = RidgeCV(len(codes) * PENALTIES).fit(codes, targets)
    return np.ascontiguousarray(ridge.coef_.reshape(targets.shape[1], -1).T)
