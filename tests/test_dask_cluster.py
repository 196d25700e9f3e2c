"""Searches and scores on two workers of Dask, and what travels to them."""

import functools
import pickle

import dask.array as da
import joblib
import numpy as np
import pytest
from conftest import SMALL, two_moons
from dask import distributed
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_jko import JKOFlowDensity
from sklearn_jko.step_sizes import geometric_step

ROWS = two_moons(600, 4)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        local_directory=str(tmp_path_factory.mktemp("dask")),
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


def searched(backend):
    """Results of a search on that backend of joblib, with two workers."""
    model = JKOFlowDensity("whiten", **{**SMALL, "max_iter": 20, "max_blocks": 2})
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(model, {"weight_decay": [0.1, 1.0]}, cv=folds, n_jobs=2)
    with joblib.parallel_backend(backend):
        return search.fit(ROWS).cv_results_["mean_test_score"]


@pytest.mark.filterwarnings("ignore:max_blocks")
def test_a_search_finds_the_same_on_every_backend(client):
    alone = searched("sequential")
    for backend in ("loky", "dask"):
        np.testing.assert_allclose(searched(backend), alone, rtol=1e-3)


def test_two_workers_score_as_one_process(client, fitted):
    lazy = fitted.score_samples(da.from_array(ROWS, chunks=(100, 2)))
    np.testing.assert_allclose(lazy.compute(), fitted.score_samples(ROWS), rtol=0, atol=1e-12)


def test_a_worker_has_the_threads_that_it_was_given(client, fitted):
    """Neither a fit nor a score takes more of a worker than its one thread."""

    def threads(model):
        import torch

        before = torch.get_num_threads()
        model.fit(ROWS[:100]).score_samples(ROWS)
        return before, torch.get_num_threads()

    small = JKOFlowDensity("whiten", **{**SMALL, "max_iter": 2, "max_blocks": 1})
    assert client.submit(threads, small).result() == (1, 1)


@pytest.mark.filterwarnings("ignore:max_blocks")
def test_an_estimator_travels_small():
    """With the network that "auto" chooses for ten columns, in as many blocks as there may be."""
    rng = np.random.default_rng(0)
    X = 3 * rng.normal(size=(3500, 10))  # small steps from there: no block is dropped
    steps = functools.partial(geometric_step, first=0.02, growth=1.0)
    model = JKOFlowDensity("none", step_size=steps, max_iter=20, random_state=0).fit(X)
    assert model.flow_.blocks[0].velocity.hidden_layer_sizes == (128, 128)
    assert model.n_blocks_ == model.max_blocks
    assert len(pickle.dumps(model)) < 2e6
