"""Fitted attributes that sum up a fit, against what they sum up."""

import numpy as np
import pytest
from conftest import SMALL, two_moons

from sklearn_jko import JKOFlowDensity, solver_steps
from sklearn_jko.flow import JKOFlow
from sklearn_jko.statistics.columns import median_and_spread

TINY = {**SMALL, "hidden_layer_sizes": (4,), "max_iter": 20, "max_blocks": 2}


@pytest.mark.parametrize("parameters", [{}, {"n_refinements": 1}, {"max_blocks": 0}])
def test_n_iter_counts_the_steps_of_all_blocks_tried(parameters):
    density = JKOFlowDensity("standard", **{**TINY, **parameters}).fit(two_moons(200, 0))
    tried = [record.n_iter for record in density.history_]
    assert density.n_iter_ == sum(tried)
    assert all(0 < n <= 20 for n in tried)
    assert len(tried) >= density.max_blocks


def relative_error_of_a_round_trip(density, X):
    centre, spread = median_and_spread(X)
    back = density.inverse_transform(density.transform(X))
    return (np.abs(back - X) / np.maximum(spread, np.abs(X - centre))).max()


def test_inversion_error_is_that_of_a_round_trip():
    X = two_moons(300, 0)
    density = JKOFlowDensity("standard", **TINY).fit(X)
    assert density.inversion_error_ == relative_error_of_a_round_trip(density, X) < 1e-12


def test_inversion_error_shows_that_rows_do_not_come_back(monkeypatch):
    inverse = JKOFlow.inverse
    monkeypatch.setattr(solver_steps, "STEPS", (1, 2))  # finer ones would be tried in vain
    monkeypatch.setattr(JKOFlow, "inverse", lambda *args: 1.001 * inverse(*args))
    X = two_moons(300, 0)
    density = JKOFlowDensity("standard", **TINY).fit(X)
    expected = relative_error_of_a_round_trip(density, X)
    assert density.inversion_error_ == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(1e-3, rel=0.5)
