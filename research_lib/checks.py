"""The checks of what users bring: numbers, arrays, labelled arrays and frames.

Each names the value, the limit and the remedy.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research_lib.errors import ValidationError

Float = NDArray[np.float64]


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
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float | None = None,
    integer: bool = False,
) -> Any:
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
    plain = (type(value) is float and not integer) or (type(value) is int and integer)
    if (
        plain
        and low <= value <= high
        and -math.inf < value < math.inf
        and (above is None or value > above)
    ):
        return value
    kind = "an integer" if integer else "a number"
    single = hasattr(value, "__float__") and getattr(value, "shape", ()) == ()
    if not single or isinstance(value, bool | str):
        raise ValidationError(f"{name} must be {kind}, got {value!r}")
    if not math.isfinite(value) or (integer and value != int(value)):
        raise ValidationError(f"{name} must be {kind} and finite, got {value!r}")
    if above is not None and value <= above:
        raise ValidationError(f"{name} must be above {above:g}, got {value!r}")
    if not low <= value <= high:
        limit = f"at least {low:g}" if value < low else f"at most {high:g}"
        raise ValidationError(f"{name} must be {limit}, got {value!r}")
    return int(value) if integer else float(value)


def numbers(name: str, values: ArrayLike) -> Float:
    """Values as an array of floats, whatever its shape.

    Raises
    ------
    ValidationError
        Naming the parameter, where something in it is no number.
    """
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be numbers, got {str(values)[:60]!r}") from error


def per_interval(
    name: str, values: Any, n: int, low: float = 0.0, *, infinite: bool = False
) -> Float:
    """A number or (n,), one an interval, as a new (n,); a Series is aligned by labels 0 to n - 1.

    Parameters
    ----------
    low : float
        Least value admitted.
    infinite : bool
        Whether infinities are: of bounds in shares, where they mean none.

    Raises
    ------
    ValidationError
        Another shape, labels that are not the intervals', NaN, or a value below `low`.
    """
    kind = f"a number or ({n},)" + (" shares" if infinite else ", one an interval")
    aligned = _by_interval(name, values, n)
    try:
        array = np.asarray(aligned, float)
    except (TypeError, ValueError) as error:
        what = kind if infinite else "numbers"
        raise ValidationError(f"{name} must be {what}, got {str(values)[:60]!r}") from error
    if array.shape not in ((), (n,)):
        raise ValidationError(f"{name} must be {kind}, got shape {array.shape}")
    good = array >= low if infinite else np.isfinite(array) & (array >= low)
    if not np.all(good):
        t = int(np.argmin(np.atleast_1d(good)))
        where = f" in interval {t}" if array.ndim or infinite else ""
        limit = f"at least {low:g}" if infinite else f"finite and at least {low:g}"
        raise ValidationError(f"{name} must be {limit}, got {np.atleast_1d(array)[t]:g}{where}")
    filled = np.empty(n)
    filled[:] = array
    return filled


def _by_interval(name: str, values: Any, n: int) -> Any:
    """A Series in the order of its labels, which must be the intervals; anything else as it is."""
    labels = getattr(values, "index", None)
    if labels is None or callable(labels):
        return values
    if len(labels) != n or set(labels) != set(range(n)):
        raise ValidationError(
            f"{name} is labelled {labels[0]!r} to {labels[-1]!r}; intervals are labelled 0 to "
            f"{n - 1}: reset_index(drop=True) if its order is theirs"
        )
    return values.reindex(range(n))


def same_labels(name: str, values: Any, labels: Any) -> Any:
    """A Series or frame in the order of `labels`, on each axis; anything unlabelled as it is.

    Raises
    ------
    ValidationError
        Labels that are not the same set: they are never read by position in silence.

    Examples
    --------
    >>> import pandas as pd
    >>> same_labels("volatility", pd.Series({"B": 2.0, "A": 1.0}), ["A", "B"]).tolist()
    [1.0, 2.0]
    """
    if labels is None or getattr(values, "index", None) is None or callable(values.index):
        return values
    wanted = list(labels)
    for axis in values.axes:
        if len(axis) != len(wanted) or set(axis) != set(wanted):
            missing = [label for label in wanted if label not in set(axis)] or list(axis)
            raise ValidationError(
                f"{name} is labelled {', '.join(map(str, axis))}, the orders "
                f"{', '.join(map(str, wanted))}; label both alike ({missing[0]} is in one only), "
                "or give arrays in one order"
            )
    return (
        values.reindex(wanted) if values.ndim == 1 else values.reindex(index=wanted, columns=wanted)
    )


def require_columns(frame: Any, columns: tuple[str, ...], what: str) -> None:
    """Raise ValidationError unless `frame` is a DataFrame with rows and all of `columns`."""
    if not hasattr(frame, "columns"):
        raise ValidationError(f"{what} must be a pandas DataFrame, got {type(frame).__name__}")
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValidationError(
            f"{what} lacks column {', '.join(missing)}; it needs {', '.join(columns)}"
        )
    if frame.empty:
        raise ValidationError(f"{what} is empty: it has 0 rows")


def require_numbers(frame: Any, columns: tuple[str, ...], *, above: float | None = None) -> None:
    """Raise ValidationError unless `columns` hold finite numbers, above `above` if given."""
    import pandas as pd

    for name in columns:
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
        refuse_rows(~np.isfinite(values), name, frame[name], "must be a finite number")
        if above is not None:
            refuse_rows(values <= above, name, frame[name], f"must be above {above:g}")
        if frame[name].dtype.kind not in "iuf":
            raise ValidationError(
                f"column {name} holds numbers as {frame[name].dtype}; convert with .astype(float)"
            )


def refuse_rows(bad: NDArray[np.bool_], column: str, values: Any, rule: str) -> None:
    """Raise ValidationError naming column, number of bad rows, the first and its value."""
    if bad.any():
        row = int(np.argmax(bad))
        value = values.iloc[row]
        shown = repr(value.item() if isinstance(value, np.generic) else value)
        raise ValidationError(
            f"column {column} {rule}: {int(bad.sum()):,} of {len(bad):,} rows are not, "
            f"first in row {row} ({shown}); correct or drop them"
        )
