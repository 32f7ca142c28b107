"""What is wrong with books, counted; and what is done about it, by a policy the user can see."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sampling import by_day
from research_lib.market.sessions import Session

logger = logging.getLogger(__name__)
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

ACTIONS = ("raise", "drop", "keep")
MEANING = {
    "non_finite": "a level whose price or size is no number, or its size negative; emptied, and "
    "never sampled",
    "out_of_session": "states before the open or after the close",
    "incomplete": "mid-event states, states before the opening cross; never sampled",
    "duplicate_times": "states with the time of the one before; file order decides",
    "crossed": "best bid above best ask",
    "locked": "best bid equal to best ask",
    "one_side_empty": "no bid or no ask at all",
    "empty_levels": "at least one empty level beyond the first",
    "unordered_levels": "levels that do not move away from the mid",
    "stub_quotes": "a level further from the day's usual mid than stub_distance times it",
    "price_jumps": "mid further than jump_fraction from the one shown before it on that day",
    "overnight_jumps": "first state of a day whose usual mid is further than overnight_fraction "
    "from that of the day before: a split, as a rule",
    "gaps": "silences of more than gap_seconds inside the session, from the open and to the close",
}
NOT_DROPPED = {
    "gaps": "the state that ends a silence is sound, those before it grow old: sample with "
    "max_age, in seconds",
    "price_jumps": "the state after a wrong one jumps as well: cut the wrong ones out with "
    "between, or refuse them",
    "overnight_jumps": "the whole day is at another price: adjust prices and sizes by the split, "
    "or start after it with between",
}
# Shares after a split for one before, of the splits that companies make.
SPLITS = np.array([5 / 4, 4 / 3, 3 / 2, 2, 5 / 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50])


@dataclass(frozen=True)
class QualityPolicy(Record):
    """What is done with each kind of doubtful state: "raise", "drop" it, or "keep" it.

    Counts are reported whatever is done. The defaults are a careful researcher's: crossed
    books, unordered levels of one venue and what is no number mean that the data are broken, so
    they raise; what is a fact of the market (locked, one side empty, out of session, gaps) is
    kept and left to sampling. Dropping stub quotes empties the stub levels, not the snapshot;
    gaps and jumps cannot be dropped (`NOT_DROPPED` says why, and what to do).

    Attributes
    ----------
    non_finite, out_of_session, incomplete, duplicate_times, crossed, locked, one_side_empty,
    empty_levels, unordered_levels, stub_quotes, price_jumps, gaps, overnight_jumps : str
        One of "raise", "drop", "keep".
    stub_distance : float
        Fraction of the day's usual mid beyond which a level is a stub quote.
    gap_seconds : float
        Silence inside the session that counts as a gap, seconds.
    jump_fraction : float
        Fraction of the mid shown before, on the same day, beyond which a mid is a price jump.
    overnight_fraction : float
        By how much the larger of two days' usual mids exceeds the smaller at a jump between them.

    Examples
    --------
    >>> QualityPolicy(crossed="drop", gap_seconds=60.0).crossed
    'drop'
    """

    non_finite: str = "raise"
    out_of_session: str = "keep"
    incomplete: str = "keep"
    duplicate_times: str = "keep"
    crossed: str = "raise"
    locked: str = "keep"
    one_side_empty: str = "keep"
    empty_levels: str = "keep"
    unordered_levels: str = "raise"
    stub_quotes: str = "drop"
    price_jumps: str = "keep"
    gaps: str = "keep"
    stub_distance: float = 0.5
    gap_seconds: float = 300.0
    jump_fraction: float = 0.05
    overnight_jumps: str = "keep"
    overnight_fraction: float = 0.2

    def __new__(cls, *_: Any, **settings: Any) -> Self:
        """A misspelt setting is refused with the nearest valid one."""
        known = [one.name for one in dataclasses.fields(cls)]
        refuse_unknown(settings, known, "QualityPolicy setting")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for kind in MEANING:
            refuse_unknown([self[kind]], ACTIONS, f"policy for {kind}:")
            if self[kind] == "drop" and kind in NOT_DROPPED:
                raise ValidationError(f"{kind} cannot be dropped, {NOT_DROPPED[kind]}")
        for name in ("stub_distance", "gap_seconds", "jump_fraction", "overnight_fraction"):
            number(name, self[name], above=0)


KEEP_ALL = QualityPolicy(
    non_finite="keep", crossed="keep", unordered_levels="keep", stub_quotes="keep"
)


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
    lowest_mid, highest_mid : float or None
        Over all states with both quotes, currency per share: wrong units or symbols show here.
    median_spread_bps : float or None
        Of the same states, bps of the mid, to 0.01 (below 0.1 to three significant digits).
    counts : dict of kind to number of states
        ``quality["crossed"]`` is such a count.
    done : dict of kind to action of the policy
    splits : dict of "YYYY-MM-DD" to float
        Days that begin with an overnight jump, and the shares that one share of the day before
        has likely become: 10 where the mid falls from 30 to 3, 0.1 where it rises from 3 to 30.
    missing_days : tuple of "YYYY-MM-DD"
        Days between the first and the last on which the session's calendar has the exchange
        open, without a state in the session; none where it has no calendar.

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
    lowest_mid: float | None
    highest_mid: float | None
    median_spread_bps: float | None
    counts: dict[str, int]
    done: dict[str, str] = field(default_factory=dict)
    splits: dict[str, float] = field(default_factory=dict)
    missing_days: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.counts[name] if name in self.counts else super().__getitem__(name)

    def to_frame(self) -> pd.DataFrame:
        """One row a kind: states, share of all in per cent, what was done, what it means."""
        table = pd.DataFrame({"states": self.counts, "done": self.done, "meaning": MEANING})
        table.insert(1, "share_%", 100.0 * table["states"] / max(self.rows, 1))
        return table.reindex(list(MEANING)).rename_axis("kind")


def assess(
    books: BookSnapshots, session: Session | None = None, policy: QualityPolicy | None = None
) -> tuple[BookSnapshots, BookQuality]:
    """Count what is doubtful, and apply the policy.

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
        raise ValidationError(
            f"books must be BookSnapshots, got {type(books).__name__}; see BookSnapshots.from_frame"
        )
    session, policy = session or Session(), policy or QualityPolicy()
    tally = _Tally(session, policy)
    days = [tally.add(day, usual) for day, usual in _with_usual_mid([books], session, policy)]
    quality = tally.quality(books.symbol)
    dropped = [kind for kind in MEANING if policy[kind] == "drop" and quality.counts[kind]]
    for kind in dropped:
        states = f"{quality.counts[kind]:,} of {len(books):,}"
        logger.info("dropping %s states: %s", states, MEANING[kind])
    kept = books
    if "stub_quotes" in dropped:
        usual = np.concatenate([found["usual_mid"] for found in days])[:, None]
        bid, ask = _stubs(books.bid_price, books.ask_price, usual, policy.stub_distance)
        bid_size, ask_size = np.where(bid, 0.0, books.bid_size), np.where(ask, 0.0, books.ask_size)
        kept = dataclasses.replace(books, bid_size=bid_size, ask_size=ask_size)
    gone = np.zeros(len(books), bool)
    for kind in dropped:
        if kind != "stub_quotes":
            gone |= np.concatenate([found[kind] for found in days])
    return (kept.take(~gone) if gone.any() else kept), quality


