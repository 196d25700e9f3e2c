"""Files of fitted models that hold numbers and text only: reading one executes nothing.

A file is in the safetensors format. Its metadata are strings: ``format_version``, ``sklearn_jko``
(the version that wrote it), ``model`` (the class), ``state`` (JSON) and ``digest`` (a checksum
against accidental damage). The state is a dictionary, in which ``{"$array": name}`` stands for the
file's tensor of that name, ``{"$tuple": [...]}`` for a tuple, ``{"$float": "inf"}`` for a number
that JSON lacks, and ``{"$items": [[key, value], ...]}`` for a dictionary whose keys are not all
strings.

A class is saved and loaded by `FileMixin` and two methods that return and take such a state. The
contents of a state, their order and their names are the format: raise `FORMAT_VERSION` with any
change.
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

FORMAT_VERSION = 10
# Room for 50,000 column names or 1,000 blocks. It limits what a hostile header can cost: a second,
# and 100 MB.
MAX_HEADER = 2 * 2**20
DTYPES = {"F64": np.dtype(np.float64), "I64": np.dtype(np.int64)}
ARRAY, TUPLE, FLOAT, ITEMS = "$array", "$tuple", "$float", "$items"
NOT_IN_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
MAX_REASON = 300
VERSION_STAMP = "_sklearn_jko_version"


class SavedModelError(ValueError):
    """The file is not a loadable model: it is damaged, forged, or of another class or version."""


class FileMixin:
    """Saves and loads a scikit-learn estimator, and stamps its pickles with our version.

    A class provides ``_fitted_state()``, which returns what `fit` learned as nested dictionaries,
    lists, tuples, strings, numbers, None and arrays of float64 or int64; and
    ``_set_fitted_state(state)``, which restores it and raises ValueError unless all of it is valid,
    as the file may come from anybody. An estimator inside another one is saved by ``_state()`` and
    restored by ``_from_state(state)``. Parameters named in ``_unsaved`` are not saved.
    """

    _unsaved = ()

    def save(self, path):
        """Write the fitted model to a file, which `load` reads without executing any code from it.

        The file is in the safetensors format and is replaced atomically. A symbolic link is
        followed, except in a folder that anybody can write to: there the link itself is replaced.
        The file holds the parameters, the fitted state and a format version; a model fitted on a
        GPU is stored as on the CPU. The parameter `checkpoint`, which names a file on this machine,
        and the settings of `set_output` are not saved.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        TypeError
            If a parameter is an object that a file without code cannot hold, such as a callable
            `step_size` or a RandomState.
        ValueError
            If a parameter or a fitted attribute was set to a value that `load` would refuse.
        OSError
            If the file cannot be written; an existing file is left as it was. IsADirectoryError if
            the path is a folder.

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
        file_to_write(Path(path))  # a wrong path raises before the work
        state = self._state()
        self._from_state(state)  # raises if `load` would refuse the state
        _write(Path(path), type(self).__name__, state)

    @classmethod
    def load(cls, path):
        """Read a fitted model that `save` wrote.

        On the same machine it scores exactly like the saved one. Whatever the file holds, only
        classes of this package are built from it and no code in it is executed, so files from
        untrusted sources are safe to load. Whether the numbers in it are a good model cannot be
        checked.

        The parameter `device` is restored too: if it names a GPU that this machine lacks, set it to
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
            If the file is damaged, has another format or class, or is in any other way not what
            `save` writes. This is a subclass of ValueError.
        OSError
            If the file cannot be read; FileNotFoundError if it does not exist.
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
                "model again, or obtain another copy of the file."
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
    """The value of a parameter in a form that a file can hold; TypeError if there is none."""
    value = value.toarray() if sparse.issparse(value) else value
    value = dict(value) if isinstance(value, dict) else value
    if hasattr(value, "__array__") and not isinstance(value, np.generic):  # frames, indexes
        value = np.asarray(value)
        if value.dtype.kind in "biuf":
            value = value.astype(np.float64 if value.dtype.kind == "f" else np.int64)
        else:
            value = value.tolist()
    try:
        _encoded(value, name, {})
    except TypeError:
        raise TypeError(
            f"{name}={short_repr(value)} cannot be saved: a file without code holds only numbers, "
            f"strings, lists, dictionaries and None. Call set_params({name}=...) with one of these "
            "(which leaves the fitted model as it is), or use pickle."
        ) from None
    return value


def _write(path, model, state):
    arrays = {}
    text = json.dumps(_encoded(state, model, arrays), allow_nan=False)
    # Every array takes a name, a type, a shape and two offsets of the header.
    if len(json.dumps(text)) + sum(len(name) + 150 for name in arrays) > MAX_HEADER:
        raise ValueError(
            f"A model of {len(arrays)} arrays and {len(text)} characters of text is too large for "
            "a file. Shorten the column names, or use pickle."
        )
    texts = {"format_version": str(FORMAT_VERSION), "sklearn_jko": __version__}
    write_arrays(path, arrays, {**texts, "model": model, "state": text})


def _read(path, model):
    """State in the file of a model of this class; only its form is checked."""
    _check_header(path)
    with safetensors.safe_open(path, "np") as file:
        texts = file.metadata() or {}
        _check_texts(texts, model)
        for name in file.keys():  # noqa: SIM118
            if file.get_slice(name).get_dtype() not in DTYPES:
                raise ValueError(f"its array {short_repr(name)} must have a type of {list(DTYPES)}")
        arrays = read_arrays(file)
    decoded = functools.partial(_decoded, arrays=arrays)
    state = json.loads(texts["state"], object_hook=decoded, parse_constant=_refuse_constant)
    if arrays:
        raise ValueError(f"its arrays {short_repr(list(arrays))} are not used in its state")
    return state


def _check_header(path):
    """Refuse a path that is no file, and a header longer than the file or than any of ours."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(
            f"its header claims {length} bytes, in a file of {size}; at most {MAX_HEADER} are read"
        )


def _check_texts(texts, model):
    version, writer = texts.get("format_version"), texts.get("sklearn_jko")
    if version not in (None, str(FORMAT_VERSION)):
        raise ValueError(
            f"it was written in format {short_repr(version)} by sklearn_jko {short_repr(writer)}, "
            f"but sklearn_jko {__version__} reads format {FORMAT_VERSION}"
        )
    check_keys("metadata", texts, ("format_version", "sklearn_jko", "model", "state", "digest"))
    if texts["model"] != model:
        raise ValueError(f"it holds a {short_repr(texts['model'])}, whose own `load` reads it")


def _encoded(value, name, arrays):
    """The value as JSON can hold it; its arrays are added to `arrays`, by name."""
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
    """The value that a JSON dictionary stands for, innermost first; an array is used only once."""
    if value.keys() == {ARRAY}:
        if not isinstance(value[ARRAY], str) or value[ARRAY] not in arrays:
            raise ValueError(f"its array {short_repr(value[ARRAY])} is missing or named twice")
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
