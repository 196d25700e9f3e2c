"""Suites of the benchmark, each run once at its smallest, and their parts against closed forms."""

import functools
import gc
import json
import math
import mmap
from pathlib import Path

import numpy as np
import pytest
import scripts
import torch
import zuko
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from scripts import in_new_python, in_this_python, marked, needs_proc

from sklearn_jko.solvers import SOLVERS

BENCHMARKS = Path(__file__).resolve().parent.parent / "examples" / "benchmarks"
RNG = np.random.default_rng(0)
FLOWS = ("MAF", "NSF", "NSF + our scaling", "CNF", "flow matching")
PATCHES = """
import numpy as np


def make(n_train, n_val, n_test, seed, dtype):
    rng = np.random.default_rng(seed)
    sizes = {"train": n_train, "val": n_val, "test": n_test}
    return {name: rng.normal(size=(n, 3)).astype(dtype) for name, n in sizes.items()}
"""


def load(name):
    return scripts.load(BENCHMARKS / f"{name}.py", BENCHMARKS)


baselines, datasets, measuring = load("baselines"), load("datasets"), load("measuring")
distributions, SUITES = load("distributions"), tuple(load("suites/__init__").SUITES)
PLANES = {
    **{
        name: law
        for name, law in distributions.DISTRIBUTIONS.items()
        if len(law.draw(2, RNG)[0]) < 3
    },
    "shell": distributions.shell(2),
    "Student": distributions.student(2, 3),
    "log-normal pair": distributions.log_normal(2),
    "series": distributions.heavy_series(2),
    "factor": distributions.few_factors(2, 1),
}


def read_report(folder, name):
    """The one report of that name in a folder, and its markdown."""
    (path,) = folder.glob(f"{name}-*.json")
    markdown = path.with_suffix(".md").read_text(encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8")), markdown


def write_data(folder):
    """Made-up files where the loaders look for them."""
    rng = np.random.default_rng(0)
    n = 300
    x = 3 * rng.normal(size=n)
    X = np.c_[x, np.round(x**2 + rng.normal(size=n), 1)]  # curved, so that blocks gain; with ties
    (folder / "adbench").mkdir()
    for name in ("22_magic.gamma.npz", "38_thyroid.npz"):
        np.savez(folder / "adbench" / name, X=X, y=(rng.random(n) < 0.05).astype(int))
    (folder / "bsds300").mkdir()
    (folder / "bsds300" / "bsds300_patches.py").write_text(PATCHES, encoding="utf-8")
    (folder / "uci").mkdir()
    np.savez(folder / "uci" / "california_housing.npz", X=X, y=X.sum(axis=1))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A function of a suite's name: what its tiny run printed, its report and its markdown."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)

    @functools.cache
    def run(name):
        prefix = tmp_path_factory.mktemp("results") / "new" / name
        options = ["--default-fit", 1] if name == "likelihood" else []
        printed, _ = in_this_python(
            *(BENCHMARKS / "run.py", name, "--tiny", "--threads", 1, "--seed", 3),
            *("--output", prefix, *options),
            SKLEARN_JKO_DATA=folder,
        )
        return printed, *read_report(prefix.parent, name)

    return run


def numbers(value):
    """All numbers in nested dicts and lists."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


def rows_of(markdown):
    """Cells of all rows of all tables."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def gaussian_parts(n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
    return X[: n // 2], X[n // 2 : 3 * n // 4], X[3 * n // 4 :]


def tied_and_untied(n=500, seed=0):
    """A column on a grid of step 0.1, a continuous one, a constant one."""
    rng = np.random.default_rng(seed)
    return np.c_[rng.integers(0, 30, size=n) / 10, rng.normal(size=n), np.full(n, 3.0)]


def test_suites_are_listed():
    listed = in_new_python(BENCHMARKS / "run.py", "--list").splitlines()
    assert tuple(line.split()[0] for line in listed) == SUITES


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ([], "name one of step, likelihood"),
        (["peak", "--threads", "0"], "'0' is not a number of threads: give 1 or more"),
        (["likelihood", "--datasets", "iris"], "invalid choice: 'iris'"),
    ],
)
def test_wrong_commands_are_explained(capsys, monkeypatch, command, remedy):
    monkeypatch.syspath_prepend(BENCHMARKS)
    with pytest.raises(SystemExit):
        load("run").parse(command)
    assert remedy in capsys.readouterr().err


