"""The values of one column encoded as numbers, and decoded."""

import dataclasses
import itertools
import math
from numbers import Number

import numpy as np

from sklearn_jko.checks import check_choice, check_keys, check_number, short_repr
from sklearn_jko.columns.guess import LARGEST_INTEGER
from sklearn_jko.columns.kind import CATEGORY, INTEGER, NUMERIC, Kind
from sklearn_jko.columns.tables import FLOAT, TYPES, ColumnType
from sklearn_jko.columns.values import are_missing, distinct, is_missing
from sklearn_jko.user_warnings import warn_user

__all__ = ["Column", "check_present", "column_from_state", "labels_of"]

MAX_LABELS = 1000
NOT_REAL = (complex, np.complexfloating, np.timedelta64)  # numbers for Python or NumPy
SMALLEST_SINGLE = float(np.finfo(np.float32).tiny)
LARGEST_SINGLE = float(np.finfo(np.float32).max)
LARGEST_WHOLE_SINGLE = 2**24  # up to which single precision holds every integer
DECLARING = ("category", "Enum")
KINDS = (NUMERIC, INTEGER, CATEGORY)
TYPES_OF_LABELS = {str: "strings", bool: "booleans", int: "numbers", float: "numbers"}


@dataclasses.dataclass(frozen=True)
class Column:
    """All that is known of one column.

    Attributes
    ----------
    display_name : str
        Its name or index, as errors show it.
    type : ColumnType
        Its type in the table, and the categories that the type declares.
    kind : Kind
    labels : list of str, bool, int or float, or None
        Labels of a category, in the order of its codes.
    given : bool
        Whether it is conditioned on, and not modelled.
    """

    display_name: str
    type: ColumnType
    kind: Kind
    labels: list | None
    given: bool

    def encode(self, values, rounds=False):
        """Encoded values of shape (n,): the codes of a category, with -1 for an unknown label.

        NaN where a value is missing. With `rounds`, fractions in a column of integers are rounded,
        and values beyond 2^52 clipped, with a warning.

        Raises
        ------
        ValueError
            If a value is not of the column's kind.

        Warns
        -----
        UserWarning
            If a label has a type that none of the column's labels has.
        """
        if self.kind.name == CATEGORY:
            different, inverse = distinct(values)
            return self._codes(different)[inverse]
        encoded = np.full(len(values), np.nan)
        is_present = ~are_missing(values)
        if is_present.any():
            encoded[is_present] = self._numbers(values[is_present], rounds)
        return encoded

    def _numbers(self, values, rounds):
        numbers = _numbers(self.display_name, values)
        if self.kind.name == INTEGER:
            return _integers(self.display_name, numbers, rounds)
        return self._on_bounds(numbers)

    def _codes(self, values):
        codes, is_label = np.full(len(values), np.nan), ~np.array(list(map(is_missing, values)))
        labels = _plain_labels(self.display_name, itertools.compress(values, is_label))
        codes[is_label] = self._codes_of_labels(labels)
        return codes

    def _codes_of_labels(self, labels):
        known, asked = (list(map(_in_single, part)) for part in (self.labels, labels))
        if len(set(known)) < len(known):
            known, asked = self.labels, labels
        code_of = {label: code for code, label in enumerate(known)}
        codes = [code_of.get(label, -1) for label in asked]
        unknown = [label for label, code in zip(labels, codes, strict=True) if code == -1]
        self._warn_of_types(unknown)
        return codes

    def _warn_of_types(self, unknown):
        types = {TYPES_OF_LABELS[type(label)] for label in self.labels}
        other = [label for label in unknown if TYPES_OF_LABELS[type(label)] not in types]
        if other:
            warn_user(
                f"column {self.display_name}: the label {short_repr(other[0])} was not seen in "
                f"fit, where labels were {' and '.join(sorted(types))}. Convert the column if it "
                "holds the same labels in another type."
            )

    def _on_bounds(self, numbers):
        """The numbers, with a bound that was rounded to single precision replaced by the bound."""
        for bound in (self.kind.low, self.kind.high):
            if SMALLEST_SINGLE <= abs(bound) < LARGEST_SINGLE:
                numbers = np.where(numbers == np.float32(bound), bound, numbers)
        return numbers

    def decode(self, numbers, is_known):
        """Values of shape (n,), of this kind: drawn integers within its range, known ones as known.

        Parameters
        ----------
        numbers : ndarray of shape (n,)
        is_known : ndarray of shape (n,), bool

        Raises
        ------
        ValueError
            If a code has no label.
        """
        if self.kind.name == NUMERIC:
            return numbers
        whole = np.rint(numbers)
        if self.kind.name == INTEGER:
            return np.where(is_known, whole, whole.clip(*self._integer_range())).astype(np.int64)
        unknown = whole[~((whole >= 0) & (whole < len(self.labels)))]
        if len(unknown):
            raise ValueError(f"column {self.display_name}: no label has the code {unknown[0]:.0f}.")
        return np.array(self.labels, dtype=object)[whole.astype(np.int64)]

    def decoded_type(self, container, values):
        """The type of decoded values: that of the table, or a wider one if that is too narrow."""
        name = self.type.name.lower()
        is_boolean = name.startswith("bool")
        if self.kind.name == NUMERIC and (is_boolean or name.startswith(("int", "uint"))):
            return ColumnType(FLOAT[container])
        if self.kind.name == INTEGER:
            low, high = self._type_range()
            if is_boolean or not np.all((values >= low) & (values <= high)):
                return ColumnType("Int64" if self.type.name[0].isupper() else "int64")
            if name == "float32" and np.any(np.abs(values) > LARGEST_WHOLE_SINGLE):
                return ColumnType(self.type.name.replace("32", "64"))
        return self.type

    def _integer_range(self):
        low, high = self._type_range()
        return max(low, self.kind.low), min(high, self.kind.high)

    def _type_range(self):
        """The smallest and the largest integer that the column's type holds."""
        low, high = -LARGEST_INTEGER, LARGEST_INTEGER
        name = self.type.name.lower()
        if name.startswith(("int", "uint")):
            limits = np.iinfo(name)
            low, high = max(low, int(limits.min)), min(high, int(limits.max))
        return low, high

    def state(self):
        """All of it as plain values."""
        return {
            "shown": self.display_name,
            "type": self.type.name,
            "declares": self.type.categories is not None,
            "ordered": self.type.ordered,
            "kind": self.kind.name,
            "low": self.kind.low,
            "high": self.kind.high,
            "labels": self.labels,
            "given": self.given,
        }


