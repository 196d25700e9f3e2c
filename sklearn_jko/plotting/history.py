"""Plot of a training, block by block."""

import itertools
import math

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sklearn_jko.checks import check_is_flow
from sklearn_jko.plotting._axes import MODEL, ROWS, axes_grid, label_axis
from sklearn_jko.training.flow_training import round_gains

__all__ = ["TrainingHistoryDisplay"]

# Up to so many blocks, over all rounds, have room for their numbers.
MAX_NUMBERED = 12
START = {"ls": "", "marker": "s", "ms": 6, "color": "0.4", "label": "scaling alone"}
KEPT = {"ls": "", "marker": "o", "ms": 7, "mec": "white", "color": MODEL, "label": "kept"}
DROPPED = {"ls": "", "marker": "X", "ms": 9, "mec": "white", "color": ROWS, "label": "dropped"}


class TrainingHistoryDisplay:
    """Plot of the held-out likelihood after each block tried, and of its movement of the rows.

    Each round of refinement starts from the data again, at the likelihood of the scaling alone.
    Dropped blocks are shown as crosses and hollow bars.

    It is recommended to create the display with `from_estimator`.

    Parameters
    ----------
    history : list of BlockRecord
        See `JKOFlowDensity.history_`.

    Attributes
    ----------
    axes_ : ndarray of Axes of shape (2,)
        Axes of the negative log-likelihood, in nats per row, and of the movement.
    figure_ : Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import JKOFlowDensity, TrainingHistoryDisplay
    >>> X = load_iris().data
    >>> density = JKOFlowDensity(random_state=0, max_iter=50).fit(X)
    >>> display = TrainingHistoryDisplay.from_estimator(density)
    >>> display.axes_[1].get_ylabel()
    'movement'
    """

    def __init__(self, *, history):
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Plot the training of a fitted flow.

        Parameters
        ----------
        estimator : JKOFlowDensity
            Fitted density.
        ax : Axes, default=None
            Axes whose area is divided into two panels. If None, a new figure is created.

        Returns
        -------
        display : TrainingHistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If the estimator is not a JKOFlowDensity.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_flow("estimator", estimator)
        return cls(history=estimator.history_).plot(ax=ax)

    def plot(self, ax=None):
        """Plot the display.

        Parameters
        ----------
        ax : Axes, default=None
            Axes whose area is divided into two panels. If None, a new figure is created.

        Returns
        -------
        display : TrainingHistoryDisplay
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        rounds = self._rounds()
        n_stops = len(self.history) + len(rounds)
        self.figure_, add = axes_grid(ax, 2, 1, (max(5.5, 0.5 * n_stops), 2.4))
        likelihood = add(0, 0)
        self.axes_ = np.array([likelihood, add(1, 0, sharex=likelihood)])
        start = 0
        for records, name in zip(rounds, self._round_names(), strict=True):
            self._plot_round(records, start)
            if len(rounds) > 1:
                self._name_round(name, start)
            start += len(records) + 1
        self._label()
        return self

    def _rounds(self):
        """The records of each round of training."""
        return [list(r) for _, r in itertools.groupby(self.history, lambda r: r.refinement)]

    def _round_names(self):
        rounds = self._rounds()
        names = ["training", *(f"refinement {records[0].refinement}" for records in rounds[1:])]
        if len(rounds) > 1 and not round_gains(rounds[-1], rounds[-2]):
            names[-1] += " (undone)"
        return names[: len(rounds)]

    @property
    def _is_short(self):
        return len(self.history) <= MAX_NUMBERED

    def _plot_round(self, records, start):
        """Draw a round, with the rows after the scaling alone at x = start."""
        likelihood, movement = self.axes_
        nll = [records[0].validation_nll + records[0].gain, *(r.validation_nll for r in records)]
        likelihood.plot(start + np.arange(len(nll)), nll, color=MODEL, lw=1.5, zorder=1)
        likelihood.plot(start, nll[0], **START)
        for x, record in enumerate(records, start + 1):
            likelihood.plot(x, record.validation_nll, **(KEPT if record.kept else DROPPED))
            fill = {"color": MODEL} if record.kept else {"fc": "none", "ec": ROWS, "hatch": "///"}
            bar = movement.bar(x, record.movement, width=0.6, **fill)
            if self._is_short:
                movement.bar_label(bar, fmt="%.2g", fontsize="small")

    def _name_round(self, name, start):
        movement = self.axes_[1]
        place = {"transform": movement.get_xaxis_transform(), "va": "top", "fontsize": "small"}
        movement.text(start - 0.4, 0.96, name, **place)
        if start > 0:
            for panel in self.axes_:
                panel.axvline(start - 0.5, color="0.6", lw=1, ls=":")

    def _label(self):
        likelihood, movement = self.axes_
        stops = self._stops()
        movement.set_xticks(range(len(stops)), stops, fontsize="small")
        movement.set_xlim(-0.6, max(len(stops), 1) - 0.4)
        movement.set_ylim(0, 1.35 * max((r.movement for r in self.history), default=0.0) or 1.0)
        movement.set_xlabel("block")
        likelihood.margins(y=0.15)
        likelihood.tick_params(labelbottom=False)
        label_axis(likelihood.yaxis, "held-out NLL (nats per row)", n_ticks=5, width=16)
        label_axis(movement.yaxis, "movement", n_ticks=5)
        if not self.history:
            likelihood.set_title("no block was trained", fontsize="medium")
            likelihood.set(xticks=[], yticks=[])
            movement.set(xticks=[], yticks=[])
        else:
            self._add_legend()
        self.figure_.align_ylabels(list(self.axes_))

    def _stops(self):
        """Tick label of each stop: 0 for the scaling alone, else the block and its step size."""
        stops = []
        for records in self._rounds():
            stops.append("0")
            for k, record in enumerate(records, 1):
                h = "∞" if math.isinf(record.h) else f"{record.h:.2g}"
                stops.append(f"{k}\nh={h}" if self._is_short else str(k))
        return stops

    def _add_legend(self):
        from matplotlib.lines import Line2D

        is_dropped = any(not record.kept for record in self.history)
        styles = [START, KEPT, DROPPED] if is_dropped else [START, KEPT]
        self.axes_[0].legend(
            handles=[Line2D([], [], **style) for style in styles],
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=len(styles),
            frameon=False,
            fontsize="small",
        )
