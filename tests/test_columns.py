"""The roles of columns: reading tables, the two parameters, codes and back."""

import datetime
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal as assert_polars_equal
from scipy import sparse

from sklearn_jko.columns.roles import Roles, resolve_roles
from sklearn_jko.columns.tables import read_table

N = 40
COLOURS = ["red", "green", "blue", "green"] * (N // 4)
SHARES = np.linspace(-0.1, 1.1, N).clip(0, 1)  # with several on either end
PLAIN = {
    "share": SHARES,
    "length": np.linspace(-3, 5, N).astype(np.float32),
    "count": np.arange(N) % 7,
    "small": (np.arange(N) % 5).astype(np.uint8),
    "colour": COLOURS,
    "smoker": [True, False] * (N // 2),
}
COLUMNS = {
    "share": (0, 1),
    "count": ("integer", 0, None),
    "small": "integer",
    "colour": "category",
    "smoker": "category",
}


def pandas_frame():
    frame = pd.DataFrame(PLAIN)
    frame["size"] = pd.Categorical(["S", "L"] * (N // 2), categories=["S", "M", "L"], ordered=True)
    frame["grade"] = pd.Categorical([3, 1] * (N // 2))
    frame["nullable"] = pd.array(np.arange(N) % 3, dtype="Int64")
    frame["maybe"] = pd.array([True, False] * (N // 2), dtype="boolean")
    frame["text"] = pd.array(COLOURS, dtype="string")
    return frame


def polars_frame():
    return pl.DataFrame(PLAIN).with_columns(
        size=pl.Series(["S", "L"] * (N // 2), dtype=pl.Enum(["S", "M", "L"])),
        grade=pl.Series(COLOURS, dtype=pl.Categorical),
    )


EXTRA = {"size": "category", "grade": "category"}
FRAMES = {
    "pandas": (pandas_frame, {**EXTRA, "nullable": "integer", "maybe": "category"}),
    "polars": (polars_frame, EXTRA),
}
every_frame = pytest.mark.parametrize("library", FRAMES)


def frame_and_roles(library):
    make, extra = FRAMES[library]
    frame = make()
    extra = {**extra, "text": "category"} if "text" in frame.columns else extra
    return frame, resolve_roles(frame, {**COLUMNS, **extra})


def same(frame, other):
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(frame, other)
    else:
        assert_polars_equal(frame, other)
    return True


@every_frame
def test_a_frame_comes_back_with_its_types(library):
    frame, roles = frame_and_roles(library)
    table = roles.encode(frame)
    assert table.dtype == np.float64
    assert table.shape == frame.shape
    assert same(roles.decode(table), frame)


@every_frame
def test_roles_come_back_from_their_state(library):
    frame, roles = frame_and_roles(library)
    again = Roles.from_state(json.loads(json.dumps(roles.state())))
    assert again.state() == roles.state()
    assert same(again.decode(again.encode(frame)), frame)


@every_frame
def test_auto_gives_the_kinds_as_columns_takes_them(library):
    frame, _ = frame_and_roles(library)
    guessed = resolve_roles(frame, "auto")
    expected = {**COLUMNS, "count": "integer", **FRAMES[library][1]}
    if "text" in frame.columns:
        expected["text"] = "category"
    assert guessed.kinds == expected
    assert resolve_roles(frame, guessed.kinds).state() == guessed.state()


def test_index_arrays_bounds_and_codes():
    frame = pd.DataFrame({**PLAIN, "below": -SHARES})
    roles = resolve_roles(
        frame, {**COLUMNS, "below": (None, 0), "small": ("integer", 0, 9)}, ["smoker", 0]
    )
    assert roles.numeric.tolist() == [0, 1, 6]
    assert roles.integer.tolist() == [2, 3]
    assert roles.category.tolist() == [4, 5]
    assert roles.given.tolist() == [0, 5]
    assert roles.modelled.tolist() == [1, 2, 3, 6]
    assert roles.inputs.tolist() == [0, 4, 5]
    assert roles.n_labels.tolist() == [0, 3, 2]
    nan = math.nan
    np.testing.assert_array_equal(roles.noise_width, [0, nan, 1, 1, 0, 0, nan])
    assert roles.cell_width.tolist() == [0, 0, 1, 1, 0, 0, 0]
    inf = math.inf
    assert roles.low.tolist() == [0, -inf, -0.5, -0.5, -inf, -inf, -inf]
    assert roles.high.tolist() == [1, inf, inf, 9.5, inf, inf, 0]
    table = roles.encode(frame)
    assert table[:4, 4].tolist() == [2, 1, 0, 1]  # blue, green, red
    assert table[:2, 5].tolist() == [1, 0]  # False, True


def test_declared_categories_keep_their_order_and_those_unseen():
    frame = pd.DataFrame({"x": [0.0, 1.0], "size": pd.Categorical(["L", "S"], ["S", "M", "L"])})
    roles = resolve_roles(frame, {"size": "category"})
    assert roles.encode(frame)[:, 1].tolist() == [2, 0]
    assert roles.n_labels.tolist() == [3]
    one = frame[:1].assign(size=pd.Categorical(["M"]))  # a frame of other categories
    assert roles.encode(one)[0, 1] == 1


def test_both_booleans_are_labels_of_a_boolean_column():
    roles = resolve_roles(pd.DataFrame({"x": [1.0, 2.0], "b": [True, True]}), {"b": "category"})
    assert roles.n_labels.tolist() == [2]


def test_an_unknown_label_is_minus_one_and_is_never_decoded():
    X = np.array([["a", 1.0], ["b", 2.0]], dtype=object)
    roles = resolve_roles(X, {0: "category"})
    table = roles.encode(np.array([["c", 1.0], ["a", 2.0]], dtype=object))
    assert table[:, 0].tolist() == [-1, 0]
    with pytest.raises(ValueError, match="column 0: no label has the code -1"):
        roles.decode(table)
    with pytest.raises(ValueError, match="column 0: no label has the code 2"):
        roles.decode(np.array([[2.0, 0.0]]))


@pytest.mark.parametrize(
    ("X", "columns"),
    [
        (np.array([[0.5, 1.0], [0.25, 3.0]]), {0: (0, 1)}),
        (np.array([[5, 1], [2, 3]], dtype=np.int32), {0: "integer", 1: "category"}),
        (np.array([["a", "b"], ["c", "b"]]), {0: "category", 1: "category"}),
        (np.array([["a", 1.5], [True, 2.0], [3, -1.0]], dtype=object), {0: "category"}),
        (np.array([[True, False], [True, True]]), {0: "category", 1: "category"}),
        ([["a", 1.5], ["b", 2.0]], {0: "category"}),
    ],
    ids=["float", "int", "str", "object", "bool", "list"],
)
def test_an_array_comes_back_with_its_type(X, columns):
    roles = resolve_roles(X, columns)
    back = roles.decode(roles.encode(X))
    expected = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)
    assert back.tolist() == expected.tolist()
    assert back.dtype == expected.dtype
    again = Roles.from_state(json.loads(json.dumps(roles.state())))
    assert again.decode(again.encode(X)).tolist() == expected.tolist()


def test_numbers_of_an_integer_type_come_back_as_floats():
    X = np.array([[5, 1], [2, 3]])
    roles = resolve_roles(X, {1: "integer"})
    np.testing.assert_array_equal(roles.decode(np.array([[0.3, 2.7]])), [[0.3, 3.0]])
    frame = pd.DataFrame({"a": [5, 2], "b": [1, 3]})
    back = resolve_roles(frame, {"b": "integer"}).decode(np.array([[0.3, 2.7]]))
    assert back["a"].tolist() == [0.3]
    assert back.dtypes.tolist() == [np.float64, np.int64]


def test_integers_are_rounded_into_their_bounds_and_their_types_range():
    frame = pl.DataFrame({"k": [1, 2], "u": [1, 2], "i": [1, 2]}, schema_overrides={"u": pl.UInt8})
    roles = resolve_roles(frame, {"k": ("integer", 1, 5), "u": "integer", "i": "integer"})
    table = np.array([[0.6, -3.2, 1e300], [9.7, 700.0, -1e300], [4.4, 254.6, 2.4]])
    back = roles.decode(table)
    assert back["k"].to_list() == [1, 5, 4]
    assert back["u"].to_list() == [0, 255, 255]
    assert back["i"].to_list() == [2**52, -(2**52), 2]
    assert back.dtypes == frame.dtypes


@every_frame
def test_integers_that_are_known_stay_in_a_type_that_holds_them(library):
    frame_type = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]
    columns = {"k": np.array([1, 2], np.int8), "y": [0.5, 1.5], "x": np.array([7, 8], np.uint8)}
    roles = resolve_roles(frame_type(columns), {"k": "integer", "x": "integer"}, ["k"])
    table = np.array([[200.0, 0.1, 300.0], [-3.0, 0.2, -4.0]])
    back = roles.decode(table, is_known=[[False, False, True], [False, False, False]])
    assert np.array(back["k"]).tolist() == [200, -3]  # as they are given
    assert np.array(back["x"]).tolist() == [300, 0]
    assert {str(back["k"].dtype).lower(), str(back["x"].dtype).lower()} == {"int64"}


@every_frame
def test_integers_of_a_boolean_column_are_integers(library):
    frame_type = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]
    roles = resolve_roles(frame_type({"b": [True, False], "y": [0.5, 1.5]}), {"b": "integer"})
    back = roles.decode(np.array([[1.2, 0.0], [3.0, 0.0]]))
    assert np.array(back["b"]).tolist() == [1, 3]
    assert str(back["b"].dtype).lower() == "int64"


def test_an_encoded_table_is_rounded_into_the_bounds():
    X = pd.DataFrame({"x": [0.5, 1.5], "n": [1, 3], "m": [0, 9], "c": ["a", "b"]})
    roles = resolve_roles(X, {"n": "integer", "m": ("integer", 0, 9), "c": "category"})
    table = np.array([[0.3, 2.4, 9.5, 1.5], [0.6, -1.6, -0.5, -0.5]])
    np.testing.assert_array_equal(roles.rounded(table), [[0.3, 2, 9, 1], [0.6, -2, 0, 0]])


def test_integers_of_a_float_column_stay_floats():
    X = np.array([[1.0, 0.5], [4.0, 0.7]])
    back = resolve_roles(X, {0: "integer"}).decode(np.array([[2.6, 0.1]]))
    assert back.dtype == np.float64
    assert back.tolist() == [[3.0, 0.1]]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 4], dtype="float32"),
        pd.Series([1, 4], dtype="Float32"),
        pl.Series([1, 4], dtype=pl.Float32),
    ],
    ids=lambda column: str(column.dtype),
)
def test_integers_of_single_precision_stay_exact(column):
    roles = resolve_roles(column.to_frame("n"), {"n": "integer"})
    for largest, bits in ((2**24, "32"), (2**24 + 1, "64")):
        back = roles.decode(np.array([[largest], [3.0]]))["n"]
        assert back.to_list() == [largest, 3]
        assert str(back.dtype) == str(column.dtype).replace("32", bits)


def test_an_array_may_follow_a_frame():
    frame, roles = frame_and_roles("pandas")
    rows = frame.astype(object).to_numpy()
    np.testing.assert_array_equal(roles.encode(rows), roles.encode(frame))


def test_without_parameters_all_columns_are_numbers_without_bounds():
    X = np.arange(6.0).reshape(3, 2)
    roles = resolve_roles(X)
    assert roles.kinds == {}
    np.testing.assert_array_equal(roles.encode(X), X)
    np.testing.assert_array_equal(roles.decode(X), X)


def test_values_outside_their_bounds_are_told_of_not_refused_after_fit():
    roles = resolve_roles(np.array([[0.5, 1.0], [1.0, 2.0]]), {0: (0, 1), 1: ("integer", None, 2)})
    table = roles.encode(np.array([[0.0, 3.0], [-0.1, 2.0]]))
    assert roles.outside(table).tolist() == [[False, True], [True, False]]


FRAME = pd.DataFrame({"a": [1.0, 2.5, -3.0], "b": ["x", "y", "x"], "c": [1, 2, 3]})
WRONG = [
    ({"z": "integer"}, None, r"columns: there is no column 'z'; use one of \['a', 'b', 'c'\]"),
    ({3: "integer"}, None, r"columns: there is no column 3; use 0 to 2"),
    ({-1: "integer"}, None, r"columns: there is no column -1; use 0 to 2"),
    ({True: "integer"}, None, r"columns: there is no column True"),
    ({"a": (0, 1), 0: (0, 1)}, None, r"columns names the column 'a' twice"),
    ({"a": "ordinal"}, None, r"column 'a': 'ordinal' is not a kind; use a pair"),
    ({"a": (0, "1")}, None, r"column 'a': \(0, '1'\) is not a kind"),
    ({"a": ("integer", 1)}, None, r"column 'a': \('integer', 1\) is not a kind"),
    ({"a": 3}, None, r"column 'a': 3 is not a kind"),
    ({"a": (1, 1)}, None, r"column 'a': the lower bound 1.0 must be below the upper, 1.0"),
    ({"a": (math.nan, 1)}, None, r"column 'a': the lower bound nan must be below"),
    ({"a": (-1e301, 1)}, None, r"column 'a': the bound -1e\+301 is beyond 1e\+300"),
    ({"a": (0, 10**400)}, None, r"column 'a': a bound is beyond 1e\+300"),
    ({"c": ("integer", -(10**5000), None)}, None, r"column 'c': a bound is beyond 1e\+300"),
    ({"c": ("integer", 0.5, 9)}, None, r"column 'c': the bound 0.5 of integers must be an integer"),
    ("all", None, r"columns must be 'auto', or a dictionary .*; got 'all'"),
    (
        {"a": (0, 1), "b": "category"},
        None,
        r"column 'a': 2 of its 3 values are outside its bounds 0 and 1, .* 2.5",
    ),
    (
        {"c": ("integer", 2, 9), "b": "category"},
        None,
        r"column 'c': 1 of its 3 values are outside .* 2 and 9, .* 1",
    ),
    ({"a": "integer"}, None, r"column 'a': 1 of its 3 values are not integers, the first is 2.5"),
    ({"b": "integer"}, None, r"column 'b': 'x' is not a number; .* columns=\{'b': 'category'\}"),
    ({}, None, r"column 'b': 'x' is not a number"),
    ({"b": "category"}, "a", r"condition must be a list .*; got 'a'"),
    ({"b": "category"}, 0, r"condition must be a list .*; got 0"),
    ({"b": "category"}, ["z"], r"condition: there is no column 'z'"),
    ({"b": "category"}, ["a", 0], r"condition names the column 'a' twice"),
    ({"b": "category"}, ["a", "b", 2], r"condition=\['a', 'b', 2\] names all columns"),
]


@pytest.mark.parametrize(("columns", "condition", "message"), WRONG)
def test_wrong_parameters_are_told(columns, condition, message):
    with pytest.raises(ValueError, match=message):
        resolve_roles(FRAME, columns, condition)


@pytest.mark.parametrize(
    "missing",
    [
        *(None, np.nan, pd.NA, pd.NaT, Decimal("NaN"), Decimal("sNaN")),
        *(np.datetime64("NaT"), np.timedelta64("NaT")),
    ],
)
def test_missing_values_are_nan_unless_given(missing):
    X = np.array([["x", 1.0], [missing, 2.0], ["y", missing]], dtype=object)
    roles = resolve_roles(X, {0: "category"})
    assert roles.columns[0].labels == ["x", "y"]
    np.testing.assert_array_equal(roles.encode(X), [[0, 1], [np.nan, 2], [1, np.nan]])
    message = "column 0: 1 of its 3 values are missing, the first in row 1"
    with pytest.raises(ValueError, match=message):
        resolve_roles(X, {0: "category"}, [0])
    with pytest.raises(ValueError, match=message):
        resolve_roles(X[:1], {0: "category"}, [0]).encode(X)
    with pytest.raises(ValueError, match=message):
        roles.encode_condition(X[:, :1], [0])


@pytest.mark.parametrize(
    ("column", "kind", "code"),
    [
        (pd.Series([1.5, np.nan]), "numeric", 1.5),
        (pd.Series([1.0, np.nan]), "integer", 1),
        (pd.Series([1e20, np.nan]), "numeric", 1e20),
        (pd.Series([1, None], dtype="Int64"), "integer", 1),
        (pd.Series([True, None], dtype="boolean"), "category", 1),
        (pd.Series([True, None], dtype=object), "category", 0),
        (pd.Series(["a", None], dtype="category"), "category", 0),
        (pd.Series(["a", None], dtype="string"), "category", 0),
        (pl.Series([1.5, None]), "numeric", 1.5),
        (pl.Series([1, None]), "integer", 1),
        (pl.Series(["a", None]), "category", 0),
        (pl.Series(["a", None], dtype=pl.Enum(["b", "a"])), "category", 1),
        (pl.Series([True, None]), "category", 1),
        (pl.Series([1.5, np.nan]), "numeric", 1.5),
    ],
)
def test_missing_values_of_frames_are_nan(column, kind, code):
    library = pd if isinstance(column, pd.Series) else pl
    frame = library.DataFrame({"x": [0.5, 1.5], "m": column})
    roles = resolve_roles(frame, "auto")
    assert roles.columns[1].kind.name == kind
    np.testing.assert_array_equal(roles.encode(frame)[:, 1], [code, np.nan])


@pytest.mark.parametrize("kind", [None, "integer", "category"])
def test_a_column_of_polars_without_any_value_is_missing(kind):
    """It has a type of its own, as every row with a gap has where it is made a frame alone."""
    X = pl.DataFrame({"x": [0.5, 1.5], "m": [1, 2]})
    roles = resolve_roles(X, {} if kind is None else {"m": kind})
    row = pl.DataFrame([{"x": 0.5, "m": None}])
    np.testing.assert_array_equal(roles.encode(row), [[0.5, np.nan]])


WHOLE, TEXTS = np.arange(N) % 7, np.array(COLOURS)
UNUSUAL = {
    "pandas": [
        (WHOLE, "int16[pyarrow]", "Int16"),
        (WHOLE, "uint64[pyarrow]", "UInt64"),
        (SHARES, "double[pyarrow]", "Float64"),
        (SHARES, "float[pyarrow]", "Float32"),
        (SHARES, "halffloat[pyarrow]", "Float32"),
        (SHARES, "float16", "float32"),
        (WHOLE > 2, "bool[pyarrow]", "boolean"),
        (TEXTS, "large_string[pyarrow]", "string"),
    ],
    "polars": [
        (WHOLE, pl.Int128, pl.Int64),
        (SHARES, pl.Float16, pl.Float32),
        (SHARES, pl.Decimal(10, 4), pl.Float64),
    ],
}


@pytest.mark.parametrize(
    ("library", "values", "dtype", "usual"),
    [(library, *case) for library, cases in UNUSUAL.items() for case in cases],
)
@pytest.mark.parametrize("has_gap", [False, True])
def test_types_of_few_are_read_as_the_nearest(library, values, dtype, usual, has_gap):
    values = [None if has_gap and k == 0 else value for k, value in enumerate(values.tolist())]
    if library == "pandas":
        frame = pd.DataFrame({"m": pd.Series(values, dtype=dtype), "x": SHARES})
    else:
        frame = pl.DataFrame({"m": pl.Series(values).cast(dtype), "x": SHARES})
    roles = resolve_roles(frame, "auto")
    table = roles.encode(frame)
    assert np.isnan(table[:, 0]).tolist() == [value is None for value in values]
    if roles.columns[0].kind.name != "category":
        np.testing.assert_allclose(table[1:, 0], np.array(values[1:], float), atol=1e-3)
    assert roles.decode(table[1:])["m"].dtype == usual


def test_many_columns_are_read_as_they_are():
    """Those of one type are read together."""
    X = np.arange(80.0).reshape(4, 20)
    frame = pd.DataFrame(X).astype({3: "float32", 5: "int8", 19: object}).astype({0: "Int64"})
    assert [str(t.name) for t in read_table(frame).types[:6:5]] == ["Int64", "int8"]
    np.testing.assert_array_equal(resolve_roles(frame).encode(frame), X)


@pytest.mark.parametrize("frame_of", [pd.DataFrame, pl.DataFrame])
def test_labels_beside_missing_values_stay_integers(frame_of):
    """They were floats, of which polars makes no integers, and which round large ones."""
    labels = [2**53 + 3, None, 2**53 + 4, 7]
    column = pd.array(labels, dtype="Int64") if frame_of is pd.DataFrame else labels
    frame = frame_of({"label": column})
    roles = resolve_roles(frame, {"label": "category"})
    table = roles.encode(frame)
    np.testing.assert_array_equal(table[:, 0], [1, np.nan, 2, 0])
    decoded = roles.decode(np.nan_to_num(table))
    expected = [2**53 + 3, 7, 2**53 + 4, 7]
    assert decoded["label"].to_list() == expected
    assert decoded["label"].dtype == frame["label"].dtype


def test_integers_that_floats_do_not_tell_apart_are_guessed_numbers():
    roles = resolve_roles(np.array([[2**60], [1]]), "auto")
    assert roles.columns[0].kind.name == "numeric"


@pytest.mark.parametrize(
    ("X", "columns", "message"),
    [
        (
            pd.DataFrame({"t": pd.to_datetime(["2020", "2021"])}),
            None,
            "'t' is of the type datetime",
        ),
        (pl.DataFrame({"t": [datetime.date(2020, 1, 1)]}), None, "'t' is of the type Date"),
        (np.array([[1 + 2j]]), None, "column 0 is of the type complex128"),
        (np.array([b"a"])[:, None], None, "column 0 is of the type bytes"),
        (np.zeros(3), None, r"its shape is \(3,\)"),
        (np.zeros((0, 2)), None, "it is empty"),
        (np.zeros((2, 0)), None, "it is empty"),
        (np.array([[np.inf], [1.0]]), None, "column 0: 1 of its 2 values are infinite"),
        (np.array([[2**52 + 2]]), {0: "integer"}, r"column 0: 4503599627370498 is beyond 2\*\*52"),
        (np.array([[(1, 2)], [1.0]], dtype=object)[:, :1], None, "is not a number"),
        (np.array([[np.inf], [1.0]]), {0: "category"}, "column 0: the label inf must be"),
        (np.arange(1001.0)[:, None], {0: "category"}, "column 0 has 1001 labels; .* at most 1000"),
        (np.zeros((1, 1)), {"a": "integer"}, "'a' is a name, but X has no names; use 0 to 0"),
        (np.array([["1", "2"]]), None, "column 0: .*'1'.* is not a number"),
        (
            pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]),
            None,
            "two columns have the name 'a'",
        ),
        (
            pd.DataFrame({"g": pd.Categorical([3, 1])}),
            None,
            "'g' is of the type category; make it a category",
        ),
    ],
)
def test_tables_that_cannot_be_read_are_told(X, columns, message):
    with pytest.raises(ValueError, match=message):
        resolve_roles(X, columns)


@pytest.mark.parametrize(
    "value",
    [datetime.date(2020, 1, 1), pd.Timedelta("1s"), np.timedelta64(1, "s"), 1j, b"a", (1, 2)],
)
def test_what_is_neither_number_nor_label_is_to_be_converted(value):
    """The advice was to make the column a category, which then failed."""
    X = np.array([[0.5, 1.0], [0.5, 2.0]], dtype=object)
    X[1, 1] = value
    with pytest.raises(ValueError, match=r"column 1: .* is not a number; convert it\.$"):
        resolve_roles(X)


def test_integers_too_large_for_a_float_are_told_by_their_column():
    with pytest.raises(ValueError, match="column 1 holds an integer that is too large"):
        resolve_roles(np.array([[0.5, 10**400]], dtype=object))


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (
            pd.Series([1.0, 2.0]),
            r"shape is \(2,\).* a row .* with X.to_frame\(\).T, .*iloc\[\[0\]\]",
        ),
        (pl.Series([1.0, 2.0]), r"Convert it with X.to_frame\(\)\.$"),
        (np.zeros(3), r"shape is \(3,\). Convert a row with np.reshape\(X, \(1, -1\)\)"),
        ([1.0, 2.0], r"a column with np.reshape\(X, \(-1, 1\)\)\.$"),
        ({"a": 1}, r"it is a dict. Convert it with pandas.DataFrame\(\[X\]\)"),
        ({"a": [1, 2]}, r"it is a dict. Convert it with pandas.DataFrame\(X\)"),
        ([{"a": 1}], r"Convert it with pandas.DataFrame\(X\)"),
        (np.zeros(3, dtype=[("a", float)]), r"Convert it with pandas.DataFrame\(X\)"),
        (None, "it is a NoneType. Pass a two-dimensional array, or a frame"),
        ((x for x in range(3)), "it is a generator. Pass a two-dimensional array"),
        (np.zeros((2, 2, 2)), r"shape is \(2, 2, 2\). Pass a two-dimensional array"),
    ],
)
def test_what_is_no_table_is_told_with_its_remedy(thing, message):
    with pytest.raises(ValueError, match=f"^X must be a table of rows and columns; .*{message}"):
        read_table(thing)


