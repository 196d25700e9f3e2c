"""Training on a GPU; skipped where there is none."""

import pickle

import numpy as np
import pytest
import torch
from conftest import SMALL

from sklearn_jko import JKOFlowDensity
from sklearn_jko.export import as_torch_module

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_fit_on_the_gpu_scores_on_the_cpu(moons):
    model = JKOFlowDensity(device="cuda", **SMALL).fit(moons[0])
    on_cpu = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    assert all(parameter.device.type == "cpu" for parameter in model.flow_.parameters())
    np.testing.assert_allclose(
        on_cpu.score_samples(moons[1]), model.score_samples(moons[1]), rtol=1e-9
    )


def test_exported_module_scores_on_the_gpu(fitted, moons):
    module = as_torch_module(fitted).to("cuda")
    found = module(torch.tensor(moons[1], device="cuda")).cpu().numpy()
    np.testing.assert_allclose(found, fitted.score_samples(moons[1]), rtol=1e-9)