def assess_batches(
    batches: Iterable[BookSnapshots],
    session: Session | None = None,
    policy: QualityPolicy | None = None,
) -> BookQuality:
    """The quality of ``BookSnapshots.concat(batches)`` as `assess` counts it.

    One day is in memory at a time. Nothing is dropped. To clean what is streamed, sample it and
    `assess` the samples.

    Parameters
    ----------
    batches : iterable of BookSnapshots
        Of one symbol, in time order, cut anywhere; from `iter_books`, for instance.
    session : Session, optional
        09:30-16:00 America/New_York by default.
    policy : QualityPolicy, optional

    Raises
    ------
    ValidationError
        Two symbols, a batch that starts before the one before it ends; at the end, where the policy
        says "raise", the kind, count, share, first row and time over all batches.

    Examples
    --------
    >>> from research_lib.market import SyntheticMarket
    >>> books = SyntheticMarket().books(390, 5, np.random.default_rng(1))
    >>> halves = books.take(np.arange(200)), books.take(np.arange(200, 390))
    >>> assess_batches(halves) == assess(books)[1]
    True
    """
    tally = _Tally(session or Session(), policy or QualityPolicy())
    symbol = ""
    for day, usual in _with_usual_mid(batches, tally.session, tally.policy):
        tally.add(day, usual)
        symbol = day.symbol
    return tally.quality(symbol)