def test_a_row_that_is_made_a_frame_as_told_is_read():
    roles = resolve_roles(FRAME, {"b": "category"})
    row = FRAME.iloc[1].to_frame().T
    np.testing.assert_array_equal(roles.encode(row), roles.encode(FRAME)[1:2])


def test_another_number_of_columns_is_told():
    with pytest.raises(ValueError, match="X has 3 columns; it must have 2: 0, 1"):
        resolve_roles(np.zeros((2, 2))).encode(np.zeros((2, 3)))


def guess(x):
    return resolve_roles(np.asarray(x)[:, None], "auto").kinds.get(0)


def test_auto_guesses_bounds_with_care():
    rng = np.random.default_rng(0)
    uniform, lognormal = rng.random(500), rng.lognormal(size=500)
    assert guess(uniform) == (0.0, 1.0)
    assert guess(rng.exponential(size=500)) == (0.0, None)
    assert guess(1e-9 * lognormal) == (0.0, None)
    assert guess(0.5 * uniform) is None  # far from 1
    assert guess(uniform[:15]) is None  # few rows
    assert guess(10 + lognormal) is None  # it begins far from zero
    assert guess(-lognormal) is None
    assert guess(np.r_[0.0, lognormal]) is None  # zero itself
    assert guess(rng.normal(10, 1, size=500)) is None
    assert guess(2 * uniform) is None  # positive and not skewed
    assert guess(np.r_[rng.normal(10, 1, size=500), 1e6]) is None  # one outlier


