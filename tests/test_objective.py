"""Equation (8) by hand, and its closed-form solution for a normal distribution."""

import math

import numpy as np
import pytest
import torch
from reference import make_velocity
from scipy.special import ndtri

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import exact
from sklearn_jko.flow import JKOBlock
from sklearn_jko.solvers import SOLVERS
from sklearn_jko.training.objective import jko_terms

X0 = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
X1 = torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 4.0]], dtype=torch.float64)
LOG_DET = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)


def test_terms_by_hand():
    terms = jko_terms(StandardNormal(), X0, X1, LOG_DET, h=0.25)
    assert float(terms.potential) == pytest.approx((2 + 0 + 17) / 6 + math.log(2 * math.pi))
    assert float(terms.log_det) == pytest.approx(3)
    assert float(terms.transport) == pytest.approx((1 + 4 + 9) / 3 / 0.5)
    assert float(terms.total) == pytest.approx(19 / 6 + math.log(2 * math.pi) - 3 + 28 / 3)


def test_free_block_pays_no_transport():
    terms = jko_terms(StandardNormal(), X0, X1, LOG_DET, h=math.inf)
    assert float(terms.transport) == 0
    assert float(terms.total) == float(terms.potential - terms.log_det)


def jko_step_of_a_normal(m, s, h):
    """Mean and scale of the affine map of one step from N(m, s^2) to N(0, 1)."""
    quadratic = [s**2 * (1 + 1 / h), -(s**2) / h, -1.0]
    (scale,) = (root for root in np.roots(quadratic) if root > 0)
    return m / (1 + h), scale


@pytest.mark.parametrize("h", [0.1, 0.5, 2.0, math.inf])
@pytest.mark.parametrize(("m", "s"), [(1.5, 0.5), (-1.0, 2.0)])
def test_one_step_from_a_normal_to_the_standard_normal(h, m, s):
    z = ndtri((np.arange(50) + 0.5) / 50)
    x = torch.from_numpy(m + s * z / z.std())[:, None]
    velocity = make_velocity(("linear", ()), 1, size=0.0)
    block, base = JKOBlock(velocity), StandardNormal()
    optimizer = torch.optim.LBFGS(
        block.parameters(), max_iter=100, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        y, log_det = block(x, SOLVERS["rk4"], 16, exact)
        total = jko_terms(base, x, y, log_det, h).total
        total.backward()
        return total

    optimizer.step(loss)
    y = block(x, SOLVERS["rk4"], 16)[0].detach()
    mean, scale = jko_step_of_a_normal(m, s, h)
    assert float(y.mean()) == pytest.approx(mean, abs=1e-4)
    assert float(y.std(correction=0)) / s == pytest.approx(scale, abs=1e-4)