def _with_usual_mid(
    batches: Iterable[BookSnapshots], session: Session, policy: QualityPolicy
) -> Iterator[tuple[BookSnapshots, float]]:
    """Each day and its usual mid, the median over books whose spread is no stub itself.

    A day without one takes that of the day before; the first such days that of the first that
    has one. A stub at the touch, which moves its own mid, does not move this reference.
    """
    usual, waiting = np.nan, []
    for day in by_day(batches, session):
        mid = day.mid
        sound = mid[np.isfinite(mid) & (day.half_spread <= policy.stub_distance * mid)]
        usual = float(np.median(sound)) if len(sound) else usual
        waiting.append(day)
        if np.isfinite(usual):
            yield from ((one, usual) for one in waiting)
            waiting = []
    yield from ((one, usual) for one in waiting)


@dataclass
class _Tally:
    """What is counted of the days so far."""

    session: Session
    policy: QualityPolicy
    rows: int = 0
    times: list[int] = field(default_factory=list)  # first and last of each day, ns UTC
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEANING, 0))
    first: dict[str, tuple[int, int]] = field(default_factory=dict)  # row, time
    longest: float = 0.0
    mids: list[float] = field(default_factory=list)  # lowest and highest of each day
    spreads: list[pd.Series] = field(default_factory=list)
    usual: float = np.nan  # mid of the day before
    splits: dict[str, float] = field(default_factory=dict)
    dates: list[Any] = field(default_factory=list)

    def add(self, day: BookSnapshots, usual: float) -> dict[str, Any]:
        """Count a day that follows those before; says which of its states are of each kind."""
        mid, silent = day.mid, _silences(day.time, self.session)
        found = _masks(day, usual, self.session, self.policy)
        found["gaps"] = silent > self.policy.gap_seconds
        found["overnight_jumps"] = np.zeros(len(day), bool)
        ratio = self.usual / usual
        date = self.session.days(day.time[:1])[0]
        if max(ratio, 1 / ratio) > 1 + self.policy.overnight_fraction:
            found["overnight_jumps"][0] = True
            self.splits[str(date)] = _likely_split(ratio)
        for kind in MEANING:
            n_found, row = int(found[kind].sum()), int(np.argmax(found[kind]))
            self.counts[kind] += n_found
            if n_found:
                self.first.setdefault(kind, (self.rows + row, int(day.time[row])))
        shown = mid[np.isfinite(mid)]
        self.mids += [float(shown.min()), float(shown.max())] if len(shown) else []
        self.spreads.append(pd.Series(_spreads_bps(day)).value_counts())
        self.longest = max(self.longest, float(silent.max()))
        self.times += day.time[[0, -1]].tolist()
        self.rows, self.usual = self.rows + len(day), usual
        if not found["out_of_session"].all():
            self.dates.append(date)
        return {**found, "usual_mid": np.full(len(day), usual)}

    def quality(self, symbol: str) -> BookQuality:
        """The report, when all is counted; ValidationError where the policy says so."""
        for kind in MEANING:
            if self.policy[kind] == "raise" and self.counts[kind]:
                raise self._refusal(symbol or "books", kind)
        for day, ratio in self.splits.items():
            logger.warning(
                "%s: prices jump overnight, likely a split: %g shares for one", day, ratio
            )
        spreads = pd.concat(self.spreads).groupby(level=0).sum() if self.spreads else pd.Series()
        return BookQuality(
            rows=self.rows,
            first=self._local(self.times[0], "s") if self.times else "",
            last=self._local(self.times[-1], "s") if self.times else "",
            longest_gap_seconds=self.longest,
            lowest_mid=min(self.mids, default=None),
            highest_mid=max(self.mids, default=None),
            median_spread_bps=_median(spreads) if len(spreads) else None,
            counts=self.counts,
            done={kind: self.policy[kind] for kind in MEANING},
            splits=self.splits,
            missing_days=self._missing_days(),
        )

    def _missing_days(self) -> tuple[str, ...]:
        if not self.dates or self.session.mic is None:
            return ()
        known = set(self.dates)
        expected = self.session.trading_days(self.dates[0], self.dates[-1])
        return tuple(str(day) for day in expected if day not in known)

    def _refusal(self, symbol: str, kind: str) -> ValidationError:
        """Says how many states of how many are of a kind, and where the first is."""
        (row, time), n_bad = self.first[kind], self.counts[kind]
        other = '"keep"' if kind in NOT_DROPPED else '"drop" or "keep"'
        return ValidationError(
            f"{symbol}: {n_bad:,} of {self.rows:,} states ({100 * n_bad / self.rows:.1f} %) are "
            f"{kind} ({MEANING[kind]}), first in row {row} at {self._local(time)}; "
            f"correct the data, or set the policy for {kind} to {other}"
        )

    def _local(self, time: int, unit: str = "ns") -> str:
        """A time as the exchange's clock shows it."""
        return str(pd.Timestamp(time, tz="UTC").tz_convert(self.session.timezone).floor(unit))


