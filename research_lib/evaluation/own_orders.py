"""A desk's own orders and fills: read, checked against the market, and what the market showed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import Float, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation.executions import ROUNDING
from research_lib.market import BookSnapshots, Session
from research_lib.market.sessions import as_session, nanoseconds, refuse_unknown_zone

Int64 = NDArray[np.int64]
Source = Any  # a path of a CSV or Parquet file, or a frame
ORDER_COLUMNS = ("order_id", "symbol", "side", "shares", "arrival_time")
ORDER_OPTIONS = ("decision_time", "end_time", "strategy", "trader", "venue", "forecast_bps")
FILL_COLUMNS = ("order_id", "time", "shares", "price")
FILL_OPTIONS = ("fill_id", "venue", "liquidity", "fee")
TIMES = ("decision_time", "arrival_time", "end_time", "time")
# Also FIX's numbers; sides of other words are a fault.
SIDES = {"buy": "buy", "b": "buy", "1": "buy", "sell": "sell", "s": "sell", "2": "sell"}
LIQUIDITY = ("added", "removed")
# What is wrong with an order or a fill, and the column that is shown of the first one.
FAULTS = {
    "duplicate order": "order_id",
    "unknown side": "side",
    "order size not above 0": "shares",
    "order times missing or out of order": "arrival_time",
    "unknown symbol": "symbol",
    "order outside the market data": "arrival_time",
    "arrival outside the session": "arrival_time",
    "duplicate fill": "order_id",
    "unknown order": "order_id",
    "fill size or price not above 0": "price",
    "unknown liquidity flag": "liquidity",
    "fill before arrival": "time",
    "fill after the end": "time",
    "price outside the day's range": "price",
    "more filled than ordered": "order_id",
}
# Of the mid: trades within a bar print beyond the quotes that it shows.
RANGE_MARGIN = 0.005


@dataclass(frozen=True, eq=False)
class Tape(Record):
    """What a market showed, as far as the analysis of orders needs it.

    Attributes
    ----------
    time : (n,) int64 ns UTC
        Of the states with two sides.
    mid, half_spread : (n,) currency per share
    day : (n,) int
        Numbers the sessions in `days`.
    days : list
    trade_time : (m,) int64 ns UTC
    volume, value : (m + 1,) shares and currency traded before each trade, and in all
    session : Session

    Examples
    --------
    >>> from research_lib.market import preset
    >>> market = preset("thin_stock", Session(13))
    >>> tape = Tape.of(market.books(26, 1, np.random.default_rng(0)), market.session)
    >>> len(tape.time), len(tape.days)
    (26, 2)
    """

    time: Int64
    mid: Float
    half_spread: Float
    day: Int64
    days: Sequence[Any]
    trade_time: Int64
    volume: Float
    value: Float
    session: Session

    @classmethod
    def of(
        cls, books: BookSnapshots | Iterable[BookSnapshots], session: Session | None = None
    ) -> Self:
        """The tape of books, or of batches of one symbol in time order, of which one is held."""
        hours = as_session(session)
        states, prints = [], []
        for batch in [books] if isinstance(books, BookSnapshots) else books:
            mid = batch.mid
            seen = np.isfinite(mid) & batch.complete
            states.append((batch.time[seen], mid[seen], batch.half_spread[seen]))
            if (trades := batch.trades) is not None:
                prints.append((trades.time, trades.size, trades.size * trades.price))
        time, mid, spread = map(np.concatenate, zip(*states, strict=True))
        if not len(time):
            raise ValidationError("none of the books has two sides: orders cannot be priced")
        day, days = pd.factorize(hours.days(time))
        prints = prints or [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
        at, size, value = map(np.concatenate, zip(*prints, strict=True))
        volume, paid = (np.append(0.0, np.cumsum(one)) for one in (size, value))
        return cls(time, mid, spread, day, list(days), at, volume, paid, hours)

    def last(self, time: Int64, *, before: bool = False) -> NDArray[np.intp]:
        """The last state at (or strictly `before`) each time, (k,); -1 where there is none."""
        return np.searchsorted(self.time, time, "left" if before else "right") - 1

    def mid_at(self, time: Int64) -> Float:
        """The mid of the last state at each time, (k,); NaN before the first."""
        row = self.last(time)
        return np.where(row >= 0, self.mid[np.maximum(row, 0)], np.nan)

    def closing(self, time: Int64) -> Int64:
        """The time of the last state of the session of each time, (k,)."""
        ends = self.time[np.append(np.flatnonzero(np.diff(self.day)), len(self.day) - 1)]
        return ends[self.day[np.maximum(self.last(time), 0)]]

    def mean_mid(self, start: Int64, end: Int64) -> Float:
        """The mid averaged over the time from each start to its end, nights left out, (k,)."""
        stood = np.append(np.diff(self.time), 0).astype(float)
        stood[np.flatnonzero(np.diff(self.day))] = 0.0
        held = np.append(0.0, np.cumsum(self.mid * stood))
        clock = np.append(0.0, np.cumsum(stood))

        def until(time: Int64) -> tuple[Float, Float]:
            row = np.maximum(self.last(time), 0)
            part = np.clip(time - self.time[row], 0, stood[row])
            return held[row] + self.mid[row] * part, clock[row] + part

        (m0, t0), (m1, t1) = until(start), until(end)
        span = t1 - t0
        mean = np.divide(m1 - m0, span, out=np.full(len(span), np.nan), where=span > 0)
        return np.asarray(np.where(span > 0, mean, self.mid_at(end)), float)

    def traded(self, start: Int64, end: Int64) -> tuple[Float, Float]:
        """Shares traded from each start to its end, both included, and their mean price, (k,)."""
        first = np.searchsorted(self.trade_time, start, "left")
        last = np.searchsorted(self.trade_time, end, "right")
        shares = self.volume[last] - self.volume[first]
        value, none = self.value[last] - self.value[first], np.full(len(shares), np.nan)
        return shares, np.divide(value, shares, out=none, where=shares > 0)

    def ranges(self) -> pd.DataFrame:
        """Lowest bid and highest ask of each session, widened by half a per cent."""
        sides = {"low": self.mid - self.half_spread, "high": self.mid + self.half_spread}
        by_day = pd.DataFrame(sides).groupby(self.day).agg({"low": "min", "high": "max"})
        return by_day * [1.0 - RANGE_MARGIN, 1.0 + RANGE_MARGIN]


@dataclass(frozen=True, eq=False)
class Desk(Record):
    """Orders and their fills, checked.

    Attributes
    ----------
    orders : DataFrame
        Index order_id; in order of arrival. until: its end_time, else that of the last fill;
        filled: shares.
    fills : DataFrame
        By order and time; order is the row of the order.
    faults : DataFrame
        Index fault; rows (of orders or fills), orders (left out for it), first (which).
    """

    orders: pd.DataFrame
    fills: pd.DataFrame
    faults: pd.DataFrame


def read_orders(
    source: Source, columns: Mapping[str, str] | None = None, timezone: str = ""
) -> pd.DataFrame:
    """Parent orders from a CSV or Parquet file or a frame.

    Columns order_id, symbol, side (buy, sell, B, S, or FIX's 1 and 2), shares, arrival_time (within
    the session); optional decision_time (the arrival by default), end_time (cancelled or due; the
    close by default), strategy, trader, venue, forecast_bps (of the desk's own model).

    Parameters
    ----------
    source : path or DataFrame
    columns : mapping of its own names to these, optional
    timezone : str
        Of times without one.

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
    return _table(source, columns, timezone, ORDER_COLUMNS, ORDER_OPTIONS, "orders")


def read_fills(
    source: Source, columns: Mapping[str, str] | None = None, timezone: str = ""
) -> pd.DataFrame:
    """Fills as `read_orders`: order_id, time, shares, price; optional fill_id, venue, liquidity
    ("added" or "removed") and fee (currency of the whole fill, below 0 for a rebate).

    Examples
    --------
    >>> frame = pd.DataFrame({"order_id": [1], "shares": [100.0], "price": [10.0],
    ...                       "time": ["2025-04-03 14:00Z"]})
    >>> read_fills(frame).columns.tolist()
    ['order_id', 'time', 'shares', 'price']
    """
    return _table(source, columns, timezone, FILL_COLUMNS, FILL_OPTIONS, "fills")


def _table(
    source: Source, columns: Mapping[str, str] | None, timezone: str, due: Sequence[str],
    more: Sequence[str], what: str,
) -> pd.DataFrame:  # fmt: skip
    frame = source
    if not isinstance(source, pd.DataFrame):
        path = str(source)
        frame = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)
    refuse_unknown(columns or {}, frame.columns, f"column of the {what}:")
    frame = frame.rename(columns=dict(columns or {}))
    if missing := [name for name in due if name not in frame.columns]:
        has = ", ".join(map(str, frame.columns[:12]))
        remedy = f'name it by columns, {{"{has.split(", ")[0]}": "{missing[0]}"}}'
        raise ValidationError(f"{what} lack {', '.join(missing)}; they have {has}; {remedy}")
    frame = frame[[name for name in (*due, *more) if name in frame.columns]].copy()
    for name in TIMES:
        if name in frame:
            frame[name] = _utc(frame[name], f"{what}: {name}", timezone)
    return frame.reset_index(drop=True)


