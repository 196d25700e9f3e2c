"""Plots of densities, of their training and of outliers, in the style of scikit-learn's displays.

A display computes in `from_estimator`, stores the result, and draws it in `plot`, on new axes or on
given ones. matplotlib is imported only when something is drawn.
"""

from sklearn_jko.plotting.density import DensityDisplay
from sklearn_jko.plotting.history import TrainingHistoryDisplay
from sklearn_jko.plotting.outlier import OutlierDisplay
from sklearn_jko.plotting.trajectory import FlowTrajectoryDisplay

__all__ = ["DensityDisplay", "FlowTrajectoryDisplay", "OutlierDisplay", "TrainingHistoryDisplay"]
