"""Counts that the README gives."""

import re
from pathlib import Path

import pytest
import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_sklearn_checks import DENSITY, DETECTOR

README = Path(__file__).resolve().parent.parent / "README.md"
COUNTS = (
    r"scikit-learn ([\d.]+)'s estimator checks pass for both classes: (\d+) for `JKOFlowDensity` "
    r"and (\d+) for `JKOFlowOutlierDetector`"
)


def test_as_many_checks_of_scikit_learn_run_as_the_readme_says():
    version, *counts = re.search(COUNTS, " ".join(README.read_text().split())).groups()
    if sklearn.__version__ != version:
        pytest.skip(f"the README counts the checks of scikit-learn {version}")
    found = [len(list(parametrize_with_checks([model]).args[1])) for model in (DENSITY, DETECTOR)]
    assert found == list(map(int, counts))
