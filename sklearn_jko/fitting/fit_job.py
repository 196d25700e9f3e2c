"""All that a fit depends on, in a form to compare with a checkpoint and between processes."""

from numbers import Integral

from sklearn_jko.files.checkpoint import Checkpoint, as_json, data_digest
from sklearn_jko.rows.shards import are_pooled
from sklearn_jko.step_sizes import step_sizes

__all__ = ["check_group", "open_checkpoint"]


def open_checkpoint(density, read, processes):
    """The checkpoint of a fit, bound to all that the training depends on.

    Parameters
    ----------
    density : JKOFlowDensity
        Its parameters are read.
    read : FitInput
    processes : Processes

    Returns
    -------
    checkpoint : Checkpoint or None
        None if `checkpoint` is None.

    Raises
    ------
    ValueError
        If the file cannot be written.
    """
    if density.checkpoint is None:
        return None
    tables = {
        "X": (read.X,),
        "sample_weight": (read.X, read.sample_weight),
        "X_val": (read.X_val,),
    }
    with processes.failing_together():
        job = _job(density, read)
        digests = {
            name: None if table[-1] is None else (len(table[0]), data_digest(*table))
            for name, table in tables.items()
        }
    for name, own in digests.items():
        lengths, sums = zip(*processes.all_gather(own or (0, 0)), strict=True)
        job[name] = own and (sum(lengths), read.X.shape[1], f"{sum(sums) % 2**64:016x}")
    # With more rows, a group chooses the scaling and the held-out rows from a sample.
    job["process_group"] = "any" if are_pooled(job["X"][0], processes) else None
    return processes.on_first(lambda: Checkpoint(density.checkpoint, job))


def check_group(density, read, processes):
    """Raise ValueError if a group cannot do this fit, or the processes were called differently.

    Parameters
    ----------
    density, read, processes
        As in `open_checkpoint`, with more than one process.
    """
    with processes.failing_together():
        _check_supported(density, read)
        told = as_json({**_form(density, read), **_job(density, read)})
    processes.check_alike(told)


def _job(density, read):
    """Parameters on which the training depends."""
    job = {
        name: value
        for name, value in density.get_params(deep=False).items()
        if name not in ("checkpoint", "solver_tol", "verbose")
    }
    if isinstance(density.columns, dict):
        job["columns"] = list(density.columns.items())  # keys may be NumPy's numbers
    job["step_size"] = [step_sizes(density.step_size)(k) for k in range(density.max_blocks)]
    job["structure"] = read.structure and read.structure.state()
    job["device"] = read.device.type
    if not isinstance(density.random_state, Integral):
        job["random_state"] = None  # the checkpoint then holds the seed that was drawn
    return job


def _form(density, read):
    """What must be the same in all processes in addition to the parameters."""
    names = getattr(density, "feature_names_in_", None)
    return {
        "the number of columns of X": read.X.shape[1],
        "the names of its columns": None if names is None else names.tolist(),
        "whether there is a sample_weight": read.sample_weight is not None,
        "whether there is an X_val": read.X_val is not None,
        "whether there is a checkpoint": density.checkpoint is not None,
    }


def _check_supported(density, read):
    for name in ("columns", "condition"):
        value = getattr(density, name)
        if value is not None:
            raise ValueError(
                f"{name}={value!r} is not supported with a process group; leave it at None, or "
                "fit in one process."
            )
    if read.has_missing:
        raise ValueError(
            "X or X_val has missing values (NaN), which are not supported with a process group; "
            "leave these rows out, or fit in one process."
        )