def test_auto_does_not_take_scaled_numbers_for_shares():
    """New rows were out of bounds: of the least density, where training scaled by its range."""
    rng = np.random.default_rng(0)
    normal, lognormal = rng.normal(size=300), rng.lognormal(size=300)
    for x in (normal, lognormal, normal.round(2), np.r_[normal, np.full(50, normal.min())]):
        assert guess((x - x.min()) / np.ptp(x)) is None
    assert guess(lognormal / lognormal.max()) == (0.0, None)
    assert guess(rng.normal(0.5, 0.3, size=300).clip(0, 1)) == (0.0, 1.0)


@pytest.mark.filterwarnings("error")
def test_auto_guesses_nothing_from_an_overflow():
    assert resolve_roles(np.full((30, 1), 1.7e308), "auto").kinds == {}


def test_auto_leaves_multiples_numbers_and_takes_two_integers_for_labels():
    """Amounts in thousands had all integers between for as probable, labels some beside."""
    rng = np.random.default_rng(0)
    counts, labels = rng.poisson(9, 500), rng.integers(0, 2, 500)
    assert guess(counts) == "integer"
    assert guess(1000 * counts) is None
    assert guess(5 * counts - 3) is None
    assert guess(5 * counts[:9]) == "integer"  # few rows
    assert guess(labels) == "integer"  # a density needs numbers
    beside = np.c_[labels, counts]
    assert resolve_roles(beside, "auto").kinds == {0: "category", 1: "integer"}
    assert resolve_roles(beside, "auto", [1]).kinds == {0: "integer", 1: "integer"}
    with_gaps = np.where(np.arange(500) % 9, 1000.0 * counts, np.nan)
    assert guess(with_gaps) is None


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 1.0), (2.0, 7.0)])
def test_auto_takes_two_whole_numbers_of_any_type_for_labels(values):
    """Of 0.0 and 1.0 nine draws of ten lay between."""
    rng = np.random.default_rng(0)
    labels, numbers = rng.choice(values, size=300), rng.normal(size=300)
    assert resolve_roles(np.c_[labels, numbers], "auto").kinds == {0: "category"}
    labels[0] = np.nan
    assert resolve_roles(np.c_[labels, numbers], "auto").kinds == {0: "category"}
    assert resolve_roles(np.c_[labels / 2, numbers], "auto").kinds.get(0) != "category"


