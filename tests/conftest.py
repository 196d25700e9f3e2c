"""Small data and small fitted models, shared."""

import multiprocessing
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from sklearn_jko import JKOFlowDensity

if "PYTEST_XDIST_WORKER" in os.environ:
    # Small models gain nothing by a second thread, and workers would take each other's.
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's and scikit-learn's, for good: nothing undoes it

# Processes that tests start are copies of one that has imported these, which torch does late too.
multiprocessing.set_forkserver_preload(["sklearn_jko", "torch._dynamo", "torch.distributed"])

# `pytest --hypothesis-profile=long` looks further, at other tables each time.
COMMON = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", COMMON, max_examples=25, derandomize=True)
settings.register_profile("long", COMMON, max_examples=1000, print_blob=True)
settings.load_profile("ci")

SMALL = {"hidden_layer_sizes": (16, 16), "max_iter": 60, "max_blocks": 3, "random_state": 0}


def two_moons(n, seed):
    """Rows on two noisy half circles, in units far from 1."""
    rng = np.random.default_rng(seed)
    angle, side = rng.uniform(0, np.pi, n), rng.integers(2, size=n)
    X = np.c_[np.cos(angle) + side, (1 - 2 * side) * (np.sin(angle) - 0.25)]
    return (X + 0.1 * rng.normal(size=X.shape)) * [3.0, 0.02] + [1e3, -5.0]


@pytest.fixture(scope="session")
def moons():
    """800 training rows and 400 test rows."""
    return two_moons(800, 0), two_moons(400, 1)


@pytest.fixture(scope="session")
def fitted(moons):
    """A small flow fitted to the moons."""
    return JKOFlowDensity(scaling="whiten", **SMALL).fit(moons[0])