def column_from_state(state, container):
    """The column whose `state` this is, in a table of this container.

    Raises
    ------
    ValueError
        If the state is invalid.
    """
    keys = ("shown", "type", "declares", "ordered", "kind", "low", "high", "labels", "given")
    check_keys("column", state, keys)
    check_choice("type", state["type"], TYPES[container])
    check_choice("kind", state["kind"], KINDS)
    if type(state["shown"]) is not str:
        raise ValueError(f"shown must be a string; it is {short_repr(state['shown'])}")
    for name in ("declares", "ordered", "given"):
        if type(state[name]) is not bool:
            raise ValueError(f"{name} must be true or false; it is {short_repr(state[name])}")
    for name in ("low", "high"):
        check_number(name, state[name])
    kind = Kind(state["kind"], float(state["low"]), float(state["high"]))
    kind.check(state["shown"])
    labels, declares = state["labels"], state["declares"]
    _check_labels(labels, kind)
    if declares != (state["type"] in DECLARING) or (declares and kind.name != CATEGORY):
        raise ValueError(f"type={state['type']!r} does not declare categories, or must")
    column_type = ColumnType(state["type"], labels if declares else None, state["ordered"])
    return Column(state["shown"], column_type, kind, labels, state["given"])


def labels_of(name, values, column_type):
    """The labels of a category in the order of its codes.

    They are the categories that its type declares, both booleans, or else the values seen, in
    ascending order with numbers first. A missing value is not a label.

    Raises
    ------
    ValueError
        If a label is not a string, boolean or finite number, or there are more than 1,000.
    """
    if column_type.categories is not None:
        labels = _plain_labels(name, column_type.categories)
    elif column_type.name.lower().startswith("bool"):
        labels = [False, True]
    else:
        different, _ = distinct(values)
        seen = set(_plain_labels(name, itertools.filterfalse(is_missing, different)))
        labels = sorted(seen, key=lambda label: (isinstance(label, str), label))
    if len(labels) > MAX_LABELS:
        raise ValueError(
            f"column {name} has {len(labels)} labels; a category may have at most {MAX_LABELS}. "
            "Merge rare labels, or leave the column out."
        )
    return labels


