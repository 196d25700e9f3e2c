"""Examples, run as a user runs them, and the functions of the benchmark against closed forms."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NUMBER = r"-?\d+\.\d+"


def load(name):
    """Import a file of the benchmark under a name that shadows nothing."""
    path = EXAMPLES / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


baselines, datasets = load("baselines"), load("datasets")


def run_script(path, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / path), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def gaussian_parts(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    return X[: n // 2], X[n // 2 : 3 * n // 4], X[3 * n // 4 :]


def tied_and_untied(n=500, seed=0):
    """A column on a grid of step 0.1, a continuous one, a constant one."""
    rng = np.random.default_rng(seed)
    return np.c_[rng.integers(0, 30, size=n) / 10, rng.normal(size=n), np.full(n, 3.0)]


def test_plot_density_writes_its_table_and_picture(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "density.png"
    done = run_script("plot_density.py", "--short", "--output", picture)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    for method in ("JKOFlowDensity", "KernelDensity", "GaussianMixture"):
        row = rf"^{method} +{NUMBER} \+- {NUMBER} +0\.\d+ +{NUMBER}$"
        assert re.search(row, done.stdout, re.MULTILINE), done.stdout
    row = rf"^IsolationForest +- +0\.\d+ +{NUMBER}$"
    assert re.search(row, done.stdout, re.MULTILINE), done.stdout


def test_dequantise_changes_tied_columns_only():
    X = tied_and_untied()
    blurred = datasets.dequantise(X, np.random.default_rng(1))
    np.testing.assert_array_equal(blurred[:, 1:], X[:, 1:])
    assert len(np.unique(blurred[:, 0])) == len(X)


def test_dequantised_values_round_to_the_originals():
    X = tied_and_untied()
    blurred = datasets.dequantise(X, np.random.default_rng(1))
    np.testing.assert_allclose(blurred[:, 0].round(1), X[:, 0], atol=1e-12)


def test_noise_is_at_least_a_thousandth_of_the_deviation():
    column = np.tile(np.r_[np.arange(10) * 1e-6, 1.0], 10)
    assert datasets.tie_width(column) == pytest.approx(1e-3 * column.std())


@pytest.mark.parametrize(("n_copies", "expected"), [(10, 0.0), (11, 0.01)])
def test_noise_needs_more_than_a_tenth_of_tied_rows(n_copies, expected):
    column = np.arange(100) * 0.01
    column[:n_copies] = 0.0
    assert datasets.tie_width(column) == pytest.approx(expected)


def test_splits_hold_every_row_once_and_depend_on_the_seed():
    X = np.random.default_rng(0).normal(size=(105, 3))
    parts = datasets.split(X, np.random.default_rng(0))
    assert [len(part) for part in parts] == [85, 10, 10]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)[:, 0]), np.sort(X[:, 0]))
    other = datasets.split(X, np.random.default_rng(1))
    assert not np.array_equal(parts[2], other[2])


def test_standardised_by_the_training_rows():
    train, validation, test = gaussian_parts()
    scaled = datasets.standardise(5 + 3 * train, 5 + 3 * validation, 5 + 3 * test)
    np.testing.assert_allclose(scaled[0].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled[0].std(axis=0), 1)
    np.testing.assert_allclose(scaled[2], (test - train.mean(axis=0)) / train.std(axis=0))


def test_a_constant_column_stays_finite():
    assert all(np.isfinite(part).all() for part in datasets.make_splits(tied_and_untied(), 0))


def test_missing_data_folder_is_explained(monkeypatch):
    monkeypatch.delenv("SKLEARN_JKO_DATA", raising=False)
    with pytest.raises(SystemExit, match="SKLEARN_JKO_DATA is None: set it"):
        datasets.data_folder()


def test_kernel_density_is_the_mean_of_its_kernels():
    train, validation, test = gaussian_parts()
    log_density = baselines.fit_kernel_density(train, validation, 10, 0, bandwidths=(0.4,))
    centres = np.r_[train, validation]
    kernels = norm.logpdf(test[:, None], centres, 0.4).sum(axis=2)
    expected = logsumexp(kernels, axis=1) - np.log(len(centres))
    np.testing.assert_allclose(log_density(test), expected)


def test_kernel_density_takes_the_bandwidth_that_validation_likes():
    train, validation, test = gaussian_parts()
    every = {
        bandwidth: baselines.fit_kernel_density(train, validation, 10, 0, bandwidths=(bandwidth,))
        for bandwidth in (1.0, 0.3, 0.01)
    }
    chosen = baselines.fit_kernel_density(train, validation, 10, 0, bandwidths=tuple(every))
    np.testing.assert_allclose(chosen(test), every[0.3](test))


def test_one_component_is_the_gaussian_of_both_parts():
    train, validation, test = gaussian_parts()
    log_density = baselines.fit_gaussian_mixture(train, validation, 10, 0, max_components=1)
    rows = np.r_[train, validation]
    covariance = np.cov(rows.T, bias=True) + 1e-6 * np.eye(2)
    expected = multivariate_normal(rows.mean(axis=0), covariance).logpdf(test)
    np.testing.assert_allclose(log_density(test), expected)


@pytest.mark.parametrize("name", ["MAF", "NSF", "NSF + our scaling"])
def test_flows_integrate_to_one(name):
    pytest.importorskip("zuko")
    train, validation, _ = gaussian_parts()
    log_density = baselines.BASELINES[name](train, validation, 0.5, 0)
    axis = np.linspace(-8, 8, 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.exp(log_density(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1, abs=0.05)


def test_flow_training_keeps_the_best_weights(monkeypatch):
    """At an absurd learning rate the flow ends no worse on validation than it began."""
    zuko = pytest.importorskip("zuko")
    monkeypatch.setattr(baselines, "LEARNING_RATE", 10.0)
    train, validation, _ = gaussian_parts()
    flow = zuko.flows.MAF(2, transforms=1, hidden_features=(8,))
    before = baselines.mean_log_density(flow, baselines.torch.as_tensor(validation).float())
    log_density = baselines.train_flow(flow, train, validation, 0.3)
    assert log_density(validation).mean() >= before - 1e-4


def write_adbench_like(folder, name, n=300):
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(n, 1)), rng.integers(0, 50, size=n) / 10]
    (folder / "adbench").mkdir()
    np.savez(folder / "adbench" / name, X=X, y=(rng.random(n) < 0.05).astype(int))


def test_compare_density_writes_what_it_prints(tmp_path):
    write_adbench_like(tmp_path, "38_thyroid.npz")
    methods = ["JKOFlowDensity", "KernelDensity", "GaussianMixture"]
    done = run_script(
        "benchmarks/compare_density.py",
        *("--datasets", "thyroid", "--methods", *methods),
        *("--seconds", 0.3, "--threads", 1, "--output", tmp_path / "results"),
        SKLEARN_JKO_DATA=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("results-*.json")
    report = json.loads(record.read_text(encoding="utf-8"))
    assert [result["method"] for result in report["results"]] == methods
    assert np.isfinite([result["nll"] for result in report["results"]]).all()
    ours = report["results"][0]
    assert ours["nll_steps_x2"] == pytest.approx(ours["nll"], abs=1e-2)
    assert ours["nll_steps_x4"] == pytest.approx(ours["nll"], abs=1e-2)
    table = record.with_suffix(".md").read_text(encoding="utf-8")
    for method in methods:
        assert re.search(rf"^\| {method} \| {NUMBER} ± {NUMBER} ", table, re.MULTILINE)
        assert method in done.stdout


def test_compare_cures_writes_what_it_prints(tmp_path):
    write_adbench_like(tmp_path, "22_magic.gamma.npz")
    done = run_script(
        "benchmarks/compare_cures.py",
        *("--datasets", "magic.gamma", "--seconds", 0.2, "--threads", 1),
        *("--output", tmp_path / "cures"),
        SKLEARN_JKO_DATA=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("cures-*.json")
    results = json.loads(record.read_text(encoding="utf-8"))["results"]
    for result in results:
        assert np.isfinite([result["told_nll"], result["true_nll"]]).all()
        if not result["cure"].startswith("none"):
            assert result["told_nll"] == pytest.approx(result["true_nll"], abs=0.15)
    table = record.with_suffix(".md").read_text(encoding="utf-8")
    for result in results:
        shown = f"{result['true_nll']:.2f} (told {result['told_nll']:.2f})"
        assert f"| {result['cure']} | {shown}" in table
        assert f"| {result['cure']} | {shown}" in done.stdout
