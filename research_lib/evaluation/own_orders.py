"""A desk's own orders and fills: read, and checked against the market."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from research_lib.checks import refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.costs import STALE_SECONDS
from research_lib.evaluation.executions import ROUNDING
from research_lib.evaluation.tape import Int64, Tape
from research_lib.market.sessions import nanoseconds, refuse_unknown_zone

Source = Any  # a path of a CSV or Parquet file, or a frame
Names = Mapping[str, str] | None
Tapes = Mapping[str, Tape]
TIMES = ["decision_time", "arrival_time", "due_time", "end_time"]  # of an order
# Columns that must be there, and those that may.
DUE = {
    "orders": ["order_id", "symbol", "side", "shares", "arrival_time"],
    "fills": ["order_id", "time", "shares", "price"],
}
OPTIONAL = {
    "orders": ["decision_time", "due_time", "end_time", "strategy", "trader", "venue",
               "forecast_bps"],
    "fills": ["fill_id", "venue", "liquidity", "fee"],
}  # fmt: skip
# Also FIX's numbers; sides of other words are a fault.
SIDES = {"buy": "buy", "b": "buy", "1": "buy", "sell": "sell", "s": "sell", "2": "sell"}
LIQUIDITY = ("added", "removed")
OFFSET = r"(?:Z|[+-]\d\d:?\d\d)$"  # with which a time says its zone
UNREAD = pd.Timestamp(0, tz="UTC")  # stands for a time that is given and cannot be read
# What is wrong with an order or a fill, and the column that is shown of the first one.
FAULTS = {
    "duplicate order": "order_id", "unknown side": "side", "order size not above 0": "shares",
    "order times missing or out of order": "arrival_time", "unknown symbol": "symbol",
    "order outside the market data": "arrival_time", "arrival outside the session": "arrival_time",
    "duplicate fill": "order_id", "unknown order": "order_id",
    "fill size or price not above 0": "price", "fee is no number": "fee",
    "unknown liquidity flag": "liquidity", "fill before arrival": "time",
    "fill after the end": "time", "price outside the day's range": "price",
    "book older than an hour": "time", "more filled than ordered": "order_id",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Desk(Record):
    """Orders and their fills, checked.

    Attributes
    ----------
    orders : DataFrame
        Index order_id, as text; in order of arrival. until: its end_time, else that of the last
        fill, else the arrival; filled: shares.
    fills : DataFrame
        By order and time; order is the row of the order.
    faults : DataFrame
        Index fault; rows (of orders or fills), orders (left out for it), first (which).
    """

    orders: pd.DataFrame
    fills: pd.DataFrame
    faults: pd.DataFrame


def read_orders(source: Source, columns: Names = None, timezone: str = "") -> pd.DataFrame:
    """Parent orders from a CSV or Parquet file or a frame.

    Columns order_id, symbol, side (buy, sell, B, S, or FIX's 1 and 2), shares, arrival_time (within
    the session). Optional: decision_time (the arrival by default), due_time (by when it was planned
    to be done), end_time (when it was cancelled or ran out; the close by default), strategy,
    trader, venue, forecast_bps (of the desk's own model).

    Parameters
    ----------
    source : path or DataFrame
    columns : mapping of its own names to these, optional
    timezone : str
        Of times without one. Text is read in the form of ISO 8601.

    Raises
    ------
    ValidationError
        A missing column, a time without a zone where none is given, integers that are no
        nanoseconds. Rows that are wrong by themselves are left to `checked_desk`.

    Examples
    --------
    >>> frame = pd.DataFrame({"id": [1], "sym": ["A"], "side": ["B"], "qty": [100.0],
    ...                       "sent": ["2025-04-03 10:00"]})
    >>> names = {"id": "order_id", "sym": "symbol", "qty": "shares", "sent": "arrival_time"}
    >>> read_orders(frame, names, "America/New_York")["arrival_time"].iloc[0]
    Timestamp('2025-04-03 14:00:00+0000', tz='UTC')
    """
    return _table(source, columns, timezone, "orders")


def read_fills(source: Source, columns: Names = None, timezone: str = "") -> pd.DataFrame:
    """Fills as `read_orders`: order_id, time, shares, price. Optional: fill_id (of its order, else
    equal rows are duplicates), venue, liquidity ("added" or "removed"), fee (currency of the whole
    fill, below 0 for a rebate).

    Examples
    --------
    >>> frame = pd.DataFrame({"order_id": [1], "shares": [100.0], "price": [10.0],
    ...                       "time": ["2025-04-03 14:00Z"]})
    >>> read_fills(frame).columns.tolist()
    ['order_id', 'time', 'shares', 'price']
    """
    return _table(source, columns, timezone, "fills")


def _table(source: Source, columns: Names, timezone: str, what: str) -> pd.DataFrame:
    frame, names, due, known = source, dict(columns or {}), DUE[what], DUE[what] + OPTIONAL[what]
    if not isinstance(source, pd.DataFrame):
        read: Any = pd.read_parquet if str(source).endswith(".parquet") else pd.read_csv
        frame = read(source, dtype_backend="numpy_nullable")  # whole numbers beside blanks
    refuse_unknown(names, frame.columns, f"column of the {what}:")
    refuse_unknown(names.values(), known, f"name for a column of the {what}:")
    frame = frame.drop(columns=[one for one in names.values() if one in frame and one not in names])
    frame = frame.rename(columns=names)
    if missing := [name for name in due if name not in frame.columns]:
        has = ", ".join(map(str, frame.columns[:12]))
        remedy = f'columns={{"<its name>": "{missing[0]}"}} says which it is'
        raise ValidationError(f"{what} lack {', '.join(missing)}; they have {has}; {remedy}")
    frame = frame[[name for name in known if name in frame.columns]].reset_index(drop=True)
    return _timed(frame, timezone, f"{what}: ")


def _timed(frame: pd.DataFrame, timezone: str = "", what: str = "") -> pd.DataFrame:
    """The table with its times in UTC."""
    times = [name for name in (*TIMES, "time") if name in frame]
    return frame.assign(**{name: _utc(frame[name], what + name, timezone) for name in times})


def _utc(values: pd.Series, what: str, timezone: str) -> pd.Series:
    """Times in UTC, `UNREAD` where one is given and cannot be read, NaT where none is."""
    if timezone:
        refuse_unknown_zone(timezone)
    whole = pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all()
    given, times = values.notna(), pd.Series(pd.NaT, values.index, "datetime64[ns, UTC]")
    if whole or pd.api.types.is_integer_dtype(values):
        numbers = nanoseconds(values[given].astype("int64"), what)
        times[given] = pd.to_datetime(numbers, utc=True)
        return times
    how: dict[str, Any] = {"errors": "coerce"}
    aware = pd.Series(getattr(values.dtype, "tz", None) is not None, values.index)
    if not pd.api.types.is_datetime64_any_dtype(values):
        values, how["format"] = values.astype("string"), "ISO8601"
        aware = values.str.contains(OFFSET, na=False)
    local = given & ~aware
    if local.any() and not timezone:
        first = f"first {values[local].iloc[0]} in row {local.idxmax()}"
        raise ValidationError(f"{what} has no time zone ({first}); give timezone")
    times[aware] = pd.to_datetime(values[aware], utc=True, **how)
    if local.any():
        read = pd.to_datetime(values[local], **how).dt
        times[local] = read.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT")
    return times.mask(given & times.isna(), UNREAD)


def _ids(values: pd.Series) -> pd.Series:
    """Ids as text: 7, 7.0 and "7" are one."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("string").astype(object)


def checked_desk(
    orders: pd.DataFrame, fills: pd.DataFrame, tapes: Tapes, refuse: Iterable[str] = ()
) -> Desk:
    """Orders and fills that can be analysed; what is wrong with the others is named and counted.

    An order is left out whole if it or one of its fills is at fault: without the fill its cost
    would be another.

    Parameters
    ----------
    orders, fills : DataFrame
        Of `read_orders` and `read_fills`.
    tapes : mapping of symbol to Tape
    refuse : iterable of str
        Faults (`FAULTS`) that end the analysis; "all" for any. Of a fault the first row is named as
        it was given, counted from 0; a time that cannot be read stands as 1970-01-01.

    Raises
    ------
    ValidationError
        A fault that is refused, with the number of rows and the first; no order is left; no fill
        is of any of the orders.

    Examples
    --------
    >>> from research_lib.market import Session, preset
    >>> market = preset("thin_stock", Session(13))
    >>> books = market.books(13, 1, np.random.default_rng(0))
    >>> when = pd.to_datetime(books.time[[1, 2]], utc=True)
    >>> orders = pd.DataFrame({"order_id": [1, 2], "symbol": ["A", "B"], "side": "buy",
    ...                        "shares": 10.0, "arrival_time": when})
    >>> fills = pd.DataFrame({"order_id": [1], "time": when[1:], "shares": 5.0,
    ...                       "price": books.mid[2]})
    >>> desk = checked_desk(orders, fills, {"A": Tape.of(books, market.session)})
    >>> len(desk.orders), desk.faults.query("rows > 0").index.tolist()
    (1, ['unknown symbol'])
    """
    asked = {refuse} if isinstance(refuse, str) else set(refuse)
    refused = set(FAULTS) if asked == {"all"} else asked
    refuse_unknown(refused, FAULTS, "fault")
    given = {"orders": orders.reset_index(drop=True), "fills": fills.reset_index(drop=True)}
    orders, fills = (one.assign(order_id=_ids(one["order_id"])) for one in given.values())
    for table, names in ((orders, ("shares",)), (fills, ("shares", "price", "fee"))):
        for name in [name for name in names if name in table]:
            table[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
    orders["side"] = orders["side"].astype(str).str.lower().map(SIDES)
    if "decision_time" not in orders:
        orders["decision_time"] = orders["arrival_time"]
    orders = orders.assign(**{one: orders.get(one, pd.NaT) for one in ("due_time", "end_time")})
    orders, fills = _timed(orders), _timed(fills)
    first = orders.drop_duplicates("order_id").set_index("order_id")
    if len(fills) and not fills["order_id"].isin(first.index).any():
        found = f"no fill is of any of these orders (one is of {fills['order_id'].iloc[0]!r})"
        raise ValidationError(f"{found}; give the fills of these orders, under the same ids")
    fees = given["fills"].get("fee", pd.Series(np.nan, fills.index))
    wrong = {"orders": _order_faults(orders, tapes), "fills": _fill_faults(first, fills, tapes)}
    wrong["fills"]["fee is no number"] = fees.notna() & ~np.isfinite(fills.get("fee", fees))
    rows: dict[str, Any] = {}
    left_out, of_orders = set[Any](), set[Any]()  # `of_orders`: for faults of their own
    for kind, column in FAULTS.items():
        what, table = ("orders", orders) if kind in wrong["orders"] else ("fills", fills)
        bad = wrong[what][kind].to_numpy(bool)
        if what == "fills":  # what is wrong with an order is not said again of its fills
            bad = bad & ~table["order_id"].isin(of_orders).to_numpy(bool)
        at, named = np.flatnonzero(bad), ""
        if len(at):
            named = f"row {at[0]} of {what}, order {table['order_id'].iloc[at[0]]}"
            if column != "order_id":
                named += f", {column} {given[what][column].iloc[at[0]]}"
        if len(at) and kind in refused:
            raise ValidationError(f"{kind}: {len(at):,} rows, first {named}; correct it")
        affected = set(table["order_id"].iloc[at]) & set(first.index)
        rows[kind] = {"rows": len(at), "orders": len(affected - left_out), "first": named}
        left_out |= affected
        if what == "orders":
            of_orders |= affected
    faults = pd.DataFrame.from_dict(rows, orient="index").rename_axis("fault")
    kept = first[~first.index.isin(left_out)].sort_values("arrival_time", kind="stable")
    if not len(kept):
        raise ValidationError(f"no order can be analysed: {faults.query('rows > 0').to_string()}")
    fills = fills[fills["order_id"].isin(kept.index)]
    by_order = fills.groupby("order_id")
    last = by_order["time"].max().reindex(kept.index)
    until = kept["end_time"].fillna(last).fillna(kept["arrival_time"])
    filled = by_order["shares"].sum().reindex(kept.index, fill_value=0.0)
    fills = fills.assign(order=kept.index.get_indexer(fills["order_id"]))
    fills = fills.sort_values(["order", "time"], kind="stable").reset_index(drop=True)
    return Desk(kept.assign(until=until, filled=filled), fills, faults)


def _order_faults(orders: pd.DataFrame, tapes: Tapes) -> dict[str, pd.Series]:
    decided, arrived, due, ended = (orders[name] for name in TIMES)
    outside, closed = pd.Series(False, orders.index), pd.Series(False, orders.index)
    for symbol, tape in tapes.items():
        mine = (orders["symbol"] == symbol) & decided.notna() & arrived.notna()
        at = as_ns(arrived[mine])
        closed[mine] = tape.session.interval_of(at) < 0
        times = as_ns(decided[mine]), at, as_ns(ended[mine].fillna(arrived[mine]))
        known = [(tape.day_of(one) >= 0) & (one >= tape.time[0]) for one in times]
        outside[mine] = ~np.logical_and.reduce(known)
    late = (decided > arrived) | (ended < arrived) | (due < arrived)
    return {
        "duplicate order": orders["order_id"].duplicated(keep=False) | orders["order_id"].isna(),
        "unknown side": orders["side"].isna(),
        "order size not above 0": ~(orders["shares"] > 0) | np.isinf(orders["shares"]),
        "order times missing or out of order": decided.isna() | arrived.isna() | late,
        "unknown symbol": ~orders["symbol"].isin(list(tapes)),
        "order outside the market data": outside & ~closed,
        "arrival outside the session": closed,
    }


def _fill_faults(orders: pd.DataFrame, fills: pd.DataFrame, tapes: Tapes) -> dict[str, pd.Series]:
    known = fills["order_id"].isin(orders.index)
    own = orders.reindex(fills["order_id"]).set_index(fills.index)
    sized = (fills["shares"] > 0) & (fills["price"] > 0)
    beyond, old = pd.Series(False, fills.index), pd.Series(False, fills.index)
    for symbol, tape in tapes.items():
        mine = (own["symbol"] == symbol) & fills["time"].notna()
        at = as_ns(fills.loc[mine, "time"])
        beyond[mine] = ~tape.within_range(at, fills.loc[mine, "price"].to_numpy(float))
        old[mine] = at - tape.time[tape.row(at, before=True)] > 1e9 * STALE_SECONDS
    flag = fills.get("liquidity", pd.Series(None, fills.index, object))
    same = fills.duplicated(keep=False)
    if "fill_id" in fills and (named := fills["fill_id"].notna()).any():
        same[named] = fills[named].duplicated(["order_id", "fill_id"], keep=False)
    total = fills["shares"].where(sized, 0.0).groupby(fills["order_id"]).transform("sum")
    return {
        "duplicate fill": same & known,
        "unknown order": ~known,
        "fill size or price not above 0": ~sized | np.isinf(fills["shares"] * fills["price"]),
        "unknown liquidity flag": flag.notna() & ~flag.isin(LIQUIDITY),
        "fill before arrival": known & ~(fills["time"] >= own["arrival_time"]),
        "fill after the end": fills["time"] > own["end_time"],
        "price outside the day's range": beyond & sized,
        "book older than an hour": old & ~beyond,
        "more filled than ordered": total > own["shares"] * (1.0 + ROUNDING),
    }


def as_ns(times: pd.Series) -> Int64:
    """Times in UTC as int64 ns; the least integer where one is missing."""
    return times.to_numpy("datetime64[ns]").astype(np.int64)
