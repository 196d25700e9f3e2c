"""Measurements of a trained flow."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.diagnostics import measure_blocks, path_through_blocks


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
    with pytest.raises(TypeError, match=r"got JKOFlowOutlierDetector.*pass its `density_`"):
        measure(detector, moons[1])
    measure(detector.density_, moons[1])
