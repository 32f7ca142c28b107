"""Checks of frames that users bring: each refusal names the column, the rows and the remedy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import ValidationError


def require_columns(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    """Raise ValidationError unless `frame` has rows and all of `columns`."""
    if not isinstance(frame, pd.DataFrame):
        raise ValidationError(f"{what} must be a pandas DataFrame, got {type(frame).__name__}")
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValidationError(
            f"{what} lacks column {', '.join(missing)}; it needs {', '.join(columns)}"
        )
    if frame.empty:
        raise ValidationError(f"{what} is empty: it has 0 rows")


def require_numbers(
    frame: pd.DataFrame, columns: tuple[str, ...], *, above: float | None = None
) -> None:
    """Raise ValidationError unless `columns` hold finite numbers, above `above` if given."""
    for name in columns:
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float)
        refuse_rows(~np.isfinite(values), name, frame[name], "must be a finite number")
        if above is not None:
            refuse_rows(values <= above, name, frame[name], f"must be above {above:g}")
        if frame[name].dtype.kind not in "iuf":
            raise ValidationError(
                f"column {name} holds numbers as {frame[name].dtype}; convert with .astype(float)"
            )


def refuse_rows(bad: NDArray[np.bool_], column: str, values: pd.Series, rule: str) -> None:
    """Raise ValidationError naming column, number of bad rows, the first and its value, if any is bad."""
    if bad.any():
        row = int(np.argmax(bad))
        raise ValidationError(
            f"column {column} {rule}: {int(bad.sum()):,} of {len(bad):,} rows are not, "
            f"first in row {row} ({_plain(values.iloc[row])!r}); correct or drop them"
        )


def _plain(value: object) -> object:
    """A NumPy scalar as the Python number that people know."""
    return value.item() if isinstance(value, np.generic) else value