def _masks(
    day: BookSnapshots, usual: float, session: Session, policy: QualityPolicy
) -> dict[str, Any]:
    """Which states of one day are of each kind, (n,) each; a state may be of several."""
    mid, spread = day.mid, day.half_spread
    jumps, shown = np.zeros(len(day), bool), np.flatnonzero(np.isfinite(mid))
    jumps[shown[1:]] = np.abs(np.diff(mid[shown])) > policy.jump_fraction * mid[shown[:-1]]
    lowest, highest = np.fmin.reduce(day.bid_price, axis=1), np.fmax.reduce(day.ask_price, axis=1)
    return {
        "non_finite": day.non_finite,
        "out_of_session": session.interval_of(day.time) < 0,
        "incomplete": ~day.complete,
        "duplicate_times": np.diff(day.time, prepend=-1) == 0,
        "crossed": spread < 0,
        "locked": spread == 0,
        "one_side_empty": np.isnan(spread),
        "empty_levels": ((day.bid_size[:, 1:] == 0) | (day.ask_size[:, 1:] == 0)).any(axis=1),
        "unordered_levels": day.unordered,
        "stub_quotes": np.logical_or(*_stubs(lowest, highest, usual, policy.stub_distance)),
        "price_jumps": jumps,
    }


def _stubs(bid: Float, ask: Float, usual: Any, distance: float) -> tuple[Mask, Mask]:
    """Bids and asks further from the usual mid than `distance` times it."""
    return bid < (1.0 - distance) * usual, ask > (1.0 + distance) * usual


def _silences(time: NDArray[np.int64], session: Session) -> Float:
    """Trading seconds of one day without any state before each, (n,); 0 outside the session.

    The first counts from the open; the last counts to the close where that is longer.
    """
    silent = np.zeros(len(time))
    inside = np.flatnonzero(session.interval_of(time) >= 0)
    if inside.size:
        traded, length = session.traded_ns(time[inside])
        silent[inside] = np.diff(traded, prepend=0) / 1e9
        silent[inside[-1]] = max(silent[inside[-1]], (length - traded)[-1] / 1e9)
    return silent


def _spreads_bps(books: BookSnapshots) -> Float:
    """Spread of every state with both quotes, bps of the mid, rounded so that few are distinct."""
    spread = 2e4 * books.half_spread / books.mid
    spread = spread[np.isfinite(spread)]
    tight = (spread != 0) & (np.abs(spread) < 0.1)  # one tick of a coin is 0.001 bps
    unit = 10.0 ** (np.floor(np.log10(np.abs(spread, where=tight, out=np.ones_like(spread)))) - 2)
    return np.where(tight, np.round(spread / unit) * unit, np.round(spread, 2))


def _median(counts: pd.Series) -> float:
    """Median of values, the sorted index, that were each counted so many times."""
    up_to = np.cumsum(counts.to_numpy())
    middle = np.searchsorted(up_to, [(up_to[-1] + 1) // 2, up_to[-1] // 2 + 1])
    return float(counts.index.to_numpy()[middle].mean())


def _likely_split(ratio: float) -> float:
    """The usual split nearest to a ratio of mids, the day before's over the day's."""
    known = np.concatenate([1 / SPLITS, SPLITS])
    return float(known[np.argmin(np.abs(np.log(known / ratio)))].round(4))