def test_integers_that_are_multiples_are_told():
    counts = 10 * np.random.default_rng(0).poisson(9, (500, 2))
    with pytest.warns(UserWarning, match="column 1 .* multiples of 10, but") as told:
        resolve_roles(counts, {1: "integer"})
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize(
    ("names", "shown"), [([2, 0], r"\[2, 0\]"), ([("a", 1), ("a", 2)], "'a', 1")], ids=str
)
def test_names_that_could_be_places_are_refused(names, shown):
    """Those of the column labelled 2 went by the name 0."""
    frame = pd.DataFrame(np.ones((3, 2)))
    frame.columns = names if isinstance(names[0], int) else pd.MultiIndex.from_tuples(names)
    with pytest.raises(ValueError, match=f"column names .*{shown}.*make them strings"):
        resolve_roles(frame, {0: (0, None)})
    with pytest.raises(ValueError, match="X_val has the column names"):
        resolve_roles(np.ones((3, 2))).encode(frame, "X_val")


def test_a_condition_may_keep_the_number_of_its_column():
    """As it has in a part of a frame whose columns are numbered."""
    frame = pd.DataFrame(np.linspace(0, 1, 40).reshape(10, 4))
    roles = resolve_roles(frame, None, [2])
    table = roles.encode_condition(frame[[2]], roles.given)
    np.testing.assert_array_equal(table[:, 2], frame[2])


