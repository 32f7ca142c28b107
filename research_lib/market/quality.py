"""Doubtful states of books: counted, and kept, dropped or refused by a stated policy."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import Float, number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.book import LEVELS, BookSnapshots
from research_lib.market.sessions import Int64, Session, as_session
from research_lib.monitoring import release_memory

logger = logging.getLogger(__name__)
Mask = NDArray[np.bool_]

MAX_OVERNIGHT = 1.2  # below the smallest usual split, 5 for 4; few stocks move that much on news
NOT_DROPPED = ("gaps", "price_jumps", "overnight_jumps")  # dropping a state would not remove them
# Shares after a split for one before, of the splits that companies make.
SPLITS = np.array([5 / 4, 4 / 3, 3 / 2, 2, 5 / 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50])


def _kind(action: str, meaning: str) -> Any:
    """A kind of doubtful state: its default action and its meaning."""
    return field(default=action, metadata={"meaning": meaning})


@dataclass(frozen=True)
class QualityPolicy(Record):
    """What is done with each kind of doubtful state: "raise", "drop" it, or "keep" it.

    Locked books may be widened too: "widen" moves the touch apart to `locked_spread` about its
    mid. It is for venues that show prices rounded to a coarser grid than they trade on: there a
    locked book is one whose spread is below the grid, neither an error nor a spread of 0.

    Counts are reported whatever is done. By default crossed books and unordered levels raise,
    because in the data of one venue they mean an error. What can be a fact of the market (locked,
    one side empty, out of session, gaps) is kept and left to sampling. Dropping stub quotes empties
    the stub levels and keeps the snapshot. Gaps and jumps cannot be dropped: the state that ends a
    gap is sound, the state after a wrong one jumps as well, and after a split the whole day is at
    another price.

    Attributes
    ----------
    out_of_session, incomplete, duplicate_times, repeated, crossed, locked, one_side_empty,
    empty_levels, unordered_levels, stub_quotes, price_jumps, gaps, overnight_jumps : str
        One of "raise", "drop", "keep"; `locked` also "widen".
    locked_spread : float
        Spread that "widen" gives a locked book, currency per share.
    stub_distance : float
        Fraction of the day's usual mid beyond which a level is a stub quote.
    gap_seconds : float
        Time without a state inside the session that counts as a gap, seconds.
    jump_fraction : float
        Change of the mid from the one before on the same day, as a fraction of it, that counts as a
        price jump.
    overnight_fraction : float
        Ratio of the larger to the smaller of two successive days' usual mids, less 1, that counts
        as an overnight jump.

    Examples
    --------
    >>> QualityPolicy(crossed="drop", gap_seconds=60.0).crossed
    'drop'
    """

    out_of_session: str = _kind("keep", "states before the open or after the close")
    incomplete: str = _kind("keep", "mid-event or before the opening cross; never sampled")
    duplicate_times: str = _kind("keep", "the time of the state before; file order decides")
    repeated: str = _kind("keep", "the time and all levels of the state before")
    crossed: str = _kind("raise", "best bid above best ask")
    locked: str = _kind("keep", "best bid equal to best ask")
    one_side_empty: str = _kind("keep", "no bid or no ask at all")
    empty_levels: str = _kind("keep", "at least one empty level beyond the first")
    unordered_levels: str = _kind("raise", "levels that do not move away from the mid")
    stub_quotes: str = _kind("drop", "a level far (stub_distance) from the day's usual mid")
    price_jumps: str = _kind("keep", "mid further than jump_fraction from the one before it")
    overnight_jumps: str = _kind("keep", "the day's usual mid far from that of the day before")
    gaps: str = _kind("keep", "silences of over gap_seconds in the session, open to close")
    stub_distance: float = 0.5
    gap_seconds: float = 300.0
    jump_fraction: float = 0.05
    overnight_fraction: float = 0.2
    locked_spread: float = 0.0

    def __post_init__(self) -> None:
        for kind in MEANING:
            actions = ("raise", "drop", "keep", *["widen"] * (kind == "locked"))
            refuse_unknown([self[kind]], actions, f"policy for {kind}:")
            if self[kind] == "drop" and kind in NOT_DROPPED:
                raise ValidationError(f"{kind} cannot be dropped; use between or sample(max_age)")
        for name in ("stub_distance", "gap_seconds", "jump_fraction", "overnight_fraction"):
            number(name, self[name], above=0)
        if self.locked == "widen":
            number("locked_spread", self.locked_spread, above=0)


MEANING = {one.name: one.metadata["meaning"] for one in fields(QualityPolicy) if one.metadata}
KEEP_ALL = QualityPolicy(**dict.fromkeys(MEANING, "keep"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class BookQuality(Record):
    """Counts over the rows of some books; see `MEANING` for each kind.

    Attributes
    ----------
    rows : int
    first, last : str
        Span of the states, local time of the session's exchange.
    longest_gap_seconds : float
        Longest silence inside one session, from its open to its close, seconds.
    median_spread_bps : float
        Over all states with both quotes, bps of the mid. None where no state has both.
    counts : dict of kind to number of states
        ``quality["crossed"]`` is such a count.
    done : dict of kind to action of the policy

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> _, quality = assess(SyntheticMarket().books(390, 5, np.random.default_rng(1)))
    >>> quality["crossed"], quality.longest_gap_seconds
    (0, 60.0)
    """

    rows: int
    first: str
    last: str
    longest_gap_seconds: float
    median_spread_bps: float | None
    counts: dict[str, int]
    done: dict[str, str]

    def __getitem__(self, name: str) -> Any:
        return self.counts[name] if name in self.counts else super().__getitem__(name)

    def to_frame(self) -> pd.DataFrame:
        """One row a kind: states, share of all in per cent, what was done, what it means."""
        table = pd.DataFrame({"states": self.counts, "done": self.done, "meaning": MEANING})
        table.insert(1, "share_%", 100.0 * table["states"] / max(self.rows, 1))
        return table.rename_axis("kind")


def assess(
    books: BookSnapshots, session: Session | None = None, policy: QualityPolicy | None = None
) -> tuple[BookSnapshots, BookQuality]:
    """Count what is doubtful, and apply the policy.

    Years of books are assessed a day at a time (`by_day`). A jump between two days, such as a
    split, is found only where both days are in `books`.

    Parameters
    ----------
    books : BookSnapshots
        As read; not sampled.
    session : Session, optional
        09:30-16:00 America/New_York by default.
    policy : QualityPolicy, optional

    Returns
    -------
    (BookSnapshots, BookQuality)
        The books that remain, and the counts before anything was dropped.

    Raises
    ------
    ValidationError
        Where the policy says "raise": names the kind, count, share, first row and time.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket().books(390, 5, np.random.default_rng(1))
    >>> kept, quality = assess(books, policy=QualityPolicy(locked="drop"))
    >>> len(kept), quality["locked"]
    (390, 0)
    """
    if not isinstance(books, BookSnapshots):
        raise ValidationError(f"books must be BookSnapshots, got {type(books).__name__}")
    session, policy = as_session(session), policy or QualityPolicy()
    found, quality, usual = _counted(books, session, policy)
    kept, gone = books, np.zeros(len(books), bool)
    if quality["locked"] and policy.locked == "widen":
        kept = _widened(books, found["locked"], policy.locked_spread)
    for kind, count in quality.counts.items():
        if count and policy[kind] == "raise":
            raise _refusal(books, session, kind, found[kind])
        if count and policy[kind] == "drop":
            logger.info(f"dropping {count:,} of {len(books):,} states: {MEANING[kind]}")
            if kind == "stub_quotes":
                bid, ask = (~stub for stub in _stubs(books, usual, policy.stub_distance))
                kept = replace(kept, bid_size=books.bid_size * bid, ask_size=books.ask_size * ask)
            else:
                gone |= found[kind]
    return (kept.take(~gone) if gone.any() else kept), quality


def assess_parts(
    parts: Iterable[BookSnapshots], session: Session | None = None,
    policy: QualityPolicy | None = None,
) -> tuple[BookSnapshots, BookQuality]:  # fmt: skip
    """`assess` of parts that follow one another, such as `iter_books` gives, put together.

    One part at a time is held with what the policy drops. Usual mids, gaps and jumps are those
    within a part, so a part is best a day or more; counts are added up, and the spread is that
    of the states that remain.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket().books(780, 5, np.random.default_rng(1))
    >>> halves = [books.take(np.arange(390)), books.take(np.arange(390, 780))]
    >>> kept, quality = assess_parts(halves)
    >>> len(kept), quality.rows
    (780, 780)
    """
    done = [assess(part, session, policy) for part in parts]
    books, found = BookSnapshots.concat([kept for kept, _ in done]), [one for _, one in done]
    del done
    release_memory()
    if len(found) == 1:
        return books, found[0]
    return books, replace(
        found[0], rows=sum(one.rows for one in found), last=found[-1].last,
        longest_gap_seconds=max(one.longest_gap_seconds for one in found),
        median_spread_bps=_median_spread_bps(books),
        counts={kind: sum(one.counts[kind] for one in found) for kind in MEANING},
    )  # fmt: skip


def _widened(books: BookSnapshots, locked: Mask, spread: float) -> BookSnapshots:
    """Best bid and ask of locked books moved apart; deeper levels stay where they are."""
    sides, rows = {}, np.flatnonzero(locked)
    for name, sign in (("bid", -1.0), ("ask", 1.0)):
        price = books[f"{name}_price"].copy()
        price[rows, np.nanargmin(sign * price[rows], axis=1)] += 0.5 * sign * spread
        sides[f"{name}_price"] = price
    moved = replace(books, **sides)
    if n_past := int((moved.take(rows).unordered & ~books.take(rows).unordered).sum()):
        raise ValidationError(f"locked_spread {spread:g} passes level 2 of {n_past} books")
    return moved


def _counted(
    books: BookSnapshots, session: Session, policy: QualityPolicy
) -> tuple[dict[str, Mask], BookQuality, Float]:
    """Which states are of each kind, (n,) each; the report; and the usual mid of each day, (n,)."""
    mid = books.mid
    day, dates = pd.factorize(session.days(books.time))
    usual = _usual_mid(day, mid, books.half_spread <= policy.stub_distance * mid)
    ratio = np.append(np.nan, usual[:-1])[: len(usual)] / usual
    jumped = np.maximum(ratio, 1 / ratio) >= 1 + policy.overnight_fraction
    outside = session.interval_of(books.time) < 0
    silent = _silences(books.time, day, ~outside, session)
    before = pd.Series(mid).groupby(day).ffill().groupby(day).shift().to_numpy()
    spread, (bid, ask) = books.half_spread, _stubs(books, usual[day], policy.stub_distance)
    found = {
        "incomplete": ~books.complete, "repeated": _repeated(books),
        "duplicate_times": np.diff(books.time, prepend=-1) == 0,
        "crossed": spread < 0, "locked": spread == 0, "one_side_empty": np.isnan(spread),
        "empty_levels": (np.minimum(books.bid_size, books.ask_size)[:, 1:] == 0).any(axis=1),
        "unordered_levels": books.unordered, "stub_quotes": (bid | ask).any(axis=1),
        "out_of_session": outside, "gaps": silent > policy.gap_seconds,
        "price_jumps": np.abs(mid - before) > policy.jump_fraction * before,
        "overnight_jumps": jumped[day] & (np.diff(day, prepend=-1) != 0),
    }  # fmt: skip
    for k in np.flatnonzero(jumped):
        likely = f"likely a split: {_likely_split(ratio[k]):g} shares for one"
        logger.warning(f"{dates[k]}: prices jump overnight, {likely}")
    ends = [_local(session, time, "s") for time in books.time[[0, -1]]] if len(mid) else ["", ""]
    quality = BookQuality(
        rows=len(books), first=ends[0], last=ends[1],
        longest_gap_seconds=float(silent.max(initial=0.0)),
        median_spread_bps=_median_spread_bps(books),
        counts={kind: int(found[kind].sum()) for kind in MEANING},
        done={kind: policy[kind] for kind in MEANING},
    )  # fmt: skip
    return found, quality, usual[day]


def _median_spread_bps(books: BookSnapshots) -> float | None:
    """Over the states with both quotes; None without any."""
    spread = pd.Series(2e4 * books.half_spread / books.mid).median()
    return None if np.isnan(spread) else float(spread)


def _usual_mid(day: Int64, mid: Float, sound: Mask) -> Float:
    """The median mid of each day, over books whose spread is not itself a stub.

    A day without such a book takes the median of the day before; days before the first one that has
    it take that. A stub at the touch moves its own mid but not this reference.
    """
    medians = pd.Series(np.where(sound, mid, np.nan)).groupby(day).median()
    return medians.ffill().bfill().to_numpy(float)


def _repeated(books: BookSnapshots) -> Mask:
    """States that are the one before once more."""
    again = np.diff(books.time, prepend=-1) == 0
    rows = np.flatnonzero(again)
    for name in LEVELS:
        now, before = books[name][rows], books[name][rows - 1]
        again[rows] &= ((now == before) | (np.isnan(now) & np.isnan(before))).all(axis=1)
    again[rows] &= books.complete[rows] <= books.complete[rows - 1]  # the one to be sampled stays
    return again


def _stubs(books: BookSnapshots, usual: Float, distance: float) -> tuple[Mask, Mask]:
    """Bids and asks further from the usual mid, (n,), than `distance` times it; (n, L) each."""
    lowest, highest = (1.0 - distance) * usual[:, None], (1.0 + distance) * usual[:, None]
    return books.bid_price < lowest, books.ask_price > highest


def _silences(time: Int64, day: Int64, in_session: Mask, session: Session) -> Float:
    """Trading seconds without any state before each of its day, (n,); 0 outside the session.

    The first of a day counts from the open; the last counts to the close where that is longer.
    """
    silent, inside = np.zeros(len(time)), np.flatnonzero(in_session)
    traded, length = session.traded_ns(time[inside])
    first, last = np.diff(day[inside], prepend=-1) != 0, np.diff(day[inside], append=-1) != 0
    before = np.where(first, traded, np.diff(traded, prepend=0))
    silent[inside] = np.maximum(before, np.where(last, length - traded, 0)) / 1e9
    return silent


def _refusal(books: BookSnapshots, session: Session, kind: str, bad: Mask) -> ValidationError:
    """Says how many states of how many are of a kind, and where the first is."""
    row, other = int(np.argmax(bad)), '"keep"' if kind in NOT_DROPPED else '"drop" or "keep"'
    count = f"{books.symbol or 'books'}: {bad.sum():,} of {len(bad):,} states ({bad.mean():.1%})"
    where = f"first in row {row} at {_local(session, books.time[row])}"
    remedy = f"correct the data, or set the policy for {kind} to {other}"
    return ValidationError(f"{count} are {kind} ({MEANING[kind]}), {where}; {remedy}")


def overnight_jump(dates: Sequence[Any], opening: Float, closing: Float) -> str:
    """The first jump of the mid from one day to the next that looks like a split, in words; ""
    without one.

    `opening` and `closing` are the mids (n_days,) at the two ends of each day, or its mean twice; a
    day of NaN, such as one of a halt, is skipped.
    """
    for before, k in pairwise(np.flatnonzero(np.isfinite(opening)).tolist()):
        last, first = closing[before], opening[k]
        ratio = Fraction(max(last / first, first / last))
        if ratio >= MAX_OVERNIGHT:
            pair = ratio.limit_denominator(10 if ratio < 10 else 1).as_integer_ratio()
            old, new = pair[::-1] if last > first else pair
            moved = f"from {last:,.6g} ({dates[before]}) to {first:,.6g} ({dates[k]})"
            return f"the mid jumps {moved}, as if {old} old were {new} new shares"
    return ""


def _local(session: Session, time: np.int64, unit: str = "ns") -> str:
    """A time as the exchange's clock shows it."""
    return str(pd.Timestamp(time, tz="UTC").tz_convert(session.timezone).floor(unit))


def _likely_split(ratio: float) -> float:
    """The usual split nearest to a ratio of mids, the day before's over the day's.

    10 where the mid falls from 30 to 3, 0.1 where it rises from 3 to 30.
    """
    known = np.concatenate([1 / SPLITS, SPLITS])
    return float(known[np.argmin(np.abs(np.log(known / ratio)))].round(4))
