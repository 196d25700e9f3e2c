"""What the scores promise, checked from outside on real tables by the public methods alone."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import datasets

from sklearn_jko import JKOFlowDensity

TABLES = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
}
SETTINGS = {"hidden_layer_sizes": (32, 32), "max_iter": 60, "max_blocks": 3, "random_state": 0}
# By "auto" a mixture of clusters, which leaves nothing to a block.
SCALINGS = {"wine": "marginal", "digits": "marginal"}
N_ROWS = 50


@pytest.fixture(scope="module", params=TABLES)
def fitted(request):
    """A flow and rows at which it is measured: the data's own, with the noise of the training."""
    X = TABLES[request.param]().data.astype(float)
    model = JKOFlowDensity(SCALINGS.get(request.param, "auto"), **SETTINGS).fit(X)
    rng = np.random.default_rng(0)
    rows = X[rng.permutation(len(X))[:N_ROWS]]
    return model, rows + model.noise_width_ * rng.uniform(-0.5, 0.5, rows.shape), X.std(axis=0)


def jacobians(function, rows, steps):
    """Central differences of a function of rows, (n, d, d)."""
    columns = [
        (function(rows + step) - function(rows - step)) / (2 * step.sum())
        for step in np.diag(steps)
    ]
    return np.stack(columns, axis=2)


@pytest.mark.filterwarnings("ignore:.*hold repeated values")
def test_log_density_is_that_of_the_change_of_variables(fitted):
    model, rows, scale = fitted
    assert model.n_blocks_ > 0
    steps = 1e-6 * np.where(scale > 0, scale, model.noise_width_)
    log_det = np.linalg.slogdet(jacobians(model.transform, rows, steps)).logabsdet
    expected = norm.logpdf(model.transform(rows)).sum(axis=1) + log_det
    np.testing.assert_allclose(model.score_samples(rows), expected, rtol=0, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*hold repeated values")
def test_rows_return_from_the_latent_space(fitted):
    model, rows, scale = fitted
    error = np.abs(model.inverse_transform(model.transform(rows)) - rows)
    error /= np.where(scale > 0, scale, model.noise_width_)
    assert np.median(error) < 1e-6
    assert error.max() < 1e-4