def test_a_condition_of_numbered_columns_goes_by_their_numbers():
    """It went by the order: columns were swapped without a word."""
    frame = pd.DataFrame(np.arange(30.0).reshape(10, 3))
    roles = resolve_roles(frame, None, [1, 2])
    expected = frame.to_numpy()[:, 1:]
    for condition in (frame[[1, 2]], frame[[2, 1]], frame, frame[[1, 2]].to_numpy()):
        table = roles.encode_condition(condition, roles.given)
        np.testing.assert_array_equal(table[:, 1:], expected)
    named = resolve_roles(frame.set_axis(list("abc"), axis=1), None, ["b", "c"])
    table = named.encode_condition(pd.DataFrame(expected), named.given)  # has no names
    np.testing.assert_array_equal(table[:, 1:], expected)


@every_frame
def test_a_condition_is_read_only_where_it_is_needed(library):
    """A column beside it that no fit could read was refused."""
    frame_type = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]
    roles = resolve_roles(frame_type({"a": [0.0, 1.0], "b": [2.0, 3.0]}), None, ["b"])
    condition = frame_type({"day": [datetime.datetime(2026, 1, 1)], "b": [2.5]})
    assert roles.encode_condition(condition, roles.given)[:, 1].tolist() == [2.5]


def test_a_condition_of_columns_numbered_otherwise_is_refused():
    frame = pd.DataFrame(np.arange(30.0).reshape(10, 3))
    for X in (frame, frame.to_numpy()):
        roles = resolve_roles(X, None, [1, 2])
        with pytest.raises(ValueError, match=r"lacks the column 2; it has \[0, 1\].*order"):
            roles.encode_condition(frame[[0, 1]], roles.given)
    named = resolve_roles(frame.set_axis(list("abc"), axis=1), None, ["b", "c"])
    with pytest.raises(ValueError, match=r"condition has the column names \[2, 1\].*them strings"):
        named.encode_condition(frame[[2, 1]], named.given)


