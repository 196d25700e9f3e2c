"""Safetensors file of arrays and strings, with a checksum, that is replaced atomically."""

import hashlib
import os
import secrets
import stat

import numpy as np
import safetensors.numpy

__all__ = ["file_to_write", "read_arrays", "write_arrays"]

DIGEST = "digest"
# A longer chain of links is taken for a circle; Linux follows as many.
MAX_LINKS = 40


def file_to_write(path):
    """The file that a path names, at the end of symbolic links, if it can be written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    file : Path

    Raises
    ------
    OSError
        If it is a folder or not a regular file, or its folder does not exist.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder; pass a file, such as {str(path / 'model.safetensors')!r}."
        )
    if path.exists() and not path.is_file():
        raise FileExistsError(f"{str(path)!r} is not a regular file; pass another path.")
    file = _followed(path)
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"{str(path)!r} cannot be written: there is no folder {str(file.parent)!r}. Create it, "
            "or pass another path."
        )
    return file


def write_arrays(path, arrays, texts):
    """Write a file atomically: there is never a partial file under its name.

    A symbolic link is followed, except in a folder that anybody can write to: there the file
    replaces the link.

    Parameters
    ----------
    path : Path
    arrays : dict of str to ndarray
    texts : dict of str to str

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    file = file_to_write(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {**texts, DIGEST: _digest(texts, arrays)}
    _write_atomically(file, safetensors.numpy.save(arrays, metadata))


def read_arrays(file):
    """Arrays of a file opened by `safetensors.safe_open`, after checking its checksum.

    Raises
    ------
    ValueError
        If the checksum is wrong.
    """
    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    texts = file.metadata() or {}
    if texts.pop(DIGEST, None) != _digest(texts, arrays):
        raise ValueError("its checksum is wrong")
    return arrays


def _digest(texts, arrays):
    digest = hashlib.blake2b(repr(sorted(texts.items())).encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _followed(path):
    # A link in the user's own folder was made by the user, who wants it kept. In a folder that
    # anybody can write to, such as /tmp, a stranger may have placed it to have the user overwrite
    # some file: such a link is not followed, not even at the end of others.
    for _ in range(MAX_LINKS):
        if not path.is_symlink() or path.parent.stat().st_mode & stat.S_IWOTH:
            break
        path = path.parent / path.readlink()
    return path


def _write_atomically(path, content):
    # A new name that is hard to guess, so that neither a second writer nor a link planted in a
    # shared folder has the same one.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
