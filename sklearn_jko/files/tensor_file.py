"""Safetensors file of arrays and texts, with a check sum, that is replaced in one step."""

import hashlib
import os
import secrets
import stat

import numpy as np
import safetensors.numpy

__all__ = ["file_to_write", "read_arrays", "write_arrays"]

DIGEST = "digest"
# More links after one another go round in a circle; Linux follows as many.
MAX_LINKS = 40


def file_to_write(path):
    """What a path names, at the end of symbolic links, if a file can be written there.

    Parameters
    ----------
    path : Path

    Returns
    -------
    file : Path

    Raises
    ------
    OSError
        If it is a folder or no regular file, or its folder is not there.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder: name a file, such as {str(path / 'model.safetensors')!r}."
        )
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{str(path)!r} is no regular file: name another.")
    file = _followed(path)
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{str(path)!r} cannot be written: there is no {file.parent}.")
    return file


def write_arrays(path, arrays, texts):
    """Write a file in one step: at no moment is there a partial one under its name.

    What a symbolic link points at is written and the link kept, but in a folder where anybody may
    write: there the file takes the place of the link.

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
    file = file_to_write(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {**texts, DIGEST: _digest(texts, arrays)}
    _write_atomically(file, safetensors.numpy.save(arrays, metadata))


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


def _followed(path):
    # A link in a folder of the user's is the user's own, who wants it kept. In one where anybody
    # may write, such as /tmp, a stranger may have laid it out in wait, to have any file of the
    # user's overwritten: no such link is followed, not even behind others.
    for _ in range(MAX_LINKS):
        if not path.is_symlink() or path.parent.stat().st_mode & stat.S_IWOTH:
            break
        path = path.parent / path.readlink()
    return path


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
