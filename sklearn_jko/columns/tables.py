"""Tables of numpy, pandas and polars as lists of columns, and back."""

import importlib
import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

from sklearn_jko.checks import short_repr
from sklearn_jko.rows.dask_tables import check_computed
from sklearn_jko.rows.table_types import as_array, is_frame, without_masks_or_arrow

__all__ = [
    "FLOAT",
    "TYPES",
    "ColumnType",
    "Table",
    "build_table",
    "check_different_names",
    "check_names",
    "has_times",
    "read_table",
    "with_labels",
]

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_CAPITAL_INTEGERS = tuple(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
# The types of columns that can be read and made, by the libraries' names.
TYPES = {
    "numpy": ("bool", "float64", "object", "str", *_INTEGERS),
    "pandas": (
        "bool",
        "boolean",
        "category",
        "float32",
        "float64",
        "Float32",
        "Float64",
        "object",
        "str",
        "string",
        *_INTEGERS,
        *_CAPITAL_INTEGERS,
    ),
    "polars": (
        "Boolean",
        "Categorical",
        "Enum",
        "Float32",
        "Float64",
        "String",
        *_CAPITAL_INTEGERS,
    ),
}
# Types that are read as one of these, and returned as that one in samples.
_READ_AS = {
    "pandas": {
        "float16": "float32",
        "halffloat[pyarrow]": "Float32",
        "float[pyarrow]": "Float32",
        "double[pyarrow]": "Float64",
        "bool[pyarrow]": "boolean",
        "string[pyarrow]": "string",
        "large_string[pyarrow]": "string",
        **{f"{name.lower()}[pyarrow]": name for name in _CAPITAL_INTEGERS},
    },
    "polars": {
        "Null": "Float64",
        "Float16": "Float32",
        "Decimal": "Float64",
        "Int128": "Int64",
        "UInt128": "UInt64",
    },
}
_MANY = 8  # columns of one type
FLOAT = {"numpy": "float64", "pandas": "float64", "polars": "Float64"}


class ColumnType(NamedTuple):
    """A column's type in its table: a name in `TYPES`, and the categories that it declares."""

    name: str
    categories: list | None = None
    ordered: bool = False


class Table(NamedTuple):
    """The columns of a table.

    `labels` are the column labels of a frame, if all are strings or all are integers, else None;
    `values` are arrays of shape (n,).
    """

    container: str
    labels: list | None
    types: list
    values: list

    @property
    def names(self):
        """The labels if they are strings, else None."""
        return self.labels if self.labels and type(self.labels[0]) is str else None

    def display_name(self, j):
        """Column j's name, or its index, for a message."""
        return repr(j if self.names is None else self.names[j])


def read_table(X, parameter="X"):
    """The columns of an array, or of a frame of pandas, polars or pyarrow.

    Parameters
    ----------
    X : array-like of shape (n, d), or frame
        A pyarrow table is converted to a pandas frame. In a pandas frame, pyarrow columns are read
        as pandas' nullable types; 16- and 128-bit types are read as 32- and 64-bit ones, and
        decimals and empty columns of polars as floats.
    parameter : str, default="X"
        Name of X in messages.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError
        If X is not a table of rows and columns or is empty, two columns have the same name, or a
        column's type is not one of numbers, booleans, strings or categories.
    TypeError
        If X is sparse, a lazy frame or a collection of Dask.
    """
    check_computed(X, parameter)
    X = without_masks_or_arrow(X)
    check_different_names(X)
    if sparse.issparse(X):
        raise TypeError(f"{parameter} is a sparse matrix; pass {parameter}.toarray().")
    container = next((name for name in ("pandas", "polars") if is_frame(X, name)), "numpy")
    if container == "numpy" and np.ndim(X) != 2:
        found = f"its shape is {np.shape(X)}" if np.ndim(X) else f"it is a {type(X).__name__}"
        raise ValueError(
            f"{parameter} must be a table of rows and columns; {found}. {_remedy(X, parameter)}"
        )
    table = Table(container, *_READERS[container](X))
    if not table.values or len(table.values[0]) == 0:
        raise ValueError(
            f"{parameter} must have at least one row and one column; it is empty, with shape "
            f"{np.shape(X)}."
        )
    for j, column_type in enumerate(table.types):
        if column_type.name.startswith("Sparse"):
            raise ValueError(
                f"column {table.display_name(j)} is of the type {column_type.name}; convert it "
                f"with {parameter}.iloc[:, {j}].sparse.to_dense()."
            )
        if column_type.name not in TYPES[container]:
            raise ValueError(
                f"column {table.display_name(j)} is of the type {column_type.name}; convert it to "
                f"one of {', '.join(TYPES[container])}."
            )
    return table


def with_labels(X, labels, parameter):
    """The columns of a frame with these labels, in this order.

    A table whose columns do not have labels of the same type, strings or integers, is returned as
    it is.

    Raises
    ------
    ValueError
        If a column is missing, or the names of X could be mistaken for indices.
    TypeError
        If X is a lazy frame or a collection of Dask.
    """
    check_computed(X, parameter)
    X = without_masks_or_arrow(X)
    is_known = is_frame(X, "pandas") or is_frame(X, "polars")
    found = _labels(list(X.columns)) if is_known else None
    if not found or type(found[0]) is not type(labels[0]):
        check_names(X, parameter)
        return X
    missing = [label for label in labels if label not in found]
    if missing:
        raise ValueError(
            f"{parameter} lacks the column {missing[0]!r}; it has {short_repr(found)}. "
            "The columns of a frame are matched by label: add or rename it, or pass "
            f"{parameter}.to_numpy() to match columns by their order."
        )
    return X[labels]


def check_names(X, parameter="X"):
    """Raise ValueError if the column names of a frame could be mistaken for indices."""
    names = X.columns.tolist() if is_frame(X, "pandas") else []
    if not _are(str, names) and names != list(range(len(names))):
        raise ValueError(
            f"{parameter} has the column names {short_repr(names)}; make them strings, with "
            f"{parameter}.columns = {parameter}.columns.map(str), so that none is mistaken for an "
            "index."
        )


def check_different_names(X):
    """Raise ValueError if two columns of a frame have the same name."""
    if is_frame(X, "pandas") and not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()].tolist()
        raise ValueError(f"two columns have the name {twice[0]!r}; rename one.")


