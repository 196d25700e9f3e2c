"""Examples, run as a user runs them, and the links between texts."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from scripts import in_new_python, in_this_python

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
NUMBER = r"-?\d+\.\d+"
PAGES = [
    path.relative_to(ROOT)
    for folder in (".", "docs", "examples", "examples/benchmarks", "examples/paper")
    for path in sorted((ROOT / folder).glob("*.md"))
]


def anchors_of(text):
    """The fragments by which GitHub names the headings of a text of Markdown."""
    headings = re.findall(r"^#+ (.*)$", text.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("text", PAGES, ids=str)
def test_links_between_texts_lead_somewhere(text):
    for link in re.findall(r"\]\(([^)]*)\)", (ROOT / text).read_text()):
        path, _, anchor = link.partition("#")
        target = (ROOT / text.parent / path) if path else ROOT / text
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def check_density_table(printed):
    for method in ("JKOFlowDensity", "KernelDensity", "GaussianMixture"):
        row = rf"^{method} +{NUMBER} \+- {NUMBER} +0\.\d+ +{NUMBER}$"
        assert re.search(row, printed, re.MULTILINE), printed
    row = rf"^IsolationForest +- +0\.\d+ +{NUMBER}$"
    assert re.search(row, printed, re.MULTILINE), printed


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("plot_*.py")))
def test_example_writes_its_figures_and_its_picture(example, tmp_path, capfd):
    picture = tmp_path / "picture.png"
    printed, complaints = in_this_python(EXAMPLES / example, "--short", "--output", picture)
    plt.close("all")
    assert complaints == []
    assert "Warning" not in capfd.readouterr().err  # of processes that it started
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert re.search(NUMBER, printed), printed
    assert not re.search(r"\b(nan|inf)\b", printed, re.IGNORECASE), printed
    if example == "plot_density.py":
        check_density_table(printed)


def test_processes_end_with_one_model():
    printed = in_new_python(EXAMPLES / "fit_in_processes.py", "--short")
    scores = dict(re.findall(rf"^process (\d): \d+ rows, ({NUMBER}) nats", printed, re.MULTILINE))
    assert set(scores) == {"0", "1"}, printed
    assert scores["0"] == scores["1"]
    assert re.search(rf"^difference: {NUMBER} \+- {NUMBER}$", printed, re.MULTILINE), printed


def test_workers_of_dask_score_as_one_process():
    printed = in_new_python(EXAMPLES / "score_with_dask.py", "--short")
    assert len(re.findall(rf"^  [a-z+]+ +{NUMBER}$", printed, re.MULTILINE)) == 3, printed
    (difference,) = re.findall(r"one process: (\d\.\de[-+]\d+)", printed)
    assert float(difference) < 1e-12
