"""Examples, run as a user runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NUMBER = r"-?\d+\.\d+"


def run_script(path, *arguments):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / path), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def check_density_table(printed):
    for method in ("JKOFlowDensity", "KernelDensity", "GaussianMixture"):
        row = rf"^{method} +{NUMBER} \+- {NUMBER} +0\.\d+ +{NUMBER}$"
        assert re.search(row, printed, re.MULTILINE), printed
    row = rf"^IsolationForest +- +0\.\d+ +{NUMBER}$"
    assert re.search(row, printed, re.MULTILINE), printed


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("plot_*.py")))
def test_example_writes_its_figures_and_its_picture(example, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    done = run_script(example, "--short", "--output", picture)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert re.search(NUMBER, done.stdout), done.stdout
    assert not re.search(r"\b(nan|inf)\b", done.stdout, re.IGNORECASE), done.stdout
    if example == "plot_density.py":
        check_density_table(done.stdout)


def test_processes_end_with_one_model():
    done = run_script("fit_in_processes.py", "--short")
    assert done.returncode == 0, done.stderr
    scores = dict(
        re.findall(rf"^process (\d): \d+ rows, ({NUMBER}) nats", done.stdout, re.MULTILINE)
    )
    assert set(scores) == {"0", "1"}, done.stdout
    assert scores["0"] == scores["1"]
    assert re.search(rf"^difference: {NUMBER} \+- {NUMBER}$", done.stdout, re.MULTILINE), (
        done.stdout
    )


def test_workers_of_dask_score_as_one_process():
    pytest.importorskip("distributed")
    done = run_script("score_with_dask.py", "--short")
    assert done.returncode == 0, done.stderr
    assert len(re.findall(rf"^  [a-z+]+ +{NUMBER}$", done.stdout, re.MULTILINE)) == 3, done.stdout
    (difference,) = re.findall(r"one process: (\d\.\de[-+]\d+)", done.stdout)
    assert float(difference) < 1e-12
