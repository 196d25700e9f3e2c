"""The house's rules: imports point one way, and importing the package changes nothing else."""

import ast
import importlib
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import sklearn_jko

ROOT = Path(sklearn_jko.__file__).parent
# A file, or the files of a folder, import from lower layers only.
LAYERS = {
    "sklearn_jko._version": 0,
    "sklearn_jko.bases": 0,
    "sklearn_jko.checks": 0,
    "sklearn_jko.devices": 0,
    "sklearn_jko.divergence": 0,
    "sklearn_jko.solvers": 0,
    "sklearn_jko.statistics": 0,
    "sklearn_jko.step_sizes": 0,
    "sklearn_jko.user_warnings": 0,
    "sklearn_jko.velocities": 0,
    "sklearn_jko.two_sample": 1,
    "sklearn_jko.flow": 2,
    "sklearn_jko.rows": 2,
    "sklearn_jko.scaling": 2,
    "sklearn_jko.structure": 2,
    "sklearn_jko.columns": 3,
    "sklearn_jko.detection": 3,
    "sklearn_jko.diagnostics": 3,
    "sklearn_jko.solver_steps": 3,
    "sklearn_jko.missing": 4,
    "sklearn_jko.table_scaler": 4,
    "sklearn_jko.training": 4,
    "sklearn_jko.evaluation": 5,
    "sklearn_jko.files": 5,
    "sklearn_jko.fitting": 6,
    "sklearn_jko.plotting": 6,
    "sklearn_jko.estimator": 7,
    "sklearn_jko.export": 8,
    "sklearn_jko.outlier": 8,
    "sklearn_jko": 9,
}
# Their files are choices or pictures, which know nothing of each other.
FOLDERS_OF_PEERS = ("sklearn_jko.plotting", "sklearn_jko.scaling", "sklearn_jko.velocities")


def module_name(path):
    parts = ("sklearn_jko", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", MODULES)


def home(module):
    """The module's entry in the table: its folder, where it lives in one."""
    return ".".join(module.split(".")[:2])


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


def is_of_the_folder(importer, imported):
    """Whether both are of one folder, and the one may know the other."""
    if home(importer) != home(imported):
        return False
    if home(imported) not in FOLDERS_OF_PEERS or importer == home(importer):
        return True
    return imported.removeprefix(home(imported) + ".").startswith("_")


def test_every_module_has_a_layer():
    assert {home(module) for module in MODULES} == set(LAYERS)


@every_module
def test_imports_point_one_way(module):
    for imported in ours(imports(ast.walk(MODULES[module]))):
        assert imported in MODULES
        if not is_of_the_folder(module, imported):
            assert LAYERS[home(imported)] < LAYERS[home(module)], f"{module} imports {imported}"


def test_no_imports_go_in_circles():
    graph = {module: ours(imports(ast.walk(tree))) for module, tree in MODULES.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)


@every_module
def test_imports_stand_at_the_top(module):
    tree = MODULES[module]
    assert ours(imports(ast.walk(tree))) == ours(imports(tree.body))
    assert not [name for name in imports(tree.body) if name.split(".")[0] == "matplotlib"]


def public_names(module):
    (public,) = [
        ast.literal_eval(node.value)
        for node in MODULES[module].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__all__"
    ]
    return public


@every_module
def test_imported_names_are_public(module):
    for node in MODULES[module].body:
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = {
                alias.name for alias in node.names if f"{node.module}.{alias.name}" not in MODULES
            }
            assert names <= set(public_names(node.module)), f"{module} imports {names}"


@every_module
def test_module_opens_with_a_docstring_and_names_what_is_public(module):
    assert ast.get_docstring(MODULES[module])
    public = public_names(module)
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