def test_tiny_gives_way_to_what_is_asked_for(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    arguments = load("run").parse(["step", "--tiny", "--widths", "8"])
    assert (arguments.widths, arguments.columns) == ([8], (2,))


def test_unequal_shapes_are_explained(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    arguments = load("run").parse(["step", "--tiny", "--widths", "8", "16"])
    with pytest.raises(SystemExit, match=r"\(2,\), \[8, 16\], \(64,\).*give as many of each"):
        load("suites/step").run(arguments)


@pytest.mark.parametrize("suite", marked(SUITES, memory=needs_proc))
def test_a_suite_writes_what_it_prints(tiny, suite):
    printed, report, markdown = tiny(suite)
    assert (report["suite"], report["threads"], report["seed"]) == (suite, 1, 3)
    assert report["tiny"]
    assert report["processor"]
    assert report["versions"]["torch"] == torch.__version__
    assert report["date"][:10] in markdown
    assert report["processor"] in markdown
    assert np.isfinite(list(numbers([report["results"], report["ratios"]]))).all()
    tables = rows_of(markdown)
    assert len(tables) > 2
    assert tables == rows_of(printed)


@pytest.mark.parametrize("suite", marked(SUITES, memory=needs_proc))
def test_a_ratio_is_that_of_the_figures_beside_it(tiny, suite):
    _, report, markdown = tiny(suite)
    assert report["ratios"]
    for r in report["ratios"]:
        assert r["ratio"] == pytest.approx(r["numerator"] / r["denominator"])
        assert r["of"] in markdown


def test_a_search_comes_to_the_same_with_two_workers(tiny):
    one, two = tiny("search")[1]["results"]
    assert (one["n_jobs"], two["n_jobs"]) == (1, 2)
    assert one["fits"] == two["fits"] == 5
    assert one["score"] == pytest.approx(two["score"], abs=0.01)
    assert one["weight_decay"] == two["weight_decay"]


def test_steps_of_equal_batch_and_width_are_compared(tiny):
    _, report, _ = tiny("step")
    paper, *ours = report["results"]
    for key in ("columns", "width", "batch"):
        assert len({record[key] for record in report["results"]}) == 1
    for record, found in zip(ours, report["ratios"], strict=False):
        assert record["solver_error"] == pytest.approx(0, abs=1e-2)
        assert found["numerator"] == paper["step_seconds"]
        assert found["denominator"] == record["step_seconds"]


def test_our_likelihood_stands_at_doubled_steps(tiny):
    ours = [r for r in tiny("likelihood")[1]["results"] if r["method"] == "JKOFlowDensity"]
    assert len(ours) == 2
    assert ours[0]["n_blocks"] > 0  # of the fit without a budget
    for record in ours:
        assert record["nll_steps_x2"] == pytest.approx(record["nll"], abs=1e-2)
        assert record["nll_steps_x4"] == pytest.approx(record["nll"], abs=1e-2)


def test_every_method_has_a_row(tiny):
    _, report, markdown = tiny("likelihood")
    figures = {row[0]: row[1:] for row in rows_of(markdown)}
    for method in ("JKOFlowDensity", *baselines.BASELINES):
        record = [r for r in report["results"] if r["method"] == method][-1]
        shown = f"{record['nll']:.3f} ± {record['standard_error']:.3f} "
        assert figures[method][-1].startswith(shown)


def test_throughput_is_rows_over_seconds(tiny):
    results = tiny("scoring")[1]["results"]
    assert {r["method"] for r in results} == {"JKOFlowDensity", "KernelDensity", "MAF"}
    for r in results:
        assert r["rows_per_second"] == pytest.approx(r["rows_scored"] / r["seconds"])


@needs_proc
def test_memory_is_what_input_and_output_leave(tiny):
    results = tiny("memory")[1]["results"]
    for what in ("fit, blocks", "fit, blocks, in use"):
        assert [r["blocks"] for r in results if r["what"] == what] == [1, 2]
    for r in results:
        own = r["peak_bytes"] - r["read_bytes"] - r["returned_bytes"]
        assert r["own_bytes"] == max(own, 1)


def test_exponents_are_those_of_the_fits(tiny):
    _, report, markdown = tiny("cost")
    for size in ("rows", "columns", "width", "blocks"):
        few, many = (r for r in report["results"] if r["varied"] == size)
        powers = [
            math.log(many[name] / few[name]) / math.log(many[size] / few[size])
            for name in ("step_seconds", "fit_seconds")
        ]
        (row,) = (row for row in rows_of(markdown) if row[0] == size and len(row) == 3)
        np.testing.assert_allclose([float(cell) for cell in row[1:]], powers, atol=0.006)


def test_share_is_of_the_best_product(tiny):
    products, steps = ([], [])
    for record in tiny("peak")[1]["results"]:
        (products if record["what"] == "torch.mm" else steps).append(record)
    best = max(record["gflops_per_second"] for record in products)
    for record in steps:
        rate = record["flops"] / record["seconds"] / 1e9
        assert record["share"] == pytest.approx(rate / best)


def test_ranks_are_those_of_the_figures(tiny):
    _, report, markdown = tiny("choices")
    every = [record["nll"] for record in report["results"]]
    figures = {row[0]: row[1:] for row in rows_of(markdown) if len(row) == 3}
    for record in report["results"]:
        n_better = sum(nll < record["nll"] for nll in every)
        rank = n_better + (1 + every.count(record["nll"])) / 2
        assert figures[record["choice"]] == [f"{rank:g}", f"{record['nll']:.3f}"]


def test_cures_tell_the_truth_under_control(tiny):
    _, report, markdown = tiny("cures")
    for record in report["results"]:
        if not record["cure"].startswith("none"):
            assert record["told_nll"] == pytest.approx(record["true_nll"], abs=0.15)
        shown = f"{record['true_nll']:.2f} (told {record['told_nll']:.2f})"
        assert f"| {record['cure']} | {shown}" in markdown


def test_a_penalty_is_part_of_the_objective():
    """One on the distance moved, heavy enough to forbid it."""

    def movement(block, x, y, log_det, generator):
        return 1e3 * (y - x).square().mean()

    cures, flows = load("suites/cures"), load("flows")
    x = torch.tensor(flows.forced_rows(400, 2, 0), dtype=torch.float32)
    options = flows.training_options(400, 2, 8, max_iter=60)
    moved = []
    for cure in (cures.Cure("none"), cures.Cure("little movement", penalty=movement)):
        block, held_out = flows.new_block(2, (8, 8), 0), flows.Rows(x[:100], x.new_zeros(100))
        training = cures.training_of(cure)(block, 0.5, x, held_out, options)
        moved.append(training.run(torch.Generator().manual_seed(0)).movement)
    assert moved[1] < 0.1 * moved[0]


def test_products_of_a_step_are_counted():
    """Torch's own count has the product of weights beside, small for so many rows."""
    from torch.utils.flop_counter import FlopCounterMode

    peak, flows = load("suites/peak"), load("flows")
    x = torch.tensor(flows.curved_rows(4096, 3, 0), dtype=torch.float32)
    options = flows.training_options(4096, 3, 32, batch_size=4096, max_iter=10)
    training = flows.library_training(x, options, 0)
    with FlopCounterMode(display=False) as counter:
        training.step(x, torch.Generator().manual_seed(0))
    assert counter.get_total_flops() == pytest.approx(peak.flops_of_step(4096, 3, 32), rel=0.01)


def test_the_papers_solver_has_the_gradient_of_ours():
    step, flows = load("suites/step"), load("flows")
    generator = torch.Generator().manual_seed(0)
    block = flows.new_block(3, (8, 8, 8), 0).double()
    x, noise = torch.randn(2, 20, 3, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        block.velocity.out_weight.normal_(std=0.3, generator=generator)
    gradients = []
    for solver, n_steps in ((step.rk4_adjoint, 20), (SOLVERS["rk4"], 20)):
        y, log_det = block(x, solver, n_steps, step.finite_difference, noise)
        loss = (y.square().sum(1) - log_det).mean()
        gradients.append(torch.autograd.grad(loss, list(block.parameters())))
    for theirs, ours in zip(*gradients, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_contenders_take_turns():
    turns = []
    contenders = {name: functools.partial(turns.append, name) for name in "ab"}
    seconds = measuring.interleaved(contenders, 3, warmup=1)
    assert "".join(turns) == "ababab"
    assert list(seconds) == ["a", "b"]


def test_exponent_of_a_power():
    x = np.array([1.0, 10.0, 50.0])
    assert measuring.exponent(x, 7 * x**1.5) == pytest.approx(1.5)


def touched_pages(n):
    """So many bytes of memory, new to the process: an array may lie in what others left free."""
    pages = np.frombuffer(mmap.mmap(-1, n), np.uint8)
    pages[:] = 1
    return pages


@needs_proc
def test_peak_memory_is_the_worst_moment():
    peak = measuring.peak_memory_of(lambda: touched_pages(80_000_000).sum())
    assert peak == pytest.approx(8e7, rel=0.1)


@needs_proc
def test_peak_memory_is_not_hidden_by_garbage():
    garbage = [touched_pages(160_000_000)]
    garbage.append(garbage)
    del garbage
    peak = measuring.peak_memory_of(lambda: (gc.collect(), touched_pages(80_000_000)))
    assert peak == pytest.approx(8e7, rel=0.1)


def test_california_housing_has_its_target(tmp_path):
    write_data(tmp_path)
    X = datasets.DATASETS["california housing"](tmp_path)
    np.testing.assert_array_equal(X[:, -1], X[:, 0] + X[:, 1])


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
    density = baselines.fit_kernel_density(train, validation, 10, 0, bandwidths=(0.4,))
    centres = np.r_[train, validation]
    kernels = norm.logpdf(test[:, None], centres, 0.4).sum(axis=2)
    expected = logsumexp(kernels, axis=1) - np.log(len(centres))
    np.testing.assert_allclose(density.log_density(test), expected)


def test_kernel_density_takes_the_bandwidth_that_validation_likes():
    train, validation, test = gaussian_parts()
    every = {
        bandwidth: baselines.fit_kernel_density(train, validation, 10, 0, bandwidths=(bandwidth,))
        for bandwidth in (1.0, 0.3, 0.01)
    }
    chosen = baselines.fit_kernel_density(train, validation, 10, 0, bandwidths=tuple(every))
    np.testing.assert_allclose(chosen.log_density(test), every[0.3].log_density(test))


def test_one_component_is_the_gaussian_of_both_parts():
    train, validation, test = gaussian_parts()
    density = baselines.fit_gaussian_mixture(train, validation, 10, 0, max_components=1)
    rows = np.r_[train, validation]
    covariance = np.cov(rows.T, bias=True) + 1e-6 * np.eye(2)
    expected = multivariate_normal(rows.mean(axis=0), covariance).logpdf(test)
    np.testing.assert_allclose(density.log_density(test), expected)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_integrate_to_one(name):
    train, validation, _ = gaussian_parts()
    log_density, _ = baselines.BASELINES[name](train, validation, 0.5, 0)
    axis = np.linspace(-6, 6, 61)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.exp(log_density(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1, abs=0.05)


# But for diffusion, which half a second leaves with heavy tails: no few rows tell of its middle.
@pytest.mark.parametrize("name", [name for name in baselines.BASELINES if name != "diffusion"])
def test_rows_drawn_from_a_baseline_are_of_its_density(name):
    """E[q(x) / p(x)] = 1 over rows x of p, for any density q whose tails are lighter."""
    train, validation, _ = gaussian_parts()
    density = baselines.BASELINES[name](train, validation, 0.5, 0)
    X = density.sample(1000, 1)
    assert X.shape == (1000, 2)
    np.testing.assert_array_equal(X, density.sample(1000, 1))
    narrow = multivariate_normal(train.mean(axis=0), 0.5 * np.cov(train.T))
    ratios = np.exp(narrow.logpdf(X) - density.log_density(X))
    assert ratios.mean() == pytest.approx(1, abs=4 * ratios.std() / np.sqrt(1000) + 0.02)


class BestGuess(torch.nn.Module):
    """The expected noise in rows of independent normal columns after a diffusion."""

    def __init__(self, deviations):
        super().__init__()
        self.variances = torch.tensor(deviations) ** 2

    def forward(self, t, x):
        return self._slopes(t) * x

    def forward_and_trace(self, t, x):
        return self(t, x), self._slopes(t).sum().expand(len(x))

    def _slopes(self, t):
        shrinkage, noise = baselines.noise_level(torch.as_tensor(t, dtype=torch.float64))
        return noise / (shrinkage**2 * self.variances + noise**2)


def test_diffusion_of_the_best_guess_is_the_normal_density():
    deviations = [0.5, 2.0]
    diffusion = baselines.Diffusion(2, 0)
    diffusion.velocity.noise, diffusion.n_steps = BestGuess(deviations), 64
    X = np.random.default_rng(0).normal(size=(100, 2)) * deviations
    expected = norm.logpdf(X, scale=deviations).sum(axis=1)
    found = baselines.log_density_by_chunks(diffusion, torch.tensor(X))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    drawn = baselines.sampled(diffusion.double(), (4000, 2), 0)
    np.testing.assert_allclose(drawn.std(axis=0), deviations, rtol=0.05)


def test_flow_training_keeps_the_best_weights(monkeypatch):
    """At an absurd learning rate the flow ends no worse on validation than it began."""
    monkeypatch.setattr(baselines, "LEARNING_RATE", 10.0)
    train, validation, _ = gaussian_parts()
    flow = zuko.flows.MAF(2, transforms=1, hidden_features=(8,))
    before = baselines.mean_log_density(flow, baselines.torch.as_tensor(validation).float())
    log_density, _ = baselines.train_flow(flow, train, validation, 0.3)
    assert log_density(validation).mean() >= before - 1e-4


@pytest.mark.parametrize("name", PLANES)
def test_known_densities_are_those_of_their_rows(name):
    """In every cell of a grid that holds rows, by the share of the rows and by an integral."""
    law, n = PLANES[name], 20_000
    X = law.draw(n, np.random.default_rng(1))
    edges = [np.quantile(x, np.linspace(0.05, 0.95, 7)) for x in X.T]
    counts, _ = np.histogramdd(X, edges)
    rng = np.random.default_rng(2)
    for cell in np.ndindex(*counts.shape):
        low = np.array([ends[k] for ends, k in zip(edges, cell, strict=True)])
        high = np.array([ends[k + 1] for ends, k in zip(edges, cell, strict=True)])
        points = rng.uniform(low, high, (500, len(low)))
        values = np.exp(law.log_density(points)) * np.prod(high - low)
        share, expected = counts[cell] / n, values.mean()
        error = np.hypot(np.sqrt(expected / n), values.std() / np.sqrt(len(points)))
        assert share == pytest.approx(expected, abs=5 * error + 1e-4)


@pytest.mark.parametrize("method", ["conditional_mixture", "conditional_kernels"])
def test_conditional_baselines_are_densities_of_the_last_columns(method):
    """Given any first value they add up to one, and nearly know the normal law of the rows."""
    contextual = load("suites/contextual")
    train, test, _ = gaussian_parts(n=4000)
    seed = [0] if method == "conditional_mixture" else []
    score = functools.partial(getattr(contextual, method), train)
    values = np.linspace(-8, 8, 801)
    for given in (0.0, 1.5):
        log_density = -score(np.c_[np.full(801, given), values], *seed)
        assert trapezoid(np.exp(log_density), values) == pytest.approx(1, abs=1e-6)
    truth = norm.logpdf(test[:, 1], 0.6 * test[:, 0], 0.8)
    assert np.mean(truth + score(test, *seed)) < 0.03


def test_conditional_kernels_leave_out_the_row_itself():
    contextual = load("suites/contextual")
    rows = np.random.default_rng(0).normal(size=(30, 3))
    scores = contextual.conditional_kernels(rows, rows)
    bandwidth = 30 ** (-1 / 7)
    for k, score in enumerate(scores):
        kernels = norm.pdf(np.delete(rows, k, axis=0) - rows[k], scale=bandwidth)
        joint, given = (kernels[:, :d].prod(axis=1).sum() for d in (3, 2))
        assert score == pytest.approx(np.log(given) - np.log(joint))


def test_boosted_trees_learn_from_exchanged_rows_of_other_folds():
    """These rows come first, and their given columns tell them from the others here."""
    contextual = load("suites/contextual")
    rng, is_exchanged = np.random.default_rng(0), np.arange(500) < 50
    given = rng.normal(size=(500, 3)) + 10.0 * is_exchanged[:, None]
    rows = np.c_[given, rng.normal(size=500) + 5.0 * is_exchanged]
    assert contextual.boosted_trees(rows, rows, 0)[is_exchanged].mean() < 2
