"""Plot of the scores by which outliers are found."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sklearn_jko.plotting._axes import INLIER, OUTLIER, label_axis, number, single_axes, with_margin
from sklearn_jko.rows.table_types import without_masks_or_arrow
from sklearn_jko.statistics.columns import bounded

__all__ = ["OutlierDisplay"]

N_BINS = 50
# In units of the range of the middle 80 % of the (inlier) scores.
REACH = 5.0
# Fewer outliers are drawn as ticks: as a share of so few, one or two would be the tallest bar.
MIN_OUTLIERS_FOR_BARS = 10


class OutlierDisplay:
    """Plot of the distribution of scores, with the threshold below which rows are outliers.

    Scores far away from nearly all others are counted in the outermost bins, and the legend gives
    their number; it also gives a threshold that far away. Fewer than ten outliers are shown
    individually, as ticks.

    It is recommended to create the display with `from_estimator`.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Scores of the rows; the higher, the more normal.
    offset : float or None
        The threshold, if there is one.
    is_outlier : ndarray of bool of shape (n_samples,) or None
        Which rows are outliers, if known.

    Attributes
    ----------
    ax_ : Axes
        Axes of the plot.
    figure_ : Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn_jko import OutlierDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> forest = IsolationForest(random_state=0).fit(X[y == 1])
    >>> display = OutlierDisplay.from_estimator(forest, X, y == 0)
    >>> display.ax_.get_ylabel()
    '% of group'
    """

    def __init__(self, *, scores, offset=None, is_outlier=None):
        self.scores = scores
        self.offset = offset
        self.is_outlier = is_outlier

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None):
        """Score rows by a fitted estimator, and plot the distribution of the scores.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator with `score_samples`. The threshold is its `offset_` or, for a
            pipeline or a search, that of the detector inside, if there is one.
        X : array-like of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,), default=None
            True labels of the rows: 1 for inliers and -1 for outliers, as in `predict` of
            scikit-learn's detectors, or booleans that are True for outliers.
        ax : Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : OutlierDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator has no `score_samples`.
        ValueError
            If y holds other values, or not one per row.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if not hasattr(estimator, "score_samples"):
            raise TypeError(
                f"{type(estimator).__name__} has no score_samples; pass a density estimator or an "
                "outlier detector that has it, such as JKOFlowDensity or IsolationForest."
            )
        is_outlier = None if y is None else _is_outlier(y)
        scores = bounded(np.asarray(estimator.score_samples(X), dtype=np.float64))
        if y is not None:
            check_consistent_length(scores, is_outlier)
        offset = _threshold(estimator, X, scores)
        return cls(scores=scores, offset=offset, is_outlier=is_outlier).plot(ax=ax)

    def plot(self, ax=None):
        """Plot the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : OutlierDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        self.ax_ = single_axes(ax)
        self.figure_ = self.ax_.figure
        low, high = limits = self._limits()
        for k, (scores, colour, label) in enumerate(self._groups()):
            n_beyond = int(((scores < low) | (scores > high)).sum())
            label += f", {n_beyond:,} beyond the axis" if n_beyond else ""
            is_few = k > 0 and len(scores) < MIN_OUTLIERS_FOR_BARS
            draw = self._draw_ticks if is_few else self._draw_bars
            draw(scores.clip(low, high), limits, color=colour, label=label)
        if self.offset is not None:
            self._draw_threshold(limits)
        # Room for the legend above the bars.
        self.ax_.set(xlim=limits, ylim=(0, 1.25 * self.ax_.dataLim.ymax))
        label_axis(self.ax_.xaxis, "score (higher: more normal)")
        label_axis(self.ax_.yaxis, "% of rows" if self.is_outlier is None else "% of group")
        self.ax_.legend()
        return self

    def _draw_bars(self, scores, limits, color, label):
        edges = np.linspace(*limits, N_BINS + 1)
        share = 100 * np.histogram(scores, edges)[0] / len(scores)
        self.ax_.stairs(share, edges, fill=True, color=color, alpha=0.5, label=label)
        self.ax_.stairs(share, edges, color=color, lw=1)

    def _draw_ticks(self, scores, limits, **style):
        low_in_the_axes = {"transform": self.ax_.get_xaxis_transform(), "ms": 14, "mew": 2}
        self.ax_.plot(
            scores, np.full(len(scores), 0.03), "|", clip_on=False, **low_in_the_axes, **style
        )

    def _draw_threshold(self, limits):
        style = {"ls": "--", "color": "black", "lw": 1.2}
        label = f"threshold {number(self.offset)}"
        if limits[0] <= self.offset <= limits[1]:
            self.ax_.axvline(self.offset, label=label, **style)
        else:
            self.ax_.plot([], [], label=f"{label}, off the axis", **style)

    def _groups(self):
        """Scores, colour and label of each group that has rows."""
        if self.is_outlier is None:
            groups = [(self.scores, INLIER, "row")]
        else:
            groups = [
                (self.scores[~self.is_outlier], INLIER, "inlier"),
                (self.scores[self.is_outlier], OUTLIER, "outlier"),
            ]
        return [
            (s, colour, f"{len(s):,} {name}" if len(s) == 1 else f"{len(s):,} {name}s")
            for s, colour, name in groups
            if len(s)
        ]

    def _limits(self):
        """A range of the threshold and all scores, except those far away from the inliers'."""
        scores, _, _ = self._groups()[0]
        low, middle, high = np.quantile(scores, [0.1, 0.5, 0.9])
        reach = REACH * (high - low)
        near = self.scores[np.abs(self.scores - middle) <= reach]
        if self.offset is not None and abs(self.offset - middle) <= 2 * reach:
            near = np.append(near, self.offset)
        return with_margin(near.min(), near.max())


def _threshold(estimator, X, scores):
    """The score below which rows are outliers, or None if the estimator has no such threshold."""
    offset = getattr(estimator, "offset_", None)
    if offset is not None:
        return float(np.squeeze(offset))
    if not hasattr(estimator, "decision_function"):
        return None
    # A pipeline or a search hides the attribute, but not that of all scikit-learn's detectors
    # decision_function = score_samples - offset_; rounding is least for small scores.
    nearest = np.argmin(np.abs(scores))
    return float(scores[nearest] - np.ravel(estimator.decision_function(X))[nearest])


def _is_outlier(y):
    # As objects: pandas' nullable booleans would become floats.
    y = column_or_1d(np.asarray(without_masks_or_arrow(y), dtype=object))
    if all(isinstance(label, bool | np.bool_) for label in y):
        return y.astype(bool)
    labels = list(dict.fromkeys(y.tolist()))
    if set(labels) <= {-1, 1}:
        return y == -1
    raise ValueError(
        "y must hold 1 for inliers and -1 for outliers, or booleans that are True for outliers; "
        f"got {labels[:5]!r}. Pass y == 1 if 1 stands for outliers."
    )
