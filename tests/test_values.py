"""The different values of a column, and which are missing."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from sklearn_jko.columns import values as column_values
from sklearn_jko.columns.values import are_missing, distinct

MISSING = [
    None,
    float("nan"),
    np.float32("nan"),
    pd.NA,
    pd.NaT,
    np.datetime64("NaT"),
    np.timedelta64("NaT", "s"),
    Decimal("NaN"),
]
PRESENT = ["", "nan", 0, 0.0, False, np.float32(0.5), Decimal(0), np.datetime64("2020-01-01"), "b"]
COLUMNS = {
    "objects": np.array([*PRESENT, *MISSING, *PRESENT[::-1]], dtype=object),
    "not hashable": np.array(["a", [1, 2], "a", None], dtype=object),
    "tuples": np.array([(1, 2), "a", (1, 2), (3, 4)], dtype=object),
    "floats": np.array([0.5, np.nan, 0.5, np.nan, -0.0]),
    "integers": np.array([3, 1, 3]),
    "booleans": np.array([True, False, True]),
    "strings": np.array(["b", "a", "b"]),
}
every_column = pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)


@every_column
def test_each_row_is_given_its_value_of_the_same_type(values):
    different, inverse = distinct(values)
    plain = values.tolist()
    assert len(inverse) == len(plain)
    for value, index in zip(plain, inverse, strict=True):
        assert type(different[index]) is type(value)
        assert different[index] is value or repr(different[index]) == repr(value)


def test_equal_values_of_different_types_are_different():
    different, inverse = distinct(np.array([1, True, 1.0, "1", 1, True], dtype=object))
    assert list(map(type, different)) == [int, bool, float, str]
    np.testing.assert_array_equal(inverse, [0, 1, 2, 3, 0, 1])


@every_column
def test_missing_values_are_those_that_one_by_one_are_missing(values):
    expected = [value is pd.NA or pd.isna(value) is True for value in values.tolist()]
    assert are_missing(values).tolist() == expected


def test_every_missing_value_is_seen():
    assert are_missing(np.array(MISSING, dtype=object)).all()
    assert not are_missing(np.array(PRESENT, dtype=object)).any()


def test_missing_values_among_labels_are_asked_for_once_each(monkeypatch):
    """Questions of each row took most of the time to read a million."""
    asked = []
    monkeypatch.setattr(column_values, "is_missing", lambda value: asked.append(value) or not value)
    colours = np.array(["red", None, "blue", "red"] * 100, dtype=object)
    assert are_missing(colours)[:4].tolist() == [False, True, False, False]
    assert asked == ["red", None, "blue"]
