"""Pictures of densities, of their training and of outliers, as scikit-learn's displays draw them.

A display computes in `from_estimator`, keeps what it computed, and draws that in `plot`, on axes of
its own or on given ones. matplotlib is imported where something is drawn, not before.
"""

from sklearn_jko.plotting.density import DensityDisplay
from sklearn_jko.plotting.history import TrainingHistoryDisplay
from sklearn_jko.plotting.outlier import OutlierDisplay
from sklearn_jko.plotting.trajectory import FlowTrajectoryDisplay

__all__ = ["DensityDisplay", "FlowTrajectoryDisplay", "OutlierDisplay", "TrainingHistoryDisplay"]
