"""The roles of a table's columns, and the table encoded as numbers."""

import numpy as np

from sklearn_jko.checks import check_choice, check_keys, check_list, check_texts, listed, short_repr
from sklearn_jko.columns.column import Column, check_present, column_from_state, labels_of
from sklearn_jko.columns.guess import common_unit
from sklearn_jko.columns.kind import CATEGORY, INTEGER, NUMERIC
from sklearn_jko.columns.parameters import given_columns, kinds_of_columns
from sklearn_jko.columns.tables import TYPES, build_table, check_names, read_table, with_labels
from sklearn_jko.user_warnings import warn_user

__all__ = ["Roles", "resolve_and_encode", "resolve_roles"]

CONDITION = "condition"  # the name of a table of given values in messages


class Roles:
    """The roles of a table's columns: encodes tables as float64 arrays, and decodes these.

    Made by `resolve_and_encode` or `Roles.from_state`.

    Attributes
    ----------
    numeric, integer, category : ndarrays of int64
        Indices of the columns by kind; each column is in one of them.
    given : ndarray of int64
        Indices of the columns that are conditioned on, whatever their kind.
    modelled, inputs : ndarrays of int64
        Indices of the columns that a flow models (numbers and integers that are not given), and of
        all others, on which it is conditioned.
    low, high : ndarrays of shape (d,)
        Bounds of the values to model, infinite where open. Those of integer columns are wider by
        1/2, as k stands for [k - 1/2, k + 1/2].
    n_labels : ndarray of int64
        Number of labels of each column in `inputs`; 0 for a column of numbers.
    noise_width : ndarray of shape (d,)
        Width of the noise that a column needs for its role: 1, the width of their cells, for
        integers to model; 0 for `inputs`; NaN where it depends on the values.
    """

    def __init__(self, container, names, columns):
        self.container, self.names, self.columns = container, names, columns
        kinds = np.array([column.kind.name for column in columns])
        self.numeric, self.integer, self.category = (
            np.flatnonzero(kinds == kind) for kind in (NUMERIC, INTEGER, CATEGORY)
        )
        self.given = np.flatnonzero([column.given for column in columns])
        half = np.where(kinds == INTEGER, 0.5, 0.0)
        self.low = np.array([column.kind.low for column in columns]) - half
        self.high = np.array([column.kind.high for column in columns]) + half
        is_input = np.isin(np.arange(len(columns)), [*self.given, *self.category])
        self.modelled, self.inputs = np.flatnonzero(~is_input), np.flatnonzero(is_input)
        self.n_labels = self.n_labels_of(self.inputs)
        self.noise_width = np.where(is_input, 0.0, np.where(kinds == INTEGER, 1.0, np.nan))

    @property
    def modelled_categories(self):
        """Indices of the categories that are not given."""
        return np.setdiff1d(self.category, self.given)

    def n_labels_of(self, columns):
        """How many labels each of these columns has; 0 for a column of numbers."""
        return np.array([len(self.columns[j].labels or ()) for j in columns], dtype=np.int64)

    @property
    def numbers_given(self):
        """Which of the columns that hold numbers are given, shape (n_numbers,), in their order."""
        of_numbers = np.delete(np.arange(len(self.columns)), self.category)
        return np.isin(of_numbers, self.given)

    @property
    def cell_width(self):
        """Width of the cells of modelled integers, shape (d,); 0 for other columns."""
        return np.nan_to_num(self.noise_width)

    @property
    def cell_bounds(self):
        """Bounds (2, d) of all columns: the cells of a category's codes have these too."""
        bounds = np.array([self.low, self.high])
        for j, n in zip(self.category, self.n_labels_of(self.category), strict=True):
            bounds[:, j] = -0.5, n - 0.5
        return bounds

    @property
    def has_bounds_only(self):
        """Whether all columns are numbers to model, with or without bounds."""
        return len(self.numeric) == len(self.modelled) == len(self.columns)

    @property
    def _labels(self):
        return self.names or list(range(len(self.columns)))

    @property
    def kinds(self):
        """The kinds as `columns` takes them, by name or index: it shows what "auto" guessed."""
        kinds = zip(self._labels, (column.kind.spelling for column in self.columns), strict=True)
        return {key: kind for key, kind in kinds if kind is not None}

    def encode(self, X, parameter="X", rounds=False):
        """The table as numbers: categories are codes 0, 1, ..., or -1 for an unknown label.

        Parameters
        ----------
        X : array-like of shape (n, d), or frame of pandas or polars
            With NaN, None or pandas' NA where a value is missing.
        parameter : str, default="X"
            Name of X in messages.
        rounds : bool, default=False
            Whether fractions in a column of integers are rounded, and values beyond 2^52 clipped,
            with a warning.

        Returns
        -------
        table : ndarray of shape (n, d)
            NaN where a value is missing.

        Raises
        ------
        ValueError
            If X has another number of columns, a value is not of its column's kind, or a given
            value is missing. Values may be outside their bounds, see `outside`.
        """
        check_names(X, parameter)
        return self.encode_table(read_table(X, parameter), parameter, rounds)

    def encode_table(self, table, parameter="X", rounds=False):
        """As `encode`, of a `Table`."""
        encoded = self._encoded(table, self.columns, parameter, rounds)
        for j in self.given:
            check_present(self.columns[j].display_name, table.values[j])
        return encoded

    def encode_condition(self, X, indices):
        """Some given columns as numbers, in a table of all columns that is otherwise empty.

        Parameters
        ----------
        X : array-like of shape (n, k), or frame
            These columns in their order. A frame with the same column labels as in `fit`, strings
            or indices, may hold them in any order, and other columns too.
        indices : ndarray of int
            Indices of the columns.

        Returns
        -------
        table : ndarray of shape (n, d)
            NaN in all other columns.

        Raises
        ------
        ValueError
            As in `encode`; and if a value is missing or out of bounds, a label is unknown, or a
            frame lacks a column.
        """
        columns, labels = ([part[j] for j in indices] for part in (self.columns, self._labels))
        table = read_table(with_labels(X, labels, CONDITION), CONDITION)
        encoded = np.full((len(table.values[0]), len(self.columns)), np.nan)
        encoded[:, indices] = self._encoded(table, columns, CONDITION)
        for column, values in zip(columns, table.values, strict=True):
            check_present(column.display_name, values)
        self.check_known(encoded, CONDITION)
        self.check_inside(encoded)
        return encoded

    def check_known(self, table, parameter):
        """Raise ValueError, naming the column, if an encoded table has labels that are unknown."""
        unknown = self.unknown(table)
        if unknown:
            column = self.columns[unknown[0]]
            raise ValueError(
                f"{parameter}: column {column.display_name} has a label that was not seen in fit; "
                f"use one of {short_repr(column.labels)}."
            )

    def unknown(self, table):
        """Indices of the columns in which an encoded table has labels that are unknown."""
        return [j for j in self.category if np.any(table[:, j] == -1)]

    def _encoded(self, table, columns, parameter, rounds=False):
        if len(table.values) != len(columns):
            names = listed(column.display_name for column in columns)
            raise ValueError(
                f"{parameter} has {len(table.values)} columns; it must have {len(columns)}: "
                f"{names}."
            )
        parts = zip(columns, table.values, strict=True)
        return np.stack([column.encode(values, rounds) for column, values in parts], axis=1)

    def decode(self, table, is_known=False):
        """The numbers as a table like the one from which the roles were resolved.

        Integers are rounded and clipped to their bounds and to the range of their type; given or
        known integers stay as they are, in a wider type if needed. Columns that are neither integer
        nor category become floats if their type cannot hold fractions, and those of an array of
        floats are float64. Columns without names are numbered.

        Parameters
        ----------
        table : ndarray of shape (n, d)
        is_known : ndarray of shape (n, d), bool, or bool, default=False
            Which values are known, and not drawn.

        Returns
        -------
        X : ndarray or frame

        Raises
        ------
        ValueError
            If a code has no label.
        """
        is_known = np.broadcast_to(is_known, table.shape)
        values = [
            column.decode(part, known | column.given)
            for column, part, known in zip(self.columns, table.T, is_known.T, strict=True)
        ]
        types = [
            column.decoded_type(self.container, part)
            for column, part in zip(self.columns, values, strict=True)
        ]
        return build_table(self.container, self.names, types, values)

    def rounded(self, table):
        """An encoded table whose integers and codes of labels are whole, and within bounds."""
        whole = np.r_[self.integer, self.category]
        low, high = self.cell_bounds[:, whole]
        table = table.copy()
        table[:, whole] = np.rint(table[:, whole]).clip(low + 0.5, high - 0.5)
        return table

    def outside(self, table):
        """Which values of an encoded table are outside their bounds, where the density is zero.

        Parameters
        ----------
        table : ndarray of shape (n, d)

        Returns
        -------
        outside : ndarray of shape (n, d), bool
        """
        return (table < self.low) | (table > self.high)

    def clip_given(self, table):
        """Move given values of an encoded table onto their bounds, in place.

        Returns
        -------
        moved : ndarray of int
            Indices of the columns that held such values.
        """
        values, low, high = (part[..., self.given] for part in (table, self.low, self.high))
        outside = ((values < low) | (values > high)).any(axis=0)
        for j in self.given[outside]:
            table[:, j] = table[:, j].clip(self.columns[j].kind.low, self.columns[j].kind.high)
        return self.given[outside]

    def check_inside(self, table):
        """Raise ValueError, naming the column, if encoded values are outside their bounds."""
        outside = self.outside(table)
        for column, numbers, wrong in zip(self.columns, table.T, outside.T, strict=True):
            if wrong.any():
                values = column.kind.low, column.kind.high, numbers[wrong][0]
                low, high, first = (repr(float(value)).removesuffix(".0") for value in values)
                raise ValueError(
                    f"column {column.display_name}: {wrong.sum()} of its {len(numbers)} values are "
                    f"outside its bounds {low} and {high}, the first is {first}. Widen the bounds, "
                    "or drop these rows."
                )

    def state(self):
        """All of it as plain values."""
        return {
            "container": self.container,
            "names": self.names,
            "columns": [column.state() for column in self.columns],
        }

    @classmethod
    def from_state(cls, state):
        """The roles whose `state` this is.

        Raises
        ------
        ValueError
            If the state is not sound.
        """
        check_keys("roles", state, ("container", "names", "columns"))
        container, names, columns = state["container"], state["names"], state["columns"]
        check_choice("container", container, TYPES)
        check_list("columns", columns)
        _check_names(names, len(columns), container)
        columns = [column_from_state(column, container) for column in columns]
        if all(column.given for column in columns):
            raise ValueError("at least one column must not be given")
        return cls(container, names, columns)


