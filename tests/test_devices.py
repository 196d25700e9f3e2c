"""Devices other than the CPU: a GPU where there is one, and everywhere a pretended one.

The pretended device computes on the CPU; it shows that nothing mixes tensors of two devices.
"""

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from options import tiny_options
from pretend_device import PRETEND, pretend_device

import sklearn_jko.estimator
import sklearn_jko.fitting.fit_input
from sklearn_jko import JKOFlowDensity
from sklearn_jko.export import as_torch_module
from sklearn_jko.flow import JKOBlock
from sklearn_jko.training.block_training import BlockTraining
from sklearn_jko.training.scaled_rows import Rows
from sklearn_jko.velocities import MLPVelocity

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
FEW = {"max_iter": 12, "max_blocks": 1, "hidden_layer_sizes": (8, 8), "random_state": 0}
PLAIN = {"scaling": "none", **FEW}
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(150, 4)) * [2, 1, 1, 0.2]
ROWS[:, 1] += ROWS[:, 0] ** 2
CODES = np.c_[ROWS, RNG.integers(3, size=len(ROWS))]
RING = np.eye(4)[[1, 2, 3, 0]] + np.eye(4)[[3, 0, 1, 2]]
MODELS = {
    "auto": {**PLAIN, "scaling": "auto"},
    "linear": {**PLAIN, "hidden_layer_sizes": ()},
    "deep": {**PLAIN, "hidden_layer_sizes": (8, 8, 8)},
    "adaptive": {**PLAIN, "solver": "dopri5", "max_iter": 4},
    "adjoint": {**PLAIN, "solver": "dopri5_adjoint", "max_iter": 4},
    "refined": {**PLAIN, "n_refinements": 1},
    "given": {**PLAIN, "scaling": "standard", "condition": [0], "max_iter": 60},
    "labels": {**PLAIN, "columns": {4: "category"}},
    "graph": {**PLAIN, "structure": RING},
    "image": {**PLAIN, "structure": (2, 2)},
}


def pretending():
    return pretend_device(sklearn_jko.estimator, sklearn_jko.fitting.fit_input)


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=needs_gpu)])
def counted_device(request):
    """A device, and a function that counts what it has done so far."""
    if request.param == "cuda":
        yield torch.device("cuda"), pieces_of_memory
    else:
        with pretending() as reads:
            yield PRETEND, reads.total


def pieces_of_memory():
    return torch.cuda.memory_stats().get("allocation.all.allocated", 0)


@pytest.fixture
def device(counted_device):
    return counted_device[0]


@pytest.fixture
def used(counted_device):
    """A context that must use the device: on the CPU alone all scores would be right too."""
    count = counted_device[1]

    @contextlib.contextmanager
    def context():
        before = count()
        yield
        assert count() > before

    return context


def test_pretended_device_refuses_what_a_gpu_refuses():
    with pretending():
        there, here = torch.ones(2, device=PRETEND), torch.ones(2)
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()
        np.testing.assert_array_equal((there + here.to(PRETEND) + 1).cpu().numpy(), 3.0)


@pytest.mark.parametrize("name", MODELS)
def test_fit_on_the_device_scores_on_the_cpu(name, device, used):
    rows = CODES if name == "labels" else ROWS
    with used():
        model = JKOFlowDensity(device="cuda", **MODELS[name]).fit(rows)
    assert all(parameter.device.type == "cpu" for parameter in model.flow_.parameters())
    with used():
        scores = model.score_samples(rows)
    on_cpu = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    np.testing.assert_allclose(on_cpu.score_samples(rows), scores, rtol=1e-9)
    if device == PRETEND:
        again = on_cpu.fit(rows)
        np.testing.assert_array_equal(again.score_samples(rows), scores)
        assert again.n_blocks_ > 0


@pytest.fixture(scope="module")
def density():
    return JKOFlowDensity(**{**PLAIN, "max_iter": 40, "max_blocks": 2}).fit(ROWS)


CALLS = {
    "transform": lambda model: model.transform(ROWS),
    "inverse_transform": lambda model: model.inverse_transform(ROWS),
    "sample": lambda model: model.sample(20, random_state=0),
    "impute": lambda model: model.impute(np.where(ROWS > 4, np.nan, ROWS), random_state=0),
    "missing values": lambda model: model.score_samples(np.where(ROWS > 4, np.nan, ROWS)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_on_the_device_equal_those_on_the_cpu(call, density, used):
    on_device = copy.deepcopy(density).set_params(device="cuda")
    with used():
        found = call(on_device)
    np.testing.assert_allclose(found, call(density), rtol=1e-6)


def test_exported_module_scores_on_the_device(density, device):
    rows = torch.tensor(ROWS, device=device).requires_grad_()
    scores = as_torch_module(density).to(device)(rows)
    np.testing.assert_allclose(
        scores.detach().cpu().numpy(), density.score_samples(ROWS), rtol=1e-9
    )
    scores.sum().backward()
    assert rows.grad.cpu().abs().sum() > 0


def test_interrupted_fit_continues_on_the_device(used, tmp_path):
    params = {**PLAIN, "max_blocks": 2, "device": "cuda"}
    path = tmp_path / "fit.safetensors"
    JKOFlowDensity(**{**params, "max_blocks": 1}, checkpoint=path).fit(ROWS)
    with used():
        continued = JKOFlowDensity(**params, checkpoint=path).fit(ROWS)
    straight = JKOFlowDensity(**params).fit(ROWS)
    np.testing.assert_allclose(continued.score_samples(ROWS), straight.score_samples(ROWS))


@pytest.mark.parametrize("hidden", [(8, 8), (8, 8, 8)])
def test_a_training_step_does_not_wait_for_the_device(hidden):
    options = tiny_options(hidden_layer_sizes=hidden)
    with pretending() as reads:
        x = torch.tensor(ROWS, dtype=torch.float32, device=PRETEND)
        block = JKOBlock(MLPVelocity(4, hidden, torch.Generator().manual_seed(0))).to(PRETEND)
        training = BlockTraining(block, 0.5, x, Rows(x, x.new_zeros(len(x))), options)
        reads.clear()
        for _ in range(3):
            training.step(x, torch.Generator(PRETEND))
        assert not reads
        training.evaluate()
        assert reads