def _utc(values: pd.Series, what: str, timezone: str) -> pd.Series:
    """Times in UTC; NaT where one cannot be read, or is ambiguous in its zone.

    Text is read in the form of ISO 8601 alone: 02/01/2024 is of two readings.
    """
    if timezone:
        refuse_unknown_zone(timezone)
    if pd.api.types.is_integer_dtype(values):
        return pd.Series(pd.to_datetime(nanoseconds(values, what), utc=True), values.index)
    how: dict[str, Any] = {"errors": "coerce"}
    if not pd.api.types.is_datetime64_any_dtype(values):
        how["format"] = "ISO8601"
    try:
        times = pd.to_datetime(values, **how)
    except ValueError:  # several offsets
        times = pd.to_datetime(values, utc=True, **how)
    if times.dt.tz is None:
        if not timezone and times.notna().any():
            raise ValidationError(f"{what} has no time zone; give timezone")
        times = times.dt.tz_localize(timezone or "UTC", ambiguous="NaT", nonexistent="NaT")
    return times.dt.tz_convert("UTC").dt.as_unit("ns")


def _ids(values: pd.Series) -> pd.Series:
    """Ids as text: 7, 7.0 and "7" are one."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("string").astype(object)


def checked_desk(
    orders: pd.DataFrame, fills: pd.DataFrame, tapes: Mapping[str, Tape],
    refuse: Iterable[str] = (),
) -> Desk:  # fmt: skip
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
        it was given, counted from 0.

    Raises
    ------
    ValidationError
        A fault that is refused, with the number of rows and the first; no order is left; no fill
        is of any of the orders.

    Examples
    --------
    >>> from research_lib.market import preset
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
            table[name] = pd.to_numeric(table[name], errors="coerce")
    orders["side"] = orders["side"].astype(str).str.lower().map(SIDES)
    if "decision_time" not in orders:
        orders["decision_time"] = orders["arrival_time"]
    if "end_time" not in orders:
        orders["end_time"] = pd.Series(pd.NaT, orders.index, "datetime64[ns, UTC]")
    first = orders.drop_duplicates("order_id").set_index("order_id")
    if len(fills) and not fills["order_id"].isin(first.index).any():
        found = (
            f"no fill is of any of these orders (fills are of {fills['order_id'].iloc[0]!r}, ...)"
        )
        raise ValidationError(f"{found}; give the fills of these orders, under the same ids")
    rows: dict[str, Any] = {}
    left_out: set[Any] = set()
    for what, table, wrong in (
        ("orders", orders, _order_faults(orders, tapes)),
        ("fills", fills, _fill_faults(first, fills, tapes)),
    ):
        # What is wrong with an order is not said again of its fills.
        before = frozenset(left_out) if what == "fills" else frozenset()
        for kind, bad in wrong.items():
            at = np.flatnonzero(bad & ~table["order_id"].isin(before))
            named = ""
            if len(at):
                column = FAULTS[kind]
                value = given[what].get(column, orders["arrival_time"]).iloc[at[0]]
                named = f"row {at[0]} of {what}, order {table['order_id'].iloc[at[0]]}"
                named += f", {column} {value}" if column != "order_id" else ""
            if len(at) and kind in refused:
                raise ValidationError(f"{kind}: {len(at):,} rows, first {named}; correct it")
            affected = set(table["order_id"].iloc[at]) & set(first.index)
            rows[kind] = {"rows": len(at), "orders": len(affected - left_out), "first": named}
            left_out |= affected
    faults = pd.DataFrame.from_dict(rows, orient="index").rename_axis("fault")
    kept = first[~first.index.isin(left_out)].sort_values("arrival_time", kind="stable")
    if not len(kept):
        raise ValidationError(f"no order can be analysed: {faults.query('rows > 0').to_string()}")
    row = pd.Series(np.arange(len(kept)), kept.index)
    fills = fills[fills["order_id"].isin(kept.index)].sort_values("time", kind="stable")
    by_order = fills.groupby("order_id")
    last = by_order["time"].max().reindex(kept.index)
    until = kept["end_time"].fillna(last).fillna(kept["arrival_time"])
    filled = by_order["shares"].sum().reindex(kept.index, fill_value=0.0)
    fills = fills.assign(order=row.loc[fills["order_id"]].to_numpy())
    fills = fills.sort_values(["order", "time"], kind="stable").reset_index(drop=True)
    return Desk(kept.assign(until=until, filled=filled), fills, faults)


def _order_faults(orders: pd.DataFrame, tapes: Mapping[str, Tape]) -> dict[str, Any]:
    decided, arrived, ended = (
        orders[name] for name in ("decision_time", "arrival_time", "end_time")
    )
    outside, closed = pd.Series(False, orders.index), pd.Series(False, orders.index)
    for symbol, tape in tapes.items():
        mine = (orders["symbol"] == symbol) & decided.notna() & arrived.notna()
        first, last = (
            arrays.astype("datetime64[ns, UTC]") for arrays in (decided[mine], arrived[mine])
        )
        begins, ends = pd.to_datetime(tape.time[[0, -1]], utc=True)
        at = as_ns(last)
        absent = ~np.isin(tape.session.days(at), tape.days)
        outside[mine] = ((first < begins) | (last > ends)).to_numpy() | absent
        closed[mine] = tape.session.interval_of(at) < 0
    late = (decided > arrived) | (ended < arrived)
    return {
        "duplicate order": orders["order_id"].duplicated(keep=False) | orders["order_id"].isna(),
        "unknown side": orders["side"].isna(),
        "order size not above 0": ~(orders["shares"] > 0) | np.isinf(orders["shares"]),
        "order times missing or out of order": decided.isna() | arrived.isna() | late,
        "unknown symbol": ~orders["symbol"].isin(list(tapes)),
        "order outside the market data": outside & ~closed,
        "arrival outside the session": closed,
    }


def _fill_faults(
    orders: pd.DataFrame, fills: pd.DataFrame, tapes: Mapping[str, Tape]
) -> dict[str, Any]:
    known = fills["order_id"].isin(orders.index)
    own = orders.reindex(fills["order_id"]).set_index(fills.index)
    beyond, sized = pd.Series(False, fills.index), (fills["shares"] > 0) & (fills["price"] > 0)
    for symbol, tape in tapes.items():
        mine = (own["symbol"] == symbol) & fills["time"].notna()
        at = as_ns(fills.loc[mine, "time"])
        row = tape.last(at, before=True)
        limits = tape.ranges().to_numpy()[tape.day[np.maximum(row, 0)]]
        price = fills.loc[mine, "price"].to_numpy(float)
        inside = (price >= limits[:, 0]) & (price <= limits[:, 1]) & (row >= 0)
        # A day that the market's data leave out has no range, and no fill on it is priced.
        beyond[mine] = ~(inside & np.isin(tape.session.days(at), tape.days))
    flag = fills.get("liquidity", pd.Series(None, fills.index, object))
    names = ["fill_id"] if "fill_id" in fills else list(fills.columns)
    total = fills["shares"].where(sized, 0.0).groupby(fills["order_id"]).transform("sum")
    return {
        "duplicate fill": fills.duplicated(names, keep=False) & known,
        "unknown order": ~known,
        "fill size or price not above 0": ~sized | np.isinf(fills["shares"] * fills["price"]),
        "unknown liquidity flag": flag.notna() & ~flag.isin(LIQUIDITY),
        "fill before arrival": known & ~(fills["time"] >= own["arrival_time"]),
        "fill after the end": fills["time"] > own["end_time"],
        "price outside the day's range": beyond & sized,
        "more filled than ordered": total > own["shares"] * (1.0 + ROUNDING),
    }


def as_ns(times: pd.Series) -> Int64:
    """Times in UTC as int64 ns; the least integer where one is missing."""
    return times.to_numpy("datetime64[ns]").astype(np.int64)
