"""The parameters `columns` and `condition`, resolved for a given table."""

import math
from collections.abc import Iterable, Mapping, Set
from numbers import Real

from sklearn_jko.checks import is_whole, short_repr
from sklearn_jko.columns.guess import are_two_values, guess_kind
from sklearn_jko.columns.kind import CATEGORY, INTEGER, LARGEST_BOUND, NUMERIC, Kind
from sklearn_jko.columns.values import are_missing

__all__ = ["given_columns", "kinds_of_columns"]

SPELLINGS = "a pair (low, high), 'integer', ('integer', low, high) or 'category'"


def kinds_of_columns(columns, table, given):
    """The kind of each column.

    Parameters
    ----------
    columns : dict, "auto" or None
        Maps names or indices of columns to kinds: a pair (low, high) of bounds, where None leaves a
        side open; "integer"; ("integer", low, high); "category".
    table : Table
    given : list of int
        Indices of the columns that are conditioned on.

    Returns
    -------
    kinds : list of Kind

    Raises
    ------
    ValueError
        If a column or a kind is unknown, or bounds are invalid.
    """
    if isinstance(columns, str) and columns == "auto":
        return _guesses(table, given)
    columns = {} if columns is None else columns
    if not isinstance(columns, Mapping):
        raise ValueError(
            f"columns must be 'auto', or a dictionary from names or indices of columns to "
            f"{SPELLINGS}; got {columns!r}."
        )
    kinds = [Kind()] * len(table.values)
    for j, spelling in zip(_indices("columns", columns, table), columns.values(), strict=True):
        kinds[j] = _kind(spelling, table.display_name(j))
    return kinds


def given_columns(condition, table):
    """Indices of the columns that are conditioned on.

    Parameters
    ----------
    condition : iterable of str or int, or None
        Their names or indices.
    table : Table

    Returns
    -------
    given : list of int

    Raises
    ------
    ValueError
        If a column is unknown or named twice, or all are given.
    """
    condition = () if condition is None else condition
    # A set could not be saved as it is, and has no order.
    if isinstance(condition, str | Set | Mapping) or not isinstance(condition, Iterable):
        raise ValueError(
            f"condition must be a list of names or indices of columns; got {condition!r}."
        )
    given = _indices("condition", condition, table)
    if len(given) == len(table.values):
        raise ValueError(f"condition={condition!r} names all columns: leave one or more to model.")
    return given


def _guesses(table, given):
    """A guess for each column; two integer values are labels, if other columns hold numbers."""
    observed = [values[~are_missing(values)] for values in table.values]
    guesses = [
        guess_kind(seen, column_type, len(seen) < len(values))
        for seen, column_type, values in zip(observed, table.types, table.values, strict=True)
    ]
    of_two = [
        guess.name == INTEGER and are_two_values(seen)
        for guess, seen in zip(guesses, observed, strict=True)
    ]
    of_numbers = [j for j, guess in enumerate(guesses) if guess.name != CATEGORY and not of_two[j]]
    if set(of_numbers) <= set(given):  # a density needs one
        return guesses
    return [Kind(CATEGORY) if two else guess for guess, two in zip(guesses, of_two, strict=True)]


def _indices(parameter, columns, table):
    indices = [_index(parameter, column, table) for column in columns]
    for j in indices:
        if indices.count(j) > 1:
            raise ValueError(
                f"{parameter} names the column {table.display_name(j)} twice; name it once."
            )
    return indices


def _index(parameter, column, table):
    d = len(table.values)
    if is_whole(column):
        if 0 <= column < d:
            return int(column)
        raise ValueError(f"{parameter}: there is no column {column}; use 0 to {d - 1}.")
    if isinstance(column, str) and table.names is None:
        raise ValueError(
            f"{parameter}: column {column!r} is a name, but X has no names; use 0 to {d - 1}."
        )
    if not isinstance(column, str) or column not in table.names:
        known = f"0 to {d - 1}" if table.names is None else short_repr(table.names)
        raise ValueError(f"{parameter}: there is no column {column!r}; use one of {known}.")
    return table.names.index(column)


def _kind(spelling, column):
    kind = None
    if isinstance(spelling, str):
        kind = Kind(spelling) if spelling in (INTEGER, CATEGORY) else None
    elif isinstance(spelling, tuple | list):
        whole = len(spelling) == 3 and isinstance(spelling[0], str) and spelling[0] == INTEGER
        bounds = spelling[1:] if whole else spelling
        if len(bounds) == 2 and all(map(_is_bound, bounds)):
            low = _bound(bounds[0], -math.inf, column)
            high = _bound(bounds[1], math.inf, column)
            kind = Kind(INTEGER if whole else NUMERIC, low, high)
    if kind is None:
        raise ValueError(f"column {column}: {spelling!r} is not a kind; use {SPELLINGS}.")
    kind.check(column)
    return kind


def _bound(value, open_end, column):
    try:
        return open_end if value is None else float(value)
    except OverflowError:  # of an integer of hundreds of digits
        raise ValueError(
            f"column {column}: a bound is beyond {LARGEST_BOUND}; use None for an open side."
        ) from None


def _is_bound(value):
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))
