"""The outlier detector among PyOD's.

The class below is all that PyOD asks for: scores that grow with abnormality, and its own rule for
the threshold. Copy it; it needs pyod and sklearn_jko. Run as a script, this file compares it with
PyOD's isolation forest on malignant rows of scikit-learn's breast cancer data among benign ones.

References
----------
Zhao, Nasrullah and Li (2019), PyOD: A Python toolbox for scalable outlier detection, JMLR 20.
"""

import warnings

import numpy as np
from pyod.models.base import BaseDetector
from pyod.models.iforest import IForest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.utils.validation import check_is_fitted

from sklearn_jko import JKOFlowOutlierDetector

__all__ = ["JKOFlow"]


class JKOFlow(BaseDetector):
    """JKOFlowOutlierDetector with PyOD's signs: larger scores and label 1 for outliers."""

    def __init__(self, contamination=0.1, density=None, random_state=None):
        super().__init__(contamination=contamination)
        self.density = density
        self.random_state = random_state

    def fit(self, X, y=None):
        self._set_n_classes(y)
        detector = JKOFlowOutlierDetector(density=self.density, random_state=self.random_state)
        self.detector_ = detector.fit(X)
        self.decision_scores_ = self.decision_function(X)
        self._process_decision_scores()
        return self

    def decision_function(self, X):
        check_is_fitted(self, "detector_")
        return -self.detector_.score_samples(X)


def main():
    warnings.simplefilter("ignore", UserWarning)  # of the columns' ties
    data = load_breast_cancer()
    X, malignant = data.data[:, :10], data.target == 0
    rows = np.r_[np.flatnonzero(~malignant), np.flatnonzero(malignant)[:40]]
    X, malignant = X[rows], malignant[rows]
    for detector in (JKOFlow(random_state=0), IForest(random_state=0)):
        detector.fit(X)
        area = roc_auc_score(malignant, detector.decision_scores_)
        found = malignant[detector.labels_ == 1].mean()
        name = type(detector).__name__
        print(f"{name:8} ROC AUC {area:.3f}, malignant among the outliers {found:.2f}")


if __name__ == "__main__":
    main()
