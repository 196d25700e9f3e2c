"""Scikit-learn's callbacks, which its version 1.9 brings."""

import numpy as np
import pytest
from conftest import SMALL
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 brings callbacks")


def log_likelihood(estimator, X, y):
    return estimator.score(X)


@pytest.fixture
def estimator():
    return JKOFlowDensity("standard", **{**SMALL, "max_iter": 30})


class Recorder:
    """Callback that counts tasks by name, and can end a fit after a block."""

    def __init__(self, stops=False):
        self.begun, self.ended, self.stops = [], [], stops

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)
        return self.stops and context.task_name == "block"


def test_a_block_is_a_task_and_so_is_each_evaluation(moons, estimator):
    recorder = Recorder()
    estimator.set_callbacks(recorder).fit(moons[0])
    assert recorder.begun.count("block") == len(estimator.history_)
    assert recorder.begun.count("evaluation") >= 10 * len(estimator.history_)
    assert sorted(recorder.begun) == sorted(recorder.ended)
    assert recorder.begun[0] == recorder.ended[-1] == "fit"


def test_callbacks_of_a_detector_follow_its_density(moons, estimator):
    recorder = Recorder()
    recorder.max_propagation_depth = None  # to whatever depth
    detector = JKOFlowOutlierDetector(density=estimator, random_state=0)
    plain = detector.fit(moons[0]).score_samples(moons[1])
    detector.set_callbacks(recorder).fit(moons[0])
    np.testing.assert_array_equal(detector.score_samples(moons[1]), plain)
    assert recorder.begun.count("block") == len(detector.density_.history_)
    assert sorted(recorder.begun) == sorted(recorder.ended)
    assert recorder.begun[0] == recorder.ended[-1] == "fit"


def test_callbacks_change_nothing(moons, estimator):
    plain = estimator.fit(moons[0]).score_samples(moons[1])
    watched = estimator.set_callbacks(Recorder()).fit(moons[0])
    np.testing.assert_array_equal(watched.score_samples(moons[1]), plain)


def test_a_callback_may_end_the_fit(moons, estimator):
    estimator.set_callbacks(Recorder(stops=True)).fit(moons[0])
    assert len(estimator.history_) == 1
    assert np.isfinite(estimator.score(moons[1]))


def test_scoring_monitor_sees_the_likelihood_rise(moons, estimator):
    monitor = callback.ScoringMonitor(scoring={"log-likelihood": log_likelihood})
    estimator.set_callbacks(monitor).fit(moons[0])
    logs = monitor.get_logs().data_as_pandas
    blocks = logs[logs["task_name"] == "block"]["log-likelihood"]
    assert len(blocks) == len(estimator.history_)
    assert blocks.iloc[-1] > blocks.iloc[0]
    (whole,) = logs[logs["task_name"] == "fit"]["log-likelihood"]
    assert whole == pytest.approx(estimator.score(moons[0]))
    assert whole == pytest.approx(blocks.iloc[-1], abs=1e-2 * len(moons[0]))


def test_search_over_a_pipeline_with_two_workers_and_a_progress_bar(estimator, capsys):
    X = load_iris(as_frame=True).data
    pipeline = make_pipeline(StandardScaler(), estimator).set_output(transform="pandas")
    search = GridSearchCV(
        pipeline, {"jkoflowdensity__max_blocks": [0, 2]}, cv=3, n_jobs=2, error_score="raise"
    )
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None))
    search.fit(X)
    shown = capsys.readouterr().out
    assert "JKOFlowDensity - block #1" in shown
    assert "100%" in shown
    assert search.best_params_ == {"jkoflowdensity__max_blocks": 2}
    assert np.isfinite(search.score(X))
    assert list(search.best_estimator_[-1].feature_names_in_) == list(X.columns)
