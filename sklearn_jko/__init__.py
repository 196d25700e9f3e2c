"""Normalizing flows trained in JKO steps, behind scikit-learn's interface."""

from sklearn_jko._version import __version__
from sklearn_jko.estimator import JKOFlowDensity
from sklearn_jko.persistence import SavedModelError

__all__ = ["JKOFlowDensity", "SavedModelError", "__version__"]
