"""Vendors' files, as they come, to `BookSnapshots`."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session, nanoseconds
from research_lib.market.tables import refuse_rows

logger = logging.getLogger(__name__)

F_LAST = 128
MBP10_LEVELS = 10
OPENING_CROSS_WITHIN_NS = 60 * 10**9


def read_mbp10(path_or_paths: str | Path | Iterable[str | Path], *, session: Session | None = None) -> BookSnapshots:
    """Read Databento MBP-10 records (CSV or CSV.gz), every row a state of the book.

    Rows keep the file's order and all are kept; `complete` marks those that may be
    sampled. Not complete are

    - rows without the flag F_LAST (128): the middle of an exchange event;
    - trades of action T with an aggressor (side A or B): they show the book before the
      trade, the removal follows as its own row;
    - rows before the opening cross, taken to be the first trade of the session if it
      prints without an aggressor (side N) within its first minute.

    Parameters
    ----------
    path_or_paths : path or paths
        One file, or several of one symbol in time order.
    session : Session, optional
        Whose opening the cross belongs to; 09:30 America/New_York by default.

    Returns
    -------
    BookSnapshots
        10 levels a side; `time` is the exchange's `ts_event`.

    Raises
    ------
    MissingDataError
        A file that does not exist.
    ValidationError
        A file that is damaged, lacks a column, holds text where a number belongs,
        or two symbols; names file, column and first row.

    References
    ----------
    Databento, "Market by price" (MBP-10) schema; Nasdaq TotalView-ITCH cross trades.
    """
    paths = [path_or_paths] if isinstance(path_or_paths, (str, Path)) else list(path_or_paths)
    if not paths:
        raise ValidationError("no file to read; give at least one path")
    frame = pd.concat([_read_csv(Path(path)) for path in paths], ignore_index=True)
    symbols = frame["symbol"].unique()
    if len(symbols) > 1:
        raise ValidationError(
            f"{_names(paths)} hold {len(symbols)} symbols ({', '.join(map(str, symbols[:5]))}); read one at a time"
        )
    time = nanoseconds(frame["ts_event"])
    arrays = {
        f"{side}_{kind}": frame[_level_columns(side, code)].to_numpy(dtype=float)
        for side in ("bid", "ask")
        for kind, code in (("price", "px"), ("size", "sz"))
    }
    complete = _complete(frame) & ~_before_opening_cross(frame, time, session or Session())
    try:
        books = BookSnapshots(time, symbol=str(symbols[0]), complete=complete, **arrays)
    except ValidationError as error:
        raise ValidationError(f"{_names(paths)}: {error}") from error
    logger.info("read %s rows of %s from %s", f"{len(books):,}", books.symbol, _names(paths))
    return books


def _level_columns(side: str, code: str) -> list[str]:
    return [f"{side}_{code}_{level:02d}" for level in range(MBP10_LEVELS)]


def _numeric_columns() -> list[str]:
    return [
        "flags",
        *(name for code in ("px", "sz") for side in ("bid", "ask") for name in _level_columns(side, code)),
    ]


def _read_csv(path: Path) -> pd.DataFrame:
    """The columns used of one file, numbers as numbers and ts_event as UTC times."""
    if not path.is_file():
        raise MissingDataError(f"{path} does not exist; check the path or set RESEARCH_DATA")
    wanted = ["ts_event", "action", "side", "symbol", *_numeric_columns()]
    try:
        frame = pd.read_csv(path, usecols=lambda name: name in wanted, low_memory=False)
    except (
        EOFError,
        zlib.error,
        OSError,
        UnicodeDecodeError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        raise ValidationError(
            f"{path} cannot be read as CSV: {' '.join(str(error).split())}; fetch it again"
        ) from error
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ValidationError(f"{path} is not MBP-10: it lacks column {', '.join(missing[:5])} ({len(missing)} in all)")
    if frame.empty:
        raise ValidationError(f"{path} is empty: it has a header and 0 rows")
    try:
        return _typed(frame)
    except ValidationError as error:
        raise ValidationError(f"{path}: {error}") from error


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    for name in _numeric_columns():
        if frame[name].dtype.kind not in "iuf":
            numbers = pd.to_numeric(frame[name], errors="coerce")
            refuse_rows((numbers.isna() & frame[name].notna()).to_numpy(), name, frame[name], "must hold numbers")
            frame[name] = numbers
    refuse_rows(frame["flags"].isna().to_numpy(), "flags", frame["flags"], "must hold numbers")
    for name in ("action", "side", "symbol"):
        refuse_rows(frame[name].isna().to_numpy(), name, frame[name], "must not be empty")
    for side in ("bid", "ask"):
        for name in _level_columns(side, "sz"):
            frame[name] = frame[name].fillna(0)
    parsed = pd.to_datetime(frame["ts_event"], utc=True, format="ISO8601", errors="coerce")
    refuse_rows(parsed.isna().to_numpy(), "ts_event", frame["ts_event"], "must hold ISO 8601 times")
    return frame.assign(ts_event=parsed.dt.as_unit("ns"))


def _complete(frame: pd.DataFrame) -> NDArray[np.bool_]:
    ends_event = (frame["flags"].to_numpy(dtype=np.int64) & F_LAST) != 0
    before_trade = ((frame["action"] == "T") & (frame["side"] != "N")).to_numpy()
    return ends_event & ~before_trade


def _before_opening_cross(frame: pd.DataFrame, time: NDArray[np.int64], session: Session) -> NDArray[np.bool_]:
    """Rows of each session up to and including its opening cross, where it has one, (n,)."""
    days = session.days(time)
    trades = (frame["action"] == "T").to_numpy()
    before = np.zeros(len(time), bool)
    for day in np.unique(days):
        opening, closing = (bound[0] for bound in session.bounds([day]))
        in_session = (time >= opening) & (time < closing)
        first = np.flatnonzero(in_session & trades)[:1]
        if first.size and frame["side"].iloc[first[0]] == "N" and time[first[0]] < opening + OPENING_CROSS_WITHIN_NS:
            before |= in_session & (np.arange(len(time)) <= first[0])
    return before


def _names(paths: list[str | Path]) -> str:
    return ", ".join(Path(path).name for path in paths)
