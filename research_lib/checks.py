"""Checks of input from users: numbers, arrays, labelled arrays and frames.

Errors name the value, the limit and the remedy.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.errors import ValidationError

# The types of arrays; `ArrayLike` is what NumPy makes one of.
Array = NDArray[Any]
Float = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


def nearest(name: str, valid: Iterable[str]) -> str:
    """Remedy for a misspelt name: the nearest valid one, or all of them."""
    choices = list(valid)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; choose from {', '.join(choices)}"


def refuse_unknown(names: Iterable[str], valid: Iterable[str], what: str) -> None:
    """Raise ValidationError naming the first of `names` that is not in `valid`."""
    known = list(valid)
    for name in names:
        if name not in known:
            raise ValidationError(f"{what} {name!r} is unknown{nearest(str(name), known)}")


def number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, *,
    above: float = -math.inf, integer: bool = False,
) -> Any:  # fmt: skip
    """Check one number: finite, in [low, high], strictly above `above`; return it as float or int.

    Raises
    ------
    ValidationError
        Naming the parameter, its value and the limit that it breaks.

    Examples
    --------
    >>> number("total_shares", 20_000, 0)
    20000.0
    """
    if type(value) is float and not integer and low <= value <= high and above < value < math.inf:
        return value  # the usual case, early: `almgren_chriss` checks seven numbers in 20 us
    kind, rule = "an integer" if integer else "a number", ""
    single = hasattr(value, "__float__") and getattr(value, "shape", ()) == ()
    if not single or isinstance(value, bool | np.bool_ | str):
        rule = kind
    elif not math.isfinite(value) or (integer and value != int(value)):
        rule = f"{kind} and finite"
    elif value <= above:
        rule = f"above {above:g}"
    elif not low <= value <= high:
        rule = f"at least {low:g}" if value < low else f"at most {high:g}"
    if rule:
        raise ValidationError(f"{name} must be {rule}, got {value!r}")
    return int(value) if integer else float(value)


def numbers(name: str, values: ArrayLike, kind: str = "numbers") -> Float:
    """Values as an array of floats, whatever its shape; ValidationError where one is no number."""
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be {kind}, got {str(values)[:60]!r}") from error


def per_interval(name: str, values: Any, n: int, low: float = 0, infinite: bool = False) -> Float:
    """A number or (n,), one an interval, as a new (n,); a Series is aligned by labels 0 to n - 1.

    Values are at least `low`; `infinite` admits infinity, which means no bound.

    Raises
    ------
    ValidationError
        Another shape, labels that are not the intervals', NaN, or a value below `low`.
    """
    if type(values) is float and low <= values < np.inf:  # the usual case of one number, early
        return np.full(n, values)
    aligned = same_labels(name, values, range(n), f"intervals are labelled 0 to {n - 1}")
    kind = f"a number or ({n},)" + (" shares" if infinite else ", one an interval")
    array = numbers(name, aligned, kind if infinite else "numbers")
    if array.shape not in ((), (n,)):
        raise ValidationError(f"{name} must be {kind}, got shape {array.shape}")
    filled, kind = np.full(n, array), "" if infinite else "finite and "
    good = (filled >= low) & (np.isfinite(filled) | infinite)
    if not good.all():
        t = int(np.argmin(good))
        where = f" in interval {t}" if array.ndim or infinite else ""
        raise ValidationError(f"{name} must be {kind}at least {low:g}, got {filled[t]:g}{where}")
    return filled


def same_labels(name: str, values: Any, labels: Sequence[Any] | None, due: str = "") -> Any:
    """A Series or frame in the order of `labels`, on each axis; anything unlabelled as it is.

    Raises
    ------
    ValidationError
        Labels that are not the same set: labelled values are never read by position. `due` says in
        the message what they should be.

    Examples
    --------
    >>> import pandas as pd
    >>> same_labels("volatility", pd.Series({"B": 2.0, "A": 1.0}), ["A", "B"]).tolist()
    [1.0, 2.0]
    """
    if labels is None or not hasattr(values, "axes"):
        return values
    for axis in values.axes:
        if len(axis) != len(labels) or set(axis) != set(labels):
            due = due or f"the orders {', '.join(map(str, labels))}"
            found = ", ".join(map(str, axis[:20]))
            raise ValidationError(f"{name} is labelled {found}; {due}: label both alike")
    return values.reindex(**{key: list(labels) for key in ("index", "columns")[: values.ndim]})


def same_rows(**given: Any) -> dict[str, Any]:
    """Columns of one table: Series and frames are put in the row order of the first of them.

    Beside a plain array, whose order is unknown, their labels must be 0 to n - 1 in order, or equal
    a pandas Index that is itself one of the columns, such as the times.

    Raises
    ------
    ValidationError
        Rows with other labels, or in another order with a label that occurs twice.

    Examples
    --------
    >>> import pandas as pd
    >>> price, size = pd.Series({"a": 9.0, "b": 8.0}), pd.Series({"b": 20, "a": 10})
    >>> same_rows(price=price, size=size)["size"].tolist()
    [10, 20]
    """
    import pandas as pd

    labelled = {name: values for name, values in given.items() if hasattr(values, "axes")}
    first = next(iter(labelled), "")
    plain = [name for name in given if name not in labelled and np.ndim(given[name])]
    rows: Any = labelled[first].index if labelled else ()
    counted = not labelled or rows.equals(pd.RangeIndex(len(rows)))
    if plain and not counted and not any(rows.equals(given[name]) for name in plain):
        raise ValidationError(f"{first} has labels that {plain[0]} has not: give .to_numpy()")
    for name, values in labelled.items():
        if not values.index.equals(rows):
            same = len(values) == len(rows) and set(values.index) == set(rows)
            if not (same and values.index.is_unique):
                differ = f"{name} and {first} have rows of different labels"
                raise ValidationError(f"{differ}; label both alike, or give .to_numpy() of both")
            given[name] = values.loc[rows]
    return given


def positions(rows: ArrayLike) -> Array:
    """A mask or positions as an index; an empty list, which has no type, selects nothing."""
    return np.asarray(rows) if np.size(rows) else np.zeros(0, np.int64)


def require_columns(frame: Any, columns: Sequence[str], what: str) -> None:
    """Raise ValidationError unless `frame` is a DataFrame with rows and all of `columns`."""
    if not hasattr(frame, "columns"):
        raise ValidationError(f"{what} must be a pandas DataFrame, got {type(frame).__name__}")
    if missing := ", ".join(name for name in columns if name not in frame.columns):
        raise ValidationError(f"{what} lacks column {missing}; it needs {', '.join(columns)}")
    if frame.empty:
        raise ValidationError(f"{what} is empty: it has 0 rows")


def require_numbers(frame: Any, columns: Sequence[str], *, above: float = -math.inf) -> None:
    """Raise ValidationError unless `columns` hold finite numbers, above `above` if given."""
    import pandas as pd

    for name in columns:
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
        refuse_rows(~np.isfinite(values), name, frame[name], "must be a finite number")
        refuse_rows(values <= above, name, frame[name], f"must be above {above:g}")
        if (kind := frame[name].dtype).kind not in "iuf":
            raise ValidationError(f"column {name} holds {kind}; convert with .astype(float)")


def refuse_rows(bad: Mask, column: str, values: Any, rule: str) -> None:
    """Raise ValidationError naming column, number of bad rows, the first and its value."""
    if bad.any():
        row, count = int(np.argmax(bad)), f"{int(bad.sum()):,} of {len(bad):,} rows are not"
        where = f"{count}, first in row {row} ({values.tolist()[row]!r})"
        raise ValidationError(f"column {column} {rule}: {where}; correct or drop them")
