"""Measurements of a trained flow."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from reference import make_velocity, normal_rows

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.diagnostics import calibrate_steps, measure_blocks, path_through_blocks
from sklearn_jko.flow import JKOBlock, JKOFlow


def make_flow(*sizes, solver="dop853"):
    """Blocks whose parameters are of these sizes: the larger, the stiffer."""
    blocks = [JKOBlock(make_velocity(("mlp", (7, 5)), 2, k, size)) for k, size in enumerate(sizes)]
    return JKOFlow(blocks, solver=solver)


@torch.no_grad()
@pytest.mark.parametrize("solver", ["dop853", "rk4"])
def test_each_block_gets_the_steps_it_needs(solver):
    flow, x = make_flow(0.1, 1.5, 0.3, solver=solver), normal_rows(150, 2)
    n_steps, error, round_trip = calibrate_steps(flow, x, 1e-3)
    easy, stiff, moderate = n_steps
    assert easy < stiff
    assert moderate < stiff
    assert error <= 0.5e-3
    true = flow.log_prob(x, 64)
    assert (flow.log_prob(x, n_steps) - true).abs().max() < 1e-3
    back = flow.inverse(flow.transform(x, n_steps), n_steps)
    assert torch.equal(back, round_trip)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-6)


def test_what_cannot_be_solved_gets_the_finest_steps():
    n_steps, error, _ = calibrate_steps(
        make_flow(0.1, 50.0, solver="midpoint"), normal_rows(9, 2), 1e-3
    )
    assert n_steps.tolist() == [64, 64]
    assert error > 1e-3


def test_flow_without_blocks_has_no_error():
    x = normal_rows(20, 2)
    n_steps, error, round_trip = calibrate_steps(make_flow(), x, 1e-3)
    assert len(n_steps) == 0
    assert error == 0
    assert torch.equal(round_trip, x)


def test_measures_of_blocks_are_those_of_the_flow(fitted, moons):
    _, X = moons
    measures, path = measure_blocks(fitted, X), path_through_blocks(fitted, X)
    assert path.shape == (fitted.n_blocks_ + 1, *X.shape)
    np.testing.assert_array_equal(path[0], fitted.scaler_.transform(X)[0])
    np.testing.assert_allclose(path[-1], fitted.transform(X))
    assert measures.nll[-1] == pytest.approx(-fitted.score_samples(X).mean())
    alone = copy.deepcopy(fitted)
    alone.flow_.blocks, alone.flow_.n_steps = alone.flow_.blocks[:1], alone.flow_.n_steps[:1]
    assert measures.nll[1] == pytest.approx(-alone.score_samples(X).mean())
    kept = [record for record in fitted.history_ if record.kept]
    assert measures.movements == pytest.approx([record.movement for record in kept], rel=0.3)
    steps = [np.sqrt(np.mean(np.sum((b - a) ** 2, axis=1))) for a, b in itertools.pairwise(path)]
    assert measures.distances == pytest.approx(steps)
    assert {type(value) for values in measures for value in values} == {float}


def test_a_warning_points_at_the_line_that_measures():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=60), "label": rng.choice(["a", "b"], 60)})
    density = JKOFlowDensity("standard", columns="auto", condition=["label"], max_blocks=0).fit(X)
    with pytest.warns(UserWarning, match="were not seen in fit") as told:
        measure_blocks(density, X.assign(label="c"))
    assert {warning.filename for warning in told} == {__file__}


def test_measures_of_no_block_are_those_of_the_scaling(moons):
    density = JKOFlowDensity(scaling="whiten", max_blocks=0).fit(moons[0])
    measures = measure_blocks(density, moons[1])
    assert measures.distances == measures.movements == []
    assert measures.nll == pytest.approx([-density.score_samples(moons[1]).mean()])


@pytest.mark.parametrize("measure", [measure_blocks, path_through_blocks])
def test_a_detector_is_refused_with_the_remedy(measure, moons):
    detector = JKOFlowOutlierDetector(density=JKOFlowDensity("whiten", max_blocks=0))
    detector.fit(moons[0])
    with pytest.raises(TypeError, match=r"got JKOFlowOutlierDetector.*give `density_`"):
        measure(detector, moons[1])
    measure(detector.density_, moons[1])


def test_what_ends_in_nothing_is_an_error():
    class Broken(JKOFlow):
        def log_prob(self, x, n_steps=None):
            return x.new_full((len(x),), np.nan)

    n_steps, error, _ = calibrate_steps(Broken(make_flow(0.1).blocks), normal_rows(9, 2), 1e-3)
    assert n_steps.tolist() == [64]
    assert error > 1e300
