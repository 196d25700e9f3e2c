"""Normalizing flows trained in JKO steps, behind scikit-learn's interface."""

from sklearn_jko._version import __version__
from sklearn_jko.estimator import JKOFlowDensity
from sklearn_jko.files.persistence import SavedModelError
from sklearn_jko.outlier import JKOFlowOutlierDetector
from sklearn_jko.plotting import (
    DensityDisplay,
    FlowTrajectoryDisplay,
    OutlierDisplay,
    TrainingHistoryDisplay,
)

__all__ = [
    "DensityDisplay",
    "FlowTrajectoryDisplay",
    "JKOFlowDensity",
    "JKOFlowOutlierDetector",
    "OutlierDisplay",
    "SavedModelError",
    "TrainingHistoryDisplay",
    "__version__",
]