def resolve_and_encode(X, columns=None, condition=None):
    """Find the roles of the columns of X, and encode it by them.

    Parameters
    ----------
    X : array-like of shape (n, d), or frame of pandas or polars
    columns : dict or "auto", optional
        Maps a column's name or index to its kind: a pair (low, high) of bounds, where None leaves a
        side open; "integer"; ("integer", low, high); "category". All others are numbers without
        bounds. "auto" guesses, see `sklearn_jko.columns.guess.guess_kind`; columns of two integer
        values are then categories, if other columns hold numbers.
    condition : iterable of str or int, optional
        Names or indices of the columns that are given.

    Returns
    -------
    roles : Roles
    table : ndarray of shape (n, d)
        As `Roles.encode` gives it.

    Raises
    ------
    ValueError
        If a column or a kind is unknown; if a value is not of its column's kind or outside its
        bounds, or a given value is missing; if a category has more than 1,000 labels; if all
        columns are given.

    Warns
    -----
    UserWarning
        If integers are all multiples of another number, up to a constant, such as amounts in
        thousands.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.columns.roles import resolve_and_encode
    >>> X = np.array([["red", 3, 0.5], ["blue", 4, 0.9]], dtype=object)
    >>> roles, table = resolve_and_encode(X, {0: "category", 1: "integer", 2: (0, 1)})
    >>> table.tolist()
    [[1.0, 3.0, 0.5], [0.0, 4.0, 0.9]]
    >>> roles.decode(table + [0, 0.2, 0]).tolist()
    [['red', 3, 0.5], ['blue', 4, 0.9]]
    """
    check_names(X)
    table = read_table(X)
    given = given_columns(condition, table)
    kinds = kinds_of_columns(columns, table, given)
    resolved = [_column(table, j, kind, j in given) for j, kind in enumerate(kinds)]
    roles = Roles(table.container, table.names, resolved)
    encoded = roles.encode_table(table)
    roles.check_inside(encoded)
    _warn_of_units(roles, encoded)
    return roles, encoded


