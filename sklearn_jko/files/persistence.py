"""Files of fitted models that hold numbers and text only: reading one executes nothing.

A file is in the safetensors format. Its metadata are texts: ``format_version``, ``sklearn_jko``
(the version that wrote it), ``model`` (the class), ``state`` (JSON) and ``digest`` (a check sum
against accidental damage). The state is a dictionary; where it has ``{"$array": name}`` the file's
tensor of that name stands, ``{"$tuple": [...]}`` is a tuple, ``{"$float": "inf"}`` a number that
JSON lacks, ``{"$items": [[key, value], ...]}`` a dictionary by other keys than texts.

A class becomes one of files by `FileMixin` and two methods that give and take such a state. What
stands in a state, in which order and by which names, is the format: who changes it raises
`FORMAT_VERSION`.
"""

import functools
import json
import math
import os
from pathlib import Path

import numpy as np
import safetensors
from scipy import sparse
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from sklearn_jko._version import __version__
from sklearn_jko.checks import check_keys, short_repr
from sklearn_jko.files.tensor_file import file_to_write, read_arrays, write_arrays
from sklearn_jko.user_warnings import warn_user

__all__ = ["FORMAT_VERSION", "FileMixin", "SavedModelError"]

FORMAT_VERSION = 9
# Room for 50,000 names of columns or 1,000 blocks. What a hostile header costs is then bounded: a
# second, and 100 MB.
MAX_HEADER = 2 * 2**20
DTYPES = {"F64": np.dtype(np.float64), "I64": np.dtype(np.int64)}
ARRAY, TUPLE, FLOAT, ITEMS = "$array", "$tuple", "$float", "$items"
NOT_IN_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
MAX_REASON = 300
VERSION_STAMP = "_sklearn_jko_version"


class SavedModelError(ValueError):
    """A file is no model that can be loaded: damaged, of another class or version, or forged."""


class FileMixin:
    """Saves and loads a scikit-learn estimator, and stamps its pickles with our version.

    A class offers ``_fitted_state()``, what its `fit` learned as nested dictionaries, lists,
    tuples, strings, numbers, None and arrays of float64 or int64; and ``_set_fitted_state(state)``,
    which takes that back and raises ValueError unless all of it is sound: anybody may have written
    it. An estimator inside another gives its own part by ``_state()`` and comes back by
    ``_from_state(state)``. Parameters named in ``_unsaved`` do not go into the file.
    """

    _unsaved = ()

    def save(self, path):
        """Write the fitted model to a file, which `load` reads without executing anything.

        The file is a safetensors file, replaced in one step; a symbolic link is kept and what it
        points at replaced, but in a folder where anybody may write. It holds the parameters, all
        that was fitted, and a format version; a model fitted on a GPU is in it as one of the CPU.
        `checkpoint` is left out, as it names a file of this machine, and so are the settings of
        `set_output`.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotFittedError
            If it is not fitted.
        TypeError
            If a parameter is an object that a file without code cannot hold, such as a function
            as `step_size` or a RandomState.
        ValueError
            If a parameter or a fitted attribute was set to what `load` would refuse.
        OSError
            If the file cannot be written; one that was there before is left as it was.
            IsADirectoryError if the path is a folder's.

        Examples
        --------
        >>> import os, tempfile
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_jko import JKOFlowDensity
        >>> X = load_iris().data
        >>> density = JKOFlowDensity(max_blocks=0, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "iris.safetensors")
        ...     density.save(path)
        ...     loaded = JKOFlowDensity.load(path)
        >>> bool((loaded.score_samples(X) == density.score_samples(X)).all())
        True
        """
        check_is_fitted(self)
        file_to_write(Path(path))  # a wrong path is told before the work
        state = self._state()
        self._from_state(state)  # what `load` would refuse is not written
        _write(Path(path), type(self).__name__, state)

    @classmethod
    def load(cls, path):
        """Read a fitted model that `save` wrote.

        It scores like the one saved, to the last bit on the same machine. Whatever a file holds,
        only classes of this package are built from it and no code of it is executed, so it may
        come from a stranger. That its numbers are a good model, nothing can tell.

        The parameter `device` is as it was: where it names a GPU that this machine lacks, set it to
        "cpu" before scoring.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        model : estimator of this class

        Raises
        ------
        SavedModelError
            If the file is damaged, of another format or another class, or in any way not what
            `save` writes. It is a ValueError.
        OSError
            If the file cannot be read; FileNotFoundError where there is none.
        """
        path = Path(path)
        try:
            return cls._from_state(_read(path, cls.__name__))
        except (
            safetensors.SafetensorError,
            KeyError,
            MemoryError,
            OverflowError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            reason = str(error) or type(error).__name__
            reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}..."
            raise SavedModelError(
                f"{str(path)!r} holds no {cls.__name__} that can be loaded: {reason}. Save the "
                "model again, or get another copy of the file."
            ) from error

    def _state(self):
        return {"parameters": self._parameters_state(), "fitted": self._fitted_state()}

    def _parameters_state(self):
        names = [name for name in self.get_params(deep=False) if name not in self._unsaved]
        return {name: _storable(name, getattr(self, name)) for name in names}

    @classmethod
    def _from_state(cls, state):
        check_keys(cls.__name__, state, ("parameters", "fitted"))
        model = cls._from_parameters_state(state["parameters"])
        model._set_fitted_state(state["fitted"])
        return model

    @classmethod
    def _from_parameters_state(cls, state):
        names = [name for name in cls().get_params(deep=False) if name not in cls._unsaved]
        check_keys("parameters", state, names)
        model = cls(**state)
        model._validate_params()
        return model

    def __getstate__(self):
        return {**super().__getstate__(), VERSION_STAMP: __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop(VERSION_STAMP, "unknown")
        if version != __version__:
            warn_user(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=f"{__version__} of sklearn_jko",
                    original_sklearn_version=f"{version} of sklearn_jko",
                ),
            )
        super().__setstate__(state)


