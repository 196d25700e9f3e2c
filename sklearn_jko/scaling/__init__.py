"""Invertible scalers of rows, with their log-determinants.

By name: "none" (no change), "standard" (mean and deviation), "tails" (median and spread, far values
pulled in), "whiten" (uncorrelated), "power" (symmetric by a power), "marginal" (each column made
normal by a spline), "radial" (the distances from the origin made normal) and "mixture" (clusters).

A scaler is a class with three methods on finite float64 arrays, and what is needed to save it:

- ``fit(X) -> self``, X of shape (n, d), n >= 1;
- ``transform(X) -> (Z, log_det)``, Z (n, d) and log_det (n,): log |det dZ/dX| of each row, in nats;
- ``inverse_transform(Z) -> X`` of any Z (n, d), also far outside the training data;
- ``learned``, the names, which end in an underscore, of the few numpy arrays and floats that `fit`
  learns;
- ``check(n_features)``, which raises ValueError unless these match the number of columns, each
  other and their ranges: they may come from a file.

The result of a row does not depend on other rows. To add a scaler, write such a class in a file of
its own and enter it in `SCALERS`, in `SPLINES` too if it takes the ``share`` of `make_scaler`, and
its transform in torch in `sklearn_jko.export.torch_scalers`: the tests in `tests/test_scaling.py`
and `tests/test_export.py` run over the table. `bounds.Bounds` is a scaler too, without a name, as
its bounds must be passed (`sklearn_jko.table_scaler`).
"""

from sklearn_jko.scaling.chain import Chain
from sklearn_jko.scaling.identity import Identity
from sklearn_jko.scaling.marginal import Marginal
from sklearn_jko.scaling.mixture import Mixture
from sklearn_jko.scaling.power import Power
from sklearn_jko.scaling.radial import Radial
from sklearn_jko.scaling.standard import Standard
from sklearn_jko.scaling.tails import Tails
from sklearn_jko.scaling.whiten import Whiten

__all__ = ["SCALERS", "make_scaler"]

SCALERS = {
    "none": Identity,
    "standard": Standard,
    "whiten": Whiten,
    "tails": Tails,
    "power": Power,
    "marginal": Marginal,
    "radial": Radial,
    "mixture": Mixture,
}
# Scalers whose number of knots depends on the number of rows.
SPLINES = "marginal", "radial"


def make_scaler(name, share=1.0):
    """An unfitted scaler.

    Parameters
    ----------
    name : str
        A name in `SCALERS`, or several joined by "+" and applied from left to right. "radial"
        expects rows centred on the origin, so it usually follows "whiten".
    share : float, default=1
        Share of the rows in `fit` that add information: below 1 if copies express weights.

    Returns
    -------
    scaler : object with `fit`, `transform` and `inverse_transform`

    Raises
    ------
    ValueError
        If a name is not in the table.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.scaling import make_scaler
    >>> X = np.exp(np.random.default_rng(0).normal(size=(1000, 2)))
    >>> scaler = make_scaler("marginal+whiten").fit(X)
    >>> Z, log_det = scaler.transform(X)
    >>> bool(np.allclose(scaler.inverse_transform(Z), X))
    True
    """
    names = name.split("+") if isinstance(name, str) else [name]
    unknown = [part for part in names if part not in SCALERS]
    if unknown:
        allowed = ", ".join(f'"{known}"' for known in SCALERS)
        raise ValueError(
            f'unknown scaler {name!r}: use one of {allowed}, or several joined by "+"; a density '
            'also accepts "auto".'
        )
    scalers = [SCALERS[part](share) if part in SPLINES else SCALERS[part]() for part in names]
    return scalers[0] if len(scalers) == 1 else Chain(scalers)
