"""The house's rules: imports point one way, and importing the package changes nothing else."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_jko

ROOT = Path(sklearn_jko.__file__).parent
# A module imports from lower layers only.
LAYERS = {
    "sklearn_jko._version": 0,
    "sklearn_jko.attribution": 0,
    "sklearn_jko.bases": 0,
    "sklearn_jko.cells": 0,
    "sklearn_jko.checks": 0,
    "sklearn_jko.column_guess": 0,
    "sklearn_jko.column_statistics": 0,
    "sklearn_jko.conformal": 0,
    "sklearn_jko.devices": 0,
    "sklearn_jko.divergence": 0,
    "sklearn_jko.incomplete_normal": 0,
    "sklearn_jko.neighbours": 0,
    "sklearn_jko.observation": 0,
    "sklearn_jko.optimizer": 0,
    "sklearn_jko.partitioned": 0,
    "sklearn_jko.processes": 0,
    "sklearn_jko.row_hash": 0,
    "sklearn_jko.schedules": 0,
    "sklearn_jko.solvers": 0,
    "sklearn_jko.stopping": 0,
    "sklearn_jko.tables": 0,
    "sklearn_jko.tensor_file": 0,
    "sklearn_jko.two_sample": 0,
    "sklearn_jko.user_warnings": 0,
    "sklearn_jko.velocities": 0,
    "sklearn_jko.weighting": 0,
    "sklearn_jko.categories": 1,
    "sklearn_jko.column_kinds": 1,
    "sklearn_jko.flow": 1,
    "sklearn_jko.label_whitening": 1,
    "sklearn_jko.missing": 1,
    "sklearn_jko.normal_mixture": 1,
    "sklearn_jko.persistence": 1,
    "sklearn_jko.reservoir": 1,
    "sklearn_jko.resolution": 1,
    "sklearn_jko.scaling": 1,
    "sklearn_jko.splitting": 1,
    "sklearn_jko.structure": 1,
    "sklearn_jko.two_layer_solve": 1,
    "sklearn_jko.column_codes": 2,
    "sklearn_jko.diagnostics": 2,
    "sklearn_jko.evaluation": 2,
    "sklearn_jko.input_codes": 2,
    "sklearn_jko.marginal_mixture": 2,
    "sklearn_jko.objective": 2,
    "sklearn_jko.partition": 2,
    "sklearn_jko.refinement": 2,
    "sklearn_jko.scaler_twins": 2,
    "sklearn_jko.block_training": 3,
    "sklearn_jko.category_model": 3,
    "sklearn_jko.shards": 3,
    "sklearn_jko.columns": 3,
    "sklearn_jko.completion": 3,
    "sklearn_jko.table_scaler": 3,
    "sklearn_jko.automatic": 4,
    "sklearn_jko.model_state": 4,
    "sklearn_jko.training": 4,
    "sklearn_jko.checkpoint": 5,
    "sklearn_jko.monitoring": 5,
    "sklearn_jko.pilot": 5,
    "sklearn_jko.fit_input": 5,
    "sklearn_jko.fit_job": 6,
    "sklearn_jko.plotting": 6,
    "sklearn_jko.fitting": 7,
    "sklearn_jko.estimator": 8,
    "sklearn_jko.export": 9,
    "sklearn_jko.outlier": 9,
    "sklearn_jko": 10,
}
FOLDERS = ("sklearn_jko.plotting", "sklearn_jko.scaling", "sklearn_jko.velocities")


def module_name(path):
    parts = ("sklearn_jko", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", MODULES)


def home(module):
    """The module's entry in the table: its folder, where it lives in one."""
    return next((folder for folder in FOLDERS if module.startswith(folder + ".")), module)


def imports(nodes):
    """Names of the modules that the statements import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in whole)


def ours(names):
    return [name for name in names if name.split(".")[0] == "sklearn_jko"]


def is_helper(importer, imported):
    """Whether one file of a folder imports a helper, or the folder's `__init__` a file."""
    name = imported.removeprefix(home(imported) + ".")
    return home(importer) == home(imported) and (importer == home(importer) or name.startswith("_"))


def test_every_module_has_a_layer():
    assert {home(module) for module in MODULES} == set(LAYERS)


@every_module
def test_imports_point_one_way(module):
    for imported in ours(imports(ast.walk(MODULES[module]))):
        assert imported in MODULES
        if not is_helper(module, imported):
            assert LAYERS[home(imported)] < LAYERS[home(module)], f"{module} imports {imported}"


@every_module
def test_imports_stand_at_the_top(module):
    tree = MODULES[module]
    assert ours(imports(ast.walk(tree))) == ours(imports(tree.body))
    assert not [name for name in imports(tree.body) if name.split(".")[0] == "matplotlib"]


@every_module
def test_module_opens_with_a_docstring_and_names_what_is_public(module):
    tree = MODULES[module]
    assert ast.get_docstring(tree)
    (public,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__all__"
    ]
    assert public == sorted(public, key=lambda name: (not name.isupper(), name.islower(), name))
    namespace = vars(importlib.import_module(module))
    assert all(name in namespace for name in public)


GLOBAL_STATE = """
import random, warnings
import numpy as np, scipy.optimize, scipy.special, sklearn.base, sklearn.utils.validation
import sklearn.pipeline, sklearn.utils._param_validation, torch, torchdiffeq

def state():
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": [part.tolist() if hasattr(part, "tolist") else part
                  for part in np.random.get_state()],
        "python": random.getstate(),
        "errors": np.geterr(),
        "print": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "sklearn": sklearn.get_config(),
    }

before = state()
import sklearn_jko
after = state()
print([name for name in before if before[name] != after[name]])
"""


def test_import_leaves_global_state_alone():
    done = subprocess.run(
        [sys.executable, "-c", GLOBAL_STATE], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


FIRST_FIT = """
import sys, numpy as np
from sklearn_jko import JKOFlowDensity
JKOFlowDensity(max_blocks=1, max_iter=3).fit(np.random.default_rng(0).normal(size=(60, 2)))
print("torch._dynamo" in sys.modules)
"""


def test_a_fit_does_not_import_the_compiler_of_torch():
    """It would cost the first fit of every process more than a second."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_FIT],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
