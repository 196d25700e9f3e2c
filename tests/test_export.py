"""Densities and scalers in torch: the same numbers, gradients, and files without this package."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL
from sklearn.exceptions import NotFittedError
from test_scaling import CHAINS, skewed_rows

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.evaluation import LOWEST_LOG_DENSITY
from sklearn_jko.export import as_torch_module
from sklearn_jko.export.torch_scalers import TORCH_SCALERS, torch_scaler
from sklearn_jko.scaling import SCALERS, make_scaler

every_scaler = pytest.mark.parametrize("name", [*SCALERS, *CHAINS, "power+whiten"])
ANY_ROWS = {"X": {0: torch.export.Dim("n")}}


def far_and_near_rows():
    directions = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [0.0, 0.0, 1.0]])
    X = skewed_rows()
    far = [X.mean(axis=0) + size * X.std(axis=0) * directions for size in (10, 1e3, 1e6)]
    largest = np.finfo(np.float64).max * directions
    return np.r_[
        X, skewed_rows(200, seed=5), *far, 1e-300 * directions, 1e300 * directions, largest
    ]


def density_of(X, scaling="standard", **parameters):
    return JKOFlowDensity(scaling, **{**SMALL, "max_iter": 20, **parameters}).fit(X)


def exported(density, X):
    return torch.export.export(
        as_torch_module(density), (torch.tensor(X[:7]),), dynamic_shapes=ANY_ROWS
    )


def test_every_scaler_is_in_torch_too():
    missing = [scaler.__name__ for scaler in SCALERS.values() if scaler not in TORCH_SCALERS]
    assert not missing, f"write modules for {missing} and enter them in TORCH_SCALERS"


@pytest.mark.parametrize("unit", [1.0, 1e-60])
@every_scaler
def test_module_agrees_with_its_scaler(name, unit):
    X = unit * far_and_near_rows()
    scaler = make_scaler(name).fit(unit * skewed_rows())
    for ours, theirs in zip(
        torch_scaler(scaler)(torch.tensor(X)), scaler.transform(X), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("d", [1, 30])
@every_scaler
def test_module_agrees_in_one_column_and_in_many(name, d):
    X = np.random.default_rng(0).normal(size=(40, d)) ** 3
    scaler = make_scaler(name).fit(X[:20])
    for ours, theirs in zip(
        torch_scaler(scaler)(torch.tensor(X)), scaler.transform(X), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12, atol=1e-12)


@every_scaler
def test_gradient_of_a_scaler_is_its_jacobian_at_the_median_too(name):
    X = skewed_rows(n=601)
    module = torch_scaler(make_scaler(name).fit(X))
    rows = torch.tensor(np.r_[skewed_rows(40, seed=5), np.median(X, axis=0)[None]])
    Z, log_det = module(rows.requires_grad_())
    gradients = [torch.autograd.grad(z.sum(), rows, retain_graph=True)[0] for z in Z.T]
    found = torch.stack(gradients, dim=1).slogdet().logabsdet
    np.testing.assert_allclose(found, log_det.detach(), rtol=1e-9, atol=1e-9)


@every_scaler
def test_gradients_of_a_scaler_are_finite_however_far_the_row(name):
    rows = torch.tensor(far_and_near_rows(), requires_grad=True)
    module = torch_scaler(make_scaler(name).fit(skewed_rows()))
    Z, log_det = module(rows)
    (gradient,) = torch.autograd.grad(Z.sum() + log_det.sum(), rows)
    assert gradient.isfinite().all()


def test_scaler_without_a_module_is_refused():
    with pytest.raises(TypeError, match="The scaler object is not in TORCH_SCALERS"):
        torch_scaler(object())


@every_scaler
def test_exported_module_agrees_with_score_samples(name):
    X = skewed_rows()
    density = density_of(X, name, max_blocks=1)
    program = exported(density, X).module()
    rows = np.r_[X, far_and_near_rows()[-20:]]
    for n in (1, 2, len(rows)):
        expected = density.score_samples(rows[:n])
        found = program(torch.tensor(rows[:n])).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("hidden", [(), (16,), (16, 12), (16, 12, 8)])
def test_exported_module_agrees_for_networks_of_any_depth(moons, hidden):
    density = density_of(moons[0], hidden_layer_sizes=hidden, max_blocks=2)
    density.flow_.n_steps = np.array([1, 2])
    assert density.n_blocks_ == 2
    found = exported(density, moons[1]).module()(torch.tensor(moons[1])).numpy()
    np.testing.assert_allclose(found, density.score_samples(moons[1]), rtol=0, atol=1e-9)


def test_exported_module_without_a_block():
    X = skewed_rows()
    density = density_of(X, max_blocks=0)
    found = exported(density, X).module()(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, density.score_samples(X), rtol=0, atol=1e-9)


def image_density(height, width):
    d = height * width
    X = np.random.default_rng(0).normal(size=(40, d)) @ (np.eye(d) + 0.3 * np.eye(d, k=1))
    sizes = {"hidden_layer_sizes": (4, 4), "max_iter": 3, "max_blocks": 1}
    return density_of(X, structure=(height, width), **sizes), X


def test_exported_module_agrees_for_an_image_of_a_hundred_pixels():
    density, X = image_density(10, 10)
    assert density.n_blocks_ == 1
    found = exported(density, X).module()(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, density.score_samples(X), rtol=0, atol=1e-9)


def test_larger_images_have_a_module_that_is_not_exported():
    density, X = image_density(10, 11)
    found = as_torch_module(density)(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, density.score_samples(X), rtol=0, atol=1e-9)
    with pytest.raises(RuntimeError, match=r"aten\.mm"):  # a sparse product
        exported(density, X)


LOAD = """
import sys, torch
rows, program, scores = sys.argv[1:]
X = torch.load(rows)
torch.save(torch.export.load(program).module()(X), scores)
print("sklearn_jko" in sys.modules, "sklearn" in sys.modules)
"""


def test_exported_file_needs_torch_alone(moons, tmp_path):
    rows, program, scores = (str(tmp_path / name) for name in ("rows.pt", "p.pt2", "scores.pt"))
    torch.save(torch.tensor(moons[1]), rows)
    density = density_of(moons[0], "marginal", max_blocks=1)
    torch.export.save(exported(density, moons[0]), program)
    command = [sys.executable, "-c", LOAD, rows, program, scores]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    found = torch.load(scores).numpy()
    np.testing.assert_allclose(found, density.score_samples(moons[1]), rtol=0, atol=1e-9)


def test_gradient_of_the_module_is_that_of_the_log_density(fitted, moons):
    module = as_torch_module(pickle.loads(pickle.dumps(fitted)))
    rows = torch.tensor(moons[1][:20], requires_grad=True)
    (gradient,) = torch.autograd.grad(module(rows).sum(), rows)
    for j, step in enumerate(1e-5 * moons[0].std(axis=0)):
        ends = np.array([[-step], [step]]) * np.eye(2)[j]
        low, high = (fitted.score_samples(moons[1][:20] + end) for end in ends)
        np.testing.assert_allclose(gradient[:, j], (high - low) / (2 * step), rtol=1e-4, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_module_is_a_copy(moons):
    density = density_of(moons[0], "whiten", max_blocks=1)
    module, rows = as_torch_module(density), torch.tensor(moons[1])
    before = module(rows)
    density.scaler_.mean_ += 1
    for parameter in density.flow_.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(module(rows), before, rtol=0, atol=0)


@pytest.mark.parametrize("scaling", ["standard", "power+whiten", "marginal+whiten+radial"])
def test_module_computes_where_it_is_moved(moons, scaling):
    """Operands on two devices raise, on the one without numbers too."""
    density = density_of(moons[0], scaling, hidden_layer_sizes=(8, 8, 8), max_blocks=1)
    module, rows = as_torch_module(density).to("meta"), torch.tensor(moons[1]).to("meta")
    assert module(rows).device.type == "meta"
    with pytest.raises(RuntimeError, match="device"):
        as_torch_module(density)(rows)


def test_module_takes_any_real_dtype(fitted, moons):
    rows = torch.tensor(moons[1], dtype=torch.float32)
    found = as_torch_module(fitted)(rows)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), fitted.score_samples(rows.numpy()), atol=1e-9)


def test_module_takes_bounds_in_single_precision():
    X = np.random.default_rng(0).uniform(0.003, 0.1, size=(100, 2))
    columns = {0: (0, 0.1), 1: (1e-300, None)}
    model = JKOFlowDensity("standard", columns=columns, max_blocks=0, random_state=0).fit(X)
    rows = np.array([[0.1, 0.05], [0.05, 0.0], [0.11, 0.05]], dtype=np.float32)
    expected = model.score_samples(rows)
    assert (expected > LOWEST_LOG_DENSITY).tolist() == [True, False, False]
    for compute in (as_torch_module(model), exported(model, rows).module()):
        found = compute(torch.tensor(rows)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex128])
def test_module_stays_in_double_precision(fitted, moons, dtype):
    module, rows = as_torch_module(fitted), torch.tensor(moons[1])
    expected = module(rows)
    for convert in (module.to, torch.nn.Sequential(module).to):
        with pytest.raises(TypeError, match=f"computes in float64 only, not in {dtype}"):
            convert(dtype)
    assert torch.equal(module.double().to("cpu")(rows), expected)


def test_rows_that_are_not_finite_get_nan(fitted, moons):
    rows = torch.tensor(moons[1][:4])
    rows[1, 0], rows[2, 1] = torch.nan, torch.inf
    assert as_torch_module(fitted)(rows).isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (2, 5, 2)])
def test_rows_of_another_shape_are_refused(fitted, shape):
    with pytest.raises(ValueError, match=r"X must have shape \(n, 2\); got \(") as error:
        as_torch_module(fitted)(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_what_cannot_be_exported_is_refused(fitted, moons):
    detector = JKOFlowOutlierDetector(density=JKOFlowDensity("standard", max_blocks=0))
    with pytest.raises(NotFittedError, match="JKOFlowOutlierDetector instance is not fitted"):
        as_torch_module(detector)
    with pytest.raises(TypeError, match=r"got JKOFlowOutlierDetector.*pass its `density_`"):
        as_torch_module(detector.fit(moons[0]))
    with pytest.raises(NotFittedError, match="JKOFlowDensity instance is not fitted"):
        as_torch_module(JKOFlowDensity())
    adaptive = density_of(moons[0], solver="dopri5", max_blocks=1, max_iter=3)
    with pytest.raises(ValueError, match=r"solver='dopri5'.*cannot be recorded"):
        as_torch_module(adaptive)
