"""File from which an interrupted fit resumes.

It is a safetensors file, which holds only numbers and text: reading it executes no code.
"""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import torch
from sklearn.utils import gen_batches

from sklearn_jko._version import __version__
from sklearn_jko.checks import check_keys, check_number, short_repr
from sklearn_jko.files.model_state import history_from_state, history_state
from sklearn_jko.files.tensor_file import read_arrays, write_arrays
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.training.flow_training import Progress
from sklearn_jko.training.pilot import ScalingChoice
from sklearn_jko.user_warnings import warn_user

__all__ = ["Checkpoint", "SavedFit", "as_json", "data_digest"]

GENERATOR = "generator"
ROWS_AT_ONCE = 65_536


class SavedFit(NamedTuple):
    """All that has been decided and trained so far."""

    seed: int
    scaling: ScalingChoice
    seconds: float
    progress: Progress


class Checkpoint:
    """The file of one fit.

    Parameters
    ----------
    path : str or path-like
    job : dict
        All that the fit depends on, by name, as JSON can hold it. A file of another job, or of
        another version of this package, is refused; a longer fit is not another job.

    Raises
    ------
    ValueError
        If the file cannot be written.
    """

    def __init__(self, path, job):
        self.path = Path(path)
        self.job = as_json({"sklearn_jko": __version__, **job})
        if self.path.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise ValueError(
                f"checkpoint={str(path)!r} must name a file in an existing, writable folder."
            )

    def load(self):
        """Return the saved fit, or None if there is no file.

        Raises
        ------
        ValueError
            If the file is damaged, or belongs to other data, parameters or versions. Parameters
            on which the training does not depend may change, and `max_time`; `n_refinements` may
            grow, and before the first refinement `max_blocks` too.
        """
        if not self.path.exists():
            return None
        job, saved = self._read()
        is_refined = any(record.refinement for record in saved.progress.history)
        differing = [
            name
            for name, now in self.job.items()
            if not _goes_on(name, job.get(name), now, is_refined)
        ]
        if differing:
            made = ", ".join(f"{name}={job.get(name)!r}" for name in differing)
            now = ", ".join(f"{name}={self.job[name]!r}" for name in differing)
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another fit: it was made with {made}, "
                f"but this fit has {now}. To resume, fit with the former; to start anew, pass "
                "another file or delete this one. The fits of a cross-validation or a search share "
                "one file: set checkpoint=None there."
            )
        return saved

    def save(self, saved):
        """Replace the file atomically: there is never a partial file under its name."""
        history = history_state(saved.progress.history)
        fields = {**saved._asdict(), "job": self.job, "progress": history}
        tensors = {GENERATOR: saved.progress.generator_state.cpu()}
        for k, weights in enumerate(saved.progress.weights):
            tensors |= {f"{k}.{name}": tensor.cpu() for name, tensor in weights.items()}
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        try:
            write_arrays(self.path, arrays, {"fit": json.dumps(fields)})
        except OSError as error:
            # A full disk must not end the training.
            warn_user(
                f"checkpoint={str(self.path)!r} could not be written ({error}); training continues "
                "without it. To be able to resume, free some space or pass another file.",
                RuntimeWarning,
            )

    def _read(self):
        texts = {}
        try:
            with safetensors.safe_open(self.path, "np") as file:
                texts = file.metadata() or {}
                arrays, fields = read_arrays(file), json.loads(texts["fit"])
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            return _parsed(fields, tensors)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            if "model" in texts:
                raise ValueError(
                    f"checkpoint={str(self.path)!r} is a model written by `save`, from which a fit "
                    "cannot resume. Pass another file."
                ) from error
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"checkpoint={str(self.path)!r} is damaged or not a checkpoint ({reason}). Delete "
                "it to start anew, or pass another file."
            ) from error


def data_digest(*columns):
    """Number that identifies a table, whatever the order of its rows.

    The numbers of two tables add up, modulo 2^64, to that of both together.

    Parameters
    ----------
    *columns : ndarrays of shape (n, d) or (n,)
    """
    digest = 0
    for part in gen_batches(len(columns[0]), ROWS_AT_ONCE):  # a copy of all would double the memory
        hashes = hash_rows(np.column_stack([column[part] for column in columns]))
        digest += int(hashes.sum())
    return digest % 2**64


def _goes_on(name, made, now, is_refined):
    """Whether a fit that was made with one value of a parameter can resume with another."""
    if name == "max_time":
        return True
    if name == "n_refinements" or (name == "max_blocks" and not is_refined):
        return isinstance(made, int) and made <= now
    if name == "step_size":  # a list of as many as there are blocks to try
        return isinstance(made, list) and made == now[: len(made)]
    return made == now


def _parsed(fields, tensors):
    """The job and the `SavedFit` of a file's text and tensors."""
    check_keys("fit", fields, (*SavedFit._fields, "job"))
    job, history = fields.pop("job"), history_from_state(fields.pop("progress"))
    if not isinstance(job, dict):
        raise ValueError(f"job must be a dictionary; it is {short_repr(job)}")
    check_number("seed", fields["seed"], 0, 2**31 - 1, whole=True)
    check_number("seconds", fields["seconds"], 0.0)
    fields["scaling"] = ScalingChoice(*fields["scaling"])
    generator_state = tensors.pop(GENERATOR)
    weights = {str(k): {} for k in range(sum(record.kept for record in history))}
    for name, tensor in tensors.items():
        k, name_in_block = name.split(".", 1)
        weights[k][name_in_block] = tensor
    progress = Progress(tuple(history), tuple(weights.values()), generator_state)
    return job, SavedFit(**fields, progress=progress)


def as_json(value):
    """A value after a round trip through JSON: tuples and arrays as lists, plain numbers."""
    return json.loads(json.dumps(value, default=_plain))


def _plain(value):
    """NumPy's numbers, and all that lists values, as Python's; the representation of the rest."""
    if hasattr(value, "tolist"):
        return value.tolist()
    # The representation of a long series of polars leaves values out.
    return list(value) if isinstance(value, Collection) else repr(value)
