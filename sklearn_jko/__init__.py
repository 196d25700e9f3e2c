"""Normalizing flows trained in JKO steps, behind scikit-learn's interface."""

from sklearn_jko.estimator import JKOFlowDensity

__all__ = ["JKOFlowDensity", "__version__"]

__version__ = "0.1.0"