def test_sparse_tables_are_refused_by_their_name():
    with pytest.raises(TypeError, match=r"X is a sparse matrix; pass X.toarray\(\)"):
        resolve_roles(sparse.csr_array(np.eye(3)), "auto")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.arrays.SparseArray([0.0, 1.0])})
    with pytest.raises(ValueError, match=r"'b' is .* Sparse.*X.iloc\[:, 1\].sparse.to_dense\(\)"):
        resolve_roles(frame, "auto")


def test_auto_of_object_columns_looks_at_the_values():
    X = np.array([[1, "a", True, 1.5, 2], [2, "b", False, 0.5, 1.5]], dtype=object)
    roles = resolve_roles(X, "auto")
    assert roles.kinds == {0: "integer", 1: "category", 2: "category"}
    with pytest.raises(ValueError, match="column 0: 'a' is not a number"):
        resolve_roles(np.array([["a"], [1]], dtype=object), "auto")  # neither, so not guessed


def changed(path, value):
    _, roles = frame_and_roles("pandas")
    state = json.loads(json.dumps(roles.state()))
    *way, last = path
    place = state
    for key in way:
        place = place[key]
    place[last] = value
    return state


COLOUR, SIZE, COUNT = 4, 6, 2


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["container"], "arrow"),
        (["container"], None),
        (["container"], "polars"),
        (["columns"], None),
        (["columns"], []),
        (["names"], ["a"]),
        (["names"], ["a"] * 11),
        (["names"], "abcdefghijk"),
        (["extra"], 1),
        (["columns", COUNT], 7),
        (["columns", COUNT, "kind"], "ordinal"),
        (["columns", COUNT, "kind"], "category"),
        (["columns", COUNT, "type"], "datetime64[ns]"),
        (["columns", COUNT, "low"], math.nan),
        (["columns", COUNT, "low"], 0.5),
        (["columns", COUNT, "high"], -1.0),
        (["columns", COUNT, "high"], "1"),
        (["columns", COUNT, "shown"], None),
        (["columns", COUNT, "given"], 1),
        (["columns", COUNT, "labels"], ["a"]),
        (["columns", COLOUR, "labels"], []),
        (["columns", COLOUR, "labels"], ["a", "a"]),
        (["columns", COLOUR, "labels"], ["a", None]),
        (["columns", COLOUR, "labels"], ["a", ["b"]]),
        (["columns", COLOUR, "labels"], list(range(1001))),
        (["columns", COLOUR, "declares"], True),
        (["columns", SIZE, "declares"], False),
        (["columns", SIZE, "kind"], "numeric"),
    ],
)
def test_unsound_states_are_refused(path, value):
    with pytest.raises(ValueError, match=r"must|not a category|not declare"):
        Roles.from_state(changed(path, value))


