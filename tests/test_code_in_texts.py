"""Code in texts, run block after block as a reader would paste it."""

import copy
import re
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import torch
from homes import homes
from sklearn.datasets import load_breast_cancer

from sklearn_jko import JKOFlowDensity

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"max_iter": 5, "max_blocks": 1}
# What each text takes for granted, apart from what its own blocks define.
PRESUMED = {
    "README.md": ("frame",),
    "docs/guide.md": ("JKOFlowDensity", "X", "density", "frame"),
    "docs/outliers.md": ("JKOFlowDensity", "frame", "normal", "new"),
    "docs/beyond_one_machine.md": ("columns", "density", "own_rows"),
}
# What one block alone says, and why that block is not run.
NOT_RUN = {
    'Client("scheduler:8786")': "joins a cluster",
    "from pyspark": "needs Spark",
    "ray.data": "needs Ray",
    'get_context("fork")': "forks a process that has other threads, which may hang",
}


def blocks_of(text):
    """The blocks of Python in a text of Markdown, and the line of the text before each."""
    whole = (ROOT / text).read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", whole, re.M | re.S)
    return [(block[1], whole.count("\n", 0, block.start(1))) for block in found]


def is_run(block):
    return not any(sign in block for sign in NOT_RUN)


def presumed():
    """All names that texts take for granted, of few rows."""
    X, is_benign = load_breast_cancer(return_X_y=True)
    X, frame = X[:, :10], homes(150, seed=0)
    columns = [f"x{j}" for j in range(X.shape[1])]
    return {
        "JKOFlowDensity": JKOFlowDensity,
        "X": X,
        "columns": columns,
        "density": JKOFlowDensity(random_state=0).fit(pd.DataFrame(X, columns=columns)),
        "frame": frame.assign(area=20.0 * frame["rooms"] + np.sqrt(frame["price"])),
        "normal": X[is_benign == 1][:100],
        "new": X[-40:],
        "own_rows": X,
    }


@pytest.fixture
def quick(monkeypatch):
    """Have densities scale simply and train little by default."""
    defaults = JKOFlowDensity.__init__.__kwdefaults__
    monkeypatch.setattr(JKOFlowDensity.__init__, "__kwdefaults__", {**defaults, **QUICK})
    monkeypatch.setattr(JKOFlowDensity.__init__, "__defaults__", ("standard",))


@pytest.fixture
def rows_in_files(tmp_path, monkeypatch):
    """Be in a folder with the files that texts read."""
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame(load_breast_cancer().data[:, :10]).add_prefix("x")
    (tmp_path / "rows").mkdir()
    for path in ("rows.parquet", "rows/0.parquet", "rows/1.parquet"):
        rows.to_parquet(path)


@pytest.fixture
def group_of_one(tmp_path, monkeypatch):
    """The environment that `torchrun` gives to its only process."""
    alone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1"}
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.fixture
def settings_of_dask(monkeypatch):
    """Settings that a block may change."""
    monkeypatch.setitem(
        dask.config.config, "distributed", copy.deepcopy(dask.config.get("distributed", {}))
    )


@pytest.mark.usefixtures("quick", "rows_in_files", "group_of_one", "settings_of_dask")
@pytest.mark.parametrize("text", PRESUMED)
def test_code_runs_block_after_block(text):
    given, blocks = presumed(), blocks_of(text)
    # Functions of "__main__" are sent to other processes by their code.
    names = {"__name__": "__main__", **{key: given[key] for key in PRESUMED[text]}}
    assert blocks
    for block, line in blocks:
        # Errors name the line of the text.
        code = compile("\n" * line + block, ROOT / text, "exec")
        if is_run(block):
            exec(code, names)


def test_what_is_not_run_is_there():
    """Once each: a name for more than one block would let new blocks pass unrun."""
    blocks = [block for text in PRESUMED for block, _ in blocks_of(text)]
    for sign in NOT_RUN:
        assert sum(sign in block for block in blocks) == 1, sign


def test_every_text_with_code_is_run():
    texts = [str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]]
    assert {text for text in texts if blocks_of(text)} == set(PRESUMED)
