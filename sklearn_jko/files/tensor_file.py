"""Safetensors file of arrays and texts, with a check sum, that is replaced in one step."""

import hashlib
import os
import secrets

import numpy as np
import safetensors.numpy

__all__ = ["read_arrays", "write_arrays"]

DIGEST = "digest"


def write_arrays(path, arrays, texts):
    """Write a file in one step: at no moment is there a partial one under its name.

    Parameters
    ----------
    path : Path
    arrays : dict of str to ndarray
    texts : dict of str to str

    Raises
    ------
    OSError
        If no file can be written there.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{str(path)!r} cannot be written: there is no {path.parent}.")
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {**texts, DIGEST: _digest(texts, arrays)}
    _write_atomically(path, safetensors.numpy.save(arrays, metadata))


def read_arrays(file):
    """Arrays of a file opened by `safetensors.safe_open`, whose check sum is compared.

    Raises
    ------
    ValueError
        If the check sum is wrong.
    """
    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    texts = file.metadata() or {}
    if texts.pop(DIGEST, None) != _digest(texts, arrays):
        raise ValueError("its check sum is wrong")
    return arrays


def _digest(texts, arrays):
    digest = hashlib.blake2b(repr(sorted(texts.items())).encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _write_atomically(path, content):
    # A name of its own, new and hard to guess: neither a second writer nor a link laid out in a
    # shared folder meets it.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