def _storable(name, value):
    """The value of a parameter, unless a file cannot hold it."""
    value = value.toarray() if sparse.issparse(value) else value
    if hasattr(value, "__array__") and not isinstance(value, np.generic):  # a frame or an index too
        value = np.asarray(value)
        if value.dtype.kind in "biuf":
            value = value.astype(np.float64 if value.dtype.kind == "f" else np.int64)
        else:
            value = value.tolist()
    try:
        _encoded(value, name, {})
    except TypeError:
        raise TypeError(
            f"{name}={short_repr(value)} cannot be saved: a file without code holds numbers, "
            f"strings, lists, dictionaries and None. Use set_params({name}=...) with one of these, "
            "which leaves the fitted model as it is, or pickle."
        ) from None
    return value


def _write(path, model, state):
    arrays = {}
    text = json.dumps(_encoded(state, model, arrays), allow_nan=False)
    # Every array takes a name, a type, a shape and two offsets of the header.
    if len(json.dumps(text)) + sum(len(name) + 150 for name in arrays) > MAX_HEADER:
        raise ValueError(
            f"A model of {len(arrays)} arrays and {len(text)} characters of text is too large for "
            "a file. Shorten the names of the columns, or use pickle."
        )
    texts = {"format_version": str(FORMAT_VERSION), "sklearn_jko": __version__}
    write_arrays(path, arrays, {**texts, "model": model, "state": text})


def _read(path, model):
    """State in the file of a model of this class; nothing of it but its form is checked."""
    _check_header(path)
    with safetensors.safe_open(path, "np") as file:
        texts = file.metadata() or {}
        _check_texts(texts, model)
        for name in file.keys():  # noqa: SIM118
            if file.get_slice(name).get_dtype() not in DTYPES:
                raise ValueError(f"its array {short_repr(name)} is none of {list(DTYPES)}")
        arrays = read_arrays(file)
    decoded = functools.partial(_decoded, arrays=arrays)
    state = json.loads(texts["state"], object_hook=decoded, parse_constant=_refuse_constant)
    if arrays:
        raise ValueError(f"its arrays {short_repr(list(arrays))} stand nowhere")
    return state


def _check_header(path):
    """Refuse what is no file, and a header that is longer than the file or than any of ours."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(
            f"its header would take {length} bytes of {size}; {MAX_HEADER} are the most"
        )


def _check_texts(texts, model):
    version, writer = texts.get("format_version"), texts.get("sklearn_jko")
    if version not in (None, str(FORMAT_VERSION)):
        raise ValueError(
            f"it was written in format {short_repr(version)} by sklearn_jko {short_repr(writer)}, "
            f"and sklearn_jko {__version__} reads format {FORMAT_VERSION}"
        )
    check_keys("metadata", texts, ("format_version", "sklearn_jko", "model", "state", "digest"))
    if texts["model"] != model:
        raise ValueError(f"it is one of {short_repr(texts['model'])}, whose own `load` reads it")


def _encoded(value, name, arrays):
    """The value as JSON can hold it; its arrays are put beside, by name."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype in DTYPES.values():
        arrays[name] = value
        return {ARRAY: name}
    if type(value) in (list, tuple):
        items = [_encoded(item, f"{name}.{k}", arrays) for k, item in enumerate(value)]
        return items if type(value) is list else {TUPLE: items}
    if type(value) is dict and not all(type(key) is str and key[:1] != "$" for key in value):
        return {ITEMS: [_encoded(list(item), name, arrays) for item in value.items()]}
    if type(value) is dict:
        return {key: _encoded(item, f"{name}.{key}", arrays) for key, item in value.items()}
    if type(value) is float and not math.isfinite(value):
        return {FLOAT: str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{name}={short_repr(value)} cannot be saved")


def _decoded(value, arrays):
    """What a dictionary of the JSON stands for, from the innermost on; an array is taken once."""
    if value.keys() == {ARRAY}:
        if not isinstance(value[ARRAY], str) or value[ARRAY] not in arrays:
            raise ValueError(f"it lacks the array {short_repr(value[ARRAY])}, or names it twice")
        return arrays.pop(value[ARRAY])
    if value.keys() == {TUPLE}:
        return tuple(value[TUPLE])
    if value.keys() == {ITEMS}:
        return dict(value[ITEMS])
    if value.keys() == {FLOAT} and value[FLOAT] in NOT_IN_JSON:
        return NOT_IN_JSON[value[FLOAT]]
    return value


def _refuse_constant(name):
    raise ValueError(f"its JSON holds {name}")