def has_times(X):
    """Whether a column of an array or a frame has a type of dates, times or durations."""
    types = X.dtypes if hasattr(X, "columns") else [getattr(X, "dtype", None)]
    names = ("date", "time", "duration", "period")
    return any(str(column_type).lower().startswith(names) for column_type in types)


def build_table(container, names, types, values):
    """The table of these columns.

    Parameters
    ----------
    container : {"numpy", "pandas", "polars"}
    names : list of str or None
        None numbers the columns.
    types : list of ColumnType
    values : list of ndarray of shape (n,)

    Returns
    -------
    X : ndarray or frame, of shape (n, d)
        An array has the one type that can hold all columns.
    """
    return _BUILDERS[container](names, types, values)


def _remedy(X, parameter):
    """How to convert something to a table."""
    if hasattr(X, "iloc"):  # a series of pandas, which may be a row
        return (
            f"Convert a column with {parameter}.to_frame(), a row of a frame with "
            f"{parameter}.to_frame().T, or select it by frame.iloc[[0]] instead of frame.iloc[0]."
        )
    if hasattr(X, "to_frame"):
        return f"Convert it with {parameter}.to_frame()."
    if isinstance(X, Mapping):
        rows = parameter if any(np.ndim(v) for v in X.values()) else f"[{parameter}]"
        return f"Convert it with pandas.DataFrame({rows})."
    if getattr(getattr(X, "dtype", None), "names", None) or _holds_mappings(X):
        return f"Convert it with pandas.DataFrame({parameter})."
    if np.ndim(X) == 1:
        reshape = f"np.reshape({parameter}, "
        return f"Convert a row with {reshape}(1, -1)), a column with {reshape}(-1, 1))."
    return "Pass a two-dimensional array, or a frame."