def test_a_state_with_all_columns_given_is_refused():
    state = resolve_roles(np.zeros((2, 2)), None, [0]).state()
    state["columns"][1]["given"] = True
    with pytest.raises(ValueError, match="must not be given"):
        Roles.from_state(state)


def test_a_long_label_is_shortened_where_it_is_told():
    roles = resolve_roles(np.array([[1.0], [2.0]]), {0: "category"})
    with pytest.warns(UserWarning, match=r"label 'aaa[a.]{,30}' was not seen"):
        roles.encode(np.array([["a" * 10_000]]))
    with pytest.raises(ValueError, match=r"label b'aaa[a.]{,30}' must be a string"):
        roles.encode(np.array([[b"a" * 10_000]], dtype=object))


@pytest.mark.parametrize("table", [np.asarray, pd.DataFrame])
@pytest.mark.parametrize(("of_fit", "of_rows"), [("f4", "f8"), ("f8", "f4")])
def test_labels_are_known_in_single_precision(table, of_fit, of_rows):
    """There 0.1 is another number than in double precision, and was an unknown label."""
    X = np.array([[0.1], [0.2], [3.0]])
    roles = resolve_roles(table(X.astype(of_fit)), {0: "category"})
    assert roles.encode(table(X.astype(of_rows)))[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("labels", [[123456789.0, 123456792.0], [0.5 - 1e-10, 0.5], [1e-300, 0.0]])
def test_labels_that_single_precision_confuses_are_told_apart(labels):
    X = np.array(labels)[:, None]
    both = resolve_roles(X, {0: "category"})
    assert sorted(both.encode(X)[:, 0]) == [0, 1]


def test_an_unknown_label_is_not_the_nearest_whole_number():
    X = np.array([[123456789], [123456792.0]])
    roles = resolve_roles(X[1:], {0: "category"})
    assert roles.encode(X)[:, 0].tolist() == [-1, 0]