def check_present(name, values):
    """Raise ValueError, naming the given column, if some of its values are missing."""
    missing = np.flatnonzero(are_missing(values))
    if len(missing):
        raise ValueError(
            f"column {name}: {len(missing)} of its {len(values)} values are missing, the "
            f"first in row {missing[0]}. Given columns must be complete: fill in these values, or "
            "drop the rows."
        )


def _numbers(name, values):
    if values.dtype.kind not in "biufO":
        raise _not_a_number(name, values[0])
    if values.dtype == object:
        plain = values.tolist()
        wrong = {kind for kind in set(map(type, plain)) if not _is_real(kind)}
        if wrong:
            raise _not_a_number(name, next(value for value in plain if type(value) in wrong))
    try:
        numbers = values.astype(np.float64)
    except OverflowError:
        raise ValueError(
            f"column {name} holds an integer that is too large for a float. Drop its row, or "
            "replace it by another number."
        ) from None
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"column {name}: {np.isinf(numbers).sum()} of its {len(numbers)} values are "
            "infinite. Drop these rows, or replace the values by finite ones."
        )
    return numbers


def _is_real(kind):
    return issubclass(kind, Number | np.bool_) and not issubclass(kind, NOT_REAL)


def _not_a_number(name, value):
    remedy = "convert it"
    if isinstance(value, str):  # values of other types cannot be labels either
        remedy += f", or make the column a category with columns={{{name}: 'category'}}"
    return ValueError(f"column {name}: {short_repr(value)} is not a number; {remedy}.")


def _integers(name, numbers, rounds):
    wrong = numbers[numbers != np.rint(numbers)]
    if len(wrong):
        message = (
            f"column {name}: {len(wrong)} of its {len(numbers)} values are not integers, the "
            f"first is {wrong[0]}."
        )
        if not rounds:
            raise ValueError(f"{message} Round them, or do not declare the column as integer.")
        warn_user(
            f"{message} They are rounded to the nearest integers. If the column holds fractions, "
            "fit without declaring it as integer in `columns`."
        )
    far = numbers[np.abs(numbers) > LARGEST_INTEGER]
    if len(far):
        message = (
            f"column {name}: {far[0]:.0f} is beyond 2**52, the largest integer that is supported."
        )
        if not rounds:
            raise ValueError(f"{message} Leave the column out, or do not declare it as integer.")
        warn_user(f"{message} It is clipped to 2**52 with its sign; check the value.")
    return np.rint(numbers).clip(-LARGEST_INTEGER, LARGEST_INTEGER)


def _plain_labels(name, values):
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    for label in plain:
        if not _is_label(label):
            raise ValueError(
                f"column {name}: the label {short_repr(label)} must be a string, boolean or "
                "finite number."
            )
    return plain


def _in_single(label):
    """A label in single precision, where 0.1 is another float."""
    # There large whole numbers that differ may be one.
    is_fraction = type(label) is float and not label.is_integer()
    return float(np.float32(label)) if is_fraction else label


def _is_label(label):
    return type(label) in (str, bool, int) or (type(label) is float and math.isfinite(label))


def _check_labels(labels, kind):
    if kind.name != CATEGORY:
        if labels is not None:
            raise ValueError(f"labels={short_repr(labels)} of a column that is not a category")
    elif (
        not isinstance(labels, list)
        or not 1 <= len(labels) <= MAX_LABELS
        or not all(map(_is_label, labels))
        or len(set(labels)) != len(labels)
    ):
        raise ValueError(
            f"labels must be 1 to {MAX_LABELS} different strings, booleans or numbers; they are "
            f"{short_repr(labels)}"
        )
