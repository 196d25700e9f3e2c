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