def resolve_roles(X, columns=None, condition=None):
    """The roles of the columns of X alone, see `resolve_and_encode`."""
    return resolve_and_encode(X, columns, condition)[0]


def _warn_of_units(roles, encoded):
    for j in np.setdiff1d(roles.integer, roles.given):
        values = encoded[:, j]
        unit = common_unit(values[~np.isnan(values)])
        if unit > 1:
            warn_user(
                f"column {roles.columns[j].display_name} holds integers that differ only by "
                f"multiples of {unit}, but the integers in between are modelled as equally "
                f"possible. Divide the column by {unit}, or do not declare it as integer."
            )


def _column(table, j, kind, given):
    name, column_type, values = table.display_name(j), table.types[j], table.values[j]
    if kind.name == CATEGORY:
        return Column(name, column_type, kind, labels_of(name, values, column_type), given)
    if column_type.categories is not None:
        raise ValueError(
            f"column {name} is of the type {column_type.name}; make it a category with "
            f"columns={{{name}: 'category'}}, or convert it to numbers."
        )
    return Column(name, column_type, kind, None, given)


def _check_names(names, d, container):
    if names is None and container != "polars":
        return
    check_texts("names", names, d)
    if len(set(names)) < d:
        raise ValueError(f"names={short_repr(names)} must be different")
