"""All of scikit-learn's own checks."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

# Small, because the checks fit more than a hundred times; everything else is the default.
SMALL = {"max_iter": 20, "max_blocks": 2, "hidden_layer_sizes": (8, 8)}

DENSITY = JKOFlowDensity(**SMALL)
DETECTOR = JKOFlowOutlierDetector(density=JKOFlowDensity("standard", **SMALL))


@parametrize_with_checks([DENSITY, DETECTOR])
def test_sklearn_check(estimator, check):
    check(estimator)
