"""Scripts run as their user runs them, again without the wait for another Python, and loaded."""

import contextlib
import importlib.util
import io
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

# Where peaks of memory are read and reset.
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"
)


def marked(names, **marks):
    """The names as parameters of a test, some with a mark."""
    return [pytest.param(name, marks=marks.get(name, ())) for name in names]


def load(path, folder=None):
    """Import a script under a name that shadows nothing; it finds others in its folder or this."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder or path.parent)
        spec.loader.exec_module(module)
    return module


def in_new_python(path, *arguments):
    """What a script printed in a process of its own, which must end without an error."""
    done = subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_this_python(path, *arguments, **environment):
    """What a script printed, and the warnings that it let through.

    To import torch and scikit-learn anew takes longer than most scripts run in a test.
    """
    printed, n_threads = io.StringIO(), torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        patch.syspath_prepend(path.parent)
        for name, value in {"MPLBACKEND": "Agg", **environment}.items():
            patch.setenv(name, str(value))
        stack.enter_context(threadpool_limits(1))
        let_through = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("default")
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.callback(torch.set_num_threads, n_threads)
        runpy.run_path(str(path), run_name="__main__")
    return printed.getvalue(), [str(w.message) for w in let_through]