def _holds_mappings(X):
    return isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], Mapping)


def _read_array(X):
    array = as_array(X)
    name = {"f": "float64", "U": "str"}.get(array.dtype.kind, array.dtype.name)
    return None, [ColumnType(name)] * array.shape[1], list(array.T)


def _read_pandas(X):
    dtypes = X.dtypes.tolist()
    types, numbers = [_pandas_type(dtype) for dtype in dtypes], _many_numbers(X, dtypes)
    values = [
        numbers[j] if j in numbers else _values_of_pandas(X.iloc[:, j], column_type)
        for j, column_type in enumerate(types)
    ]
    return _labels(X.columns.tolist()), types, values


def _many_numbers(X, dtypes):
    """A dictionary from indices of columns to values, for types of which many are plain numbers.

    These are read at once, which takes as long as reading four of them one by one.
    """
    places = {}
    for j, dtype in enumerate(dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
            places.setdefault(dtype, []).append(j)
    many = [of_type for of_type in places.values() if len(of_type) >= _MANY]
    pairs = (zip(js, X.iloc[:, js].to_numpy().T, strict=True) for js in many)
    return dict(itertools.chain.from_iterable(pairs))


def _values_of_pandas(column, column_type):
    if str(column.dtype) in _READ_AS["pandas"]:
        column = column.astype(column_type.name)
    objects = _needs_objects(column_type, column.hasnans)
    return column.astype(object).to_numpy() if objects else column.to_numpy()


def _pandas_type(dtype):
    name = str(dtype)
    if name != "category":
        return ColumnType(_READ_AS["pandas"].get(name, name))
    return ColumnType("category", dtype.categories.tolist(), bool(dtype.ordered))


def _read_polars(X):
    columns = X.get_columns()
    types = [_polars_type(column.dtype) for column in columns]
    return X.columns, types, list(map(_values_of_polars, columns, types))


def _values_of_polars(column, column_type):
    is_wide = str(column.dtype) in ("Int128", "UInt128")  # types that numpy lacks
    if is_wide or _needs_objects(column_type, column.null_count() > 0):
        return np.array(column.to_list(), dtype=object)
    if column_type.name == "Float64":
        column = column.cast(float)  # decimals, and columns of nulls only
    return column.to_numpy()


def _polars_type(dtype):
    name = str(dtype.base_type())
    categories = dtype.categories.to_list() if name == "Enum" else None
    return ColumnType(_READ_AS["polars"].get(name, name), categories)


def _needs_objects(column_type, has_missing):
    """Whether only objects keep the values exactly: integers with gaps would become floats."""
    is_integer = column_type.name in _CAPITAL_INTEGERS
    return column_type.name == "category" or (is_integer and has_missing)


def _labels(names):
    return names if _are(str, names) or _are(int, names) else None


def _are(kind, names):
    return all(type(name) is kind for name in names)


def _build_array(_, types, values):
    columns = [column.astype(t.name) for column, t in zip(values, types, strict=True)]
    return np.stack(columns, axis=1)


def _build_pandas(names, types, values):
    pandas = importlib.import_module("pandas")
    columns = {}
    for name, column_type, column in zip(names or range(len(types)), types, values, strict=True):
        dtype = column_type.name
        if dtype == "category":
            dtype = pandas.CategoricalDtype(column_type.categories, column_type.ordered)
        columns[name] = pandas.Series(column, dtype=dtype)
    return pandas.DataFrame(columns)


def _build_polars(names, types, values):
    polars = importlib.import_module("polars")
    columns = []
    for name, column_type, column in zip(names, types, values, strict=True):
        dtype = getattr(polars, column_type.name)
        if column_type.name == "Enum":
            dtype = dtype(column_type.categories)
        plain = column.tolist() if column.dtype == object else column
        columns.append(polars.Series(name, plain, dtype=dtype))
    return polars.DataFrame(columns)


_READERS = {"numpy": _read_array, "pandas": _read_pandas, "polars": _read_polars}
_BUILDERS = {"numpy": _build_array, "pandas": _build_pandas, "polars": _build_polars}
