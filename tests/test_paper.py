"""Experiments of the paper, each run once at its smallest."""

import functools
import math
from pathlib import Path

import pytest
from test_benchmarks import numbers, read_report, rows_of, run_script, write_data

PAPER = Path(__file__).resolve().parent.parent / "examples" / "paper"
EXPERIMENTS = ("toys", "tabular", "refinement", "depth")
OURS = "JKOFlowDensity"


reproduce = functools.partial(run_script, PAPER / "reproduce.py")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A function of an experiment's name: its report, its markdown and the folder of results."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)

    @functools.cache
    def run(name):
        pytest.importorskip("zuko")
        results = tmp_path_factory.mktemp("results")
        options = ["--pictures", results / "pictures"] if name == "toys" else []
        done = reproduce(
            *(name, "--tiny", "--threads", 1, "--output", results / name, *options),
            SKLEARN_JKO_DATA=str(folder),
        )
        assert done.returncode == 0, done.stderr
        return *read_report(results, name), results

    return run


def test_experiments_are_listed():
    listed = reproduce("--list").stdout.splitlines()
    assert tuple(line.split()[0] for line in listed) == EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_writes_its_figures_and_what_they_depend_on(tiny, name):
    report, markdown, _ = tiny(name)
    assert report["suite"] == name
    assert report["tiny"]
    assert report["results"]
    assert all(math.isfinite(v) for record in report["results"] for v in numbers(record))
    assert all(math.isfinite(one["ratio"]) for one in report["ratios"])
    assert rows_of(markdown)


def test_toys_are_compared_and_drawn(tiny):
    report, _, results = tiny("toys")
    methods = {record["method"] for record in report["results"]}
    assert methods == {OURS, "KernelDensity"}
    for record in report["results"]:
        assert 0 <= record["mmd_m"] < 1
        assert 0 < record["mmd_c_threshold"] < 1
        assert 0 <= record["classifier_accuracy"] <= 1
        # Eight bumps of deviation 0.35 that hardly overlap: no model can beat their entropy.
        entropy = math.log(8) + 1 + math.log(2 * math.pi / 8)
        assert record["nll"] > entropy - 4 * record["standard_error"]
    (picture,) = (results / "pictures").glob("*.png")
    assert picture.stat().st_size > 10_000


def test_ours_is_true_in_every_experiment(tiny):
    for name in ("toys", "tabular", "refinement"):
        for record in tiny(name)[0]["results"]:
            if "n_steps" in record:
                assert record["nll_steps_x2"] == pytest.approx(record["nll"], abs=2e-3)


def test_the_paper_stands_beside_ours(tiny):
    report, markdown, _ = tiny("tabular")
    (record,) = report["results"]
    (row,) = [row for row in rows_of(markdown) if row[:2] == ["BSDS300, drawn", OURS]]
    assert row[4] == str(sum(record["optimiser_steps"]) or "")
    assert row[-2:] == ["-153.82", "-157.75"]


def test_refinement_is_compared_at_equal_steps(tiny):
    report, _, _ = tiny("refinement")
    fits = {record["fit"]: record for record in report["results"]}
    assert list(fits) == ["start", "refined", "longer", "more blocks"]
    most = fits["refined"]["steps"]
    assert fits["start"]["steps"] < most
    assert fits["longer"]["steps"] <= most
    assert fits["more blocks"]["steps"] <= most
    assert len(fits["refined"]["evenness_of_rounds"]) >= 2


def test_end_to_end_takes_more_memory_than_block_by_block(tiny):
    report, _, _ = tiny("depth")
    assert {(r["training"], r["blocks"]) for r in report["results"]} == {
        (training, blocks) for training in ("block by block", "end to end") for blocks in (1, 2)
    }
    assert all(record["peak_bytes"] > 0 for record in report["results"])
