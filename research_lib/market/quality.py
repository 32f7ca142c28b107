"""What is wrong with books, counted; and what is done about it, by a policy the user can see."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from research_lib.checks import number, refuse_unknown
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.market.book import BookSnapshots
from research_lib.market.sessions import Session

logger = logging.getLogger(__name__)
Mask = NDArray[np.bool_]

ACTIONS = ("raise", "drop", "keep")
MEANING = {
    "non_finite": "a level whose price or size is no number, or its size negative; emptied, and never sampled",
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
    "gaps": "silences of more than gap_seconds inside the session, from the open and to the close",
}
NOT_DROPPED = {
    "gaps": "the state that ends a silence is sound, those before it grow old: sample with max_age, in seconds",
    "price_jumps": "the state after a wrong one jumps as well: cut the wrong ones out with between, or refuse them",
}


@dataclass(frozen=True)
class QualityPolicy(Record):
    """What is done with each kind of doubtful state: "raise", "drop" it, or "keep" it.

    Counts are reported whatever is done. The defaults are a careful researcher's: crossed
    books, unordered levels of one venue and what is no number mean that the data are broken, so they raise;
    what is a fact of the market (locked, one side empty, out of session, gaps) is kept
    and left to sampling. Dropping stub quotes empties the stub levels, not the snapshot;
    gaps and price jumps cannot be dropped (`NOT_DROPPED` says why, and what to do).

    Attributes
    ----------
    non_finite, out_of_session, incomplete, duplicate_times, crossed, locked, one_side_empty,
    empty_levels, unordered_levels, stub_quotes, price_jumps, gaps : str
        One of "raise", "drop", "keep".
    stub_distance : float
        Fraction of the day's usual mid beyond which a level is a stub quote.
    gap_seconds : float
        Silence inside the session that counts as a gap, seconds.
    jump_fraction : float
        Fraction of the mid shown before, on the same day, beyond which a mid is a price jump.
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

    def __new__(cls, *_: Any, **settings: Any) -> Self:
        """A misspelt setting is refused with the nearest valid one."""
        refuse_unknown(
            settings, [one.name for one in dataclasses.fields(cls)], "QualityPolicy setting"
        )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for kind in MEANING:
            refuse_unknown([self[kind]], ACTIONS, f"policy for {kind}:")
            if self[kind] == "drop" and kind in NOT_DROPPED:
                raise ValidationError(f"{kind} cannot be dropped, {NOT_DROPPED[kind]}")
        number("stub_distance", self.stub_distance, above=0)
        number("gap_seconds", self.gap_seconds, above=0)
        number("jump_fraction", self.jump_fraction, above=0)


KEEP_ALL = QualityPolicy(
    non_finite="keep", crossed="keep", unordered_levels="keep", stub_quotes="keep"
)


@dataclass(frozen=True)
class BookQuality(Record):
    """Counts over the rows of some books; see `MEANING` for each kind. ``quality["crossed"]`` is a count.

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
        Of the same states, bps of the mid, to 0.01.
    counts : dict of kind to number of states
    done : dict of kind to action of the policy
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
    """
    if not isinstance(books, BookSnapshots):
        raise ValidationError(
            f"books must be BookSnapshots, got {type(books).__name__}; see BookSnapshots.from_frame"
        )
    session, policy = session or Session(), policy or QualityPolicy()
    mid, spread = books.mid[np.isfinite(books.mid)], spreads_bps(books)
    found = masks(books, session, policy)
    quality = BookQuality(
        rows=len(books),
        first=local_time(books.time[0], session, "s") if len(books) else "",
        last=local_time(books.time[-1], session, "s") if len(books) else "",
        longest_gap_seconds=float(np.maximum(*silences(books.time, session)).max(initial=0.0)),
        lowest_mid=float(mid.min()) if len(mid) else None,
        highest_mid=float(mid.max()) if len(mid) else None,
        median_spread_bps=float(np.median(spread)) if len(spread) else None,
        counts={kind: int(mask.sum()) for kind, mask in found.items()},
        done={kind: policy[kind] for kind in MEANING},
    )
    for kind, mask in found.items():
        if policy[kind] == "raise" and mask.any():
            row = int(np.argmax(mask))
            n_states = (quality.counts[kind], len(books))
            raise refusal(books.symbol, kind, n_states, row, local_time(books.time[row], session))
    dropped = [kind for kind in MEANING if policy[kind] == "drop" and quality.counts[kind]]
    for kind in dropped:
        logger.info(
            "dropping %s of %s states: %s",
            f"{quality.counts[kind]:,}",
            f"{len(books):,}",
            MEANING[kind],
        )
    kept = (
        _without_stubs(books, policy.stub_distance, session) if "stub_quotes" in dropped else books
    )
    gone = np.any(
        [found[kind] for kind in dropped if kind != "stub_quotes"] or [np.zeros(len(books), bool)],
        axis=0,
    )
    return (kept.take(~gone) if gone.any() else kept), quality


def stubs(books: BookSnapshots, distance: float, session: Session) -> tuple[Mask, Mask]:
    """Levels (n, L) of bid and ask further from that day's usual mid than `distance` times it.

    The usual mid is the day's median over books whose spread is no stub itself; a day
    without one takes that of the nearest day before (or after) that has one. A stub at
    the touch, which moves its own mid, does not move this reference.
    """
    mid = books.mid
    usable = np.isfinite(mid) & (books.half_spread <= distance * mid)
    days = session.days(books.time)
    usual = pd.Series(np.where(usable, mid, np.nan)).groupby(days).median().ffill().bfill()
    reference = usual.reindex(days).to_numpy()[:, None]
    return books.bid_price < (1.0 - distance) * reference, books.ask_price > (
        1.0 + distance
    ) * reference


def masks(books: BookSnapshots, session: Session, policy: QualityPolicy) -> dict[str, Mask]:
    """Which states are of each kind of `MEANING`, (n,) each; a state may be of several."""
    bid_stub, ask_stub = stubs(books, policy.stub_distance, session)
    return {
        **own_masks(books, session),
        "duplicate_times": np.diff(books.time, prepend=-1) == 0,
        "stub_quotes": bid_stub.any(axis=1) | ask_stub.any(axis=1),
        "price_jumps": jumps(books.mid, session.days(books.time), policy.jump_fraction),
        "gaps": np.maximum(*silences(books.time, session)) > policy.gap_seconds,
    }


def own_masks(books: BookSnapshots, session: Session) -> dict[str, Mask]:
    """The kinds that a state is of whatever the others are, (n,) each."""
    spread = books.half_spread
    return {
        "non_finite": books.non_finite,
        "out_of_session": session.interval_of(books.time) < 0,
        "incomplete": ~books.complete,
        "crossed": spread < 0,
        "locked": spread == 0,
        "one_side_empty": np.isnan(spread),
        "empty_levels": np.any(books.bid_size[:, 1:] == 0, axis=1)
        | np.any(books.ask_size[:, 1:] == 0, axis=1),
        "unordered_levels": books.unordered,
    }


def spreads_bps(books: BookSnapshots) -> NDArray[np.float64]:
    """Spread of every state with both quotes, bps of the mid, to 0.01 so that few are distinct."""
    spread = 2e4 * books.half_spread / books.mid
    return np.round(spread[np.isfinite(spread)], 2)


def jumps(mid: NDArray[np.float64], days: NDArray[Any], fraction: float) -> Mask:
    """Whether a mid is further than `fraction` from the one shown before it on the same day, (n,)."""
    found = np.zeros(len(mid), bool)
    shown = np.flatnonzero(np.isfinite(mid))
    same_day = days[shown[1:]] == days[shown[:-1]]
    found[shown[1:]] = same_day & (np.abs(np.diff(mid[shown])) > fraction * mid[shown[:-1]])
    return found


def silences(
    time: NDArray[np.int64], session: Session
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Trading seconds without any state, (n,) each: since the state before or the open, and up to the close.

    The first is 0 outside the session, the second but for the last state of each day's session.
    """
    since, until = np.zeros(len(time)), np.zeros(len(time))
    inside = np.flatnonzero(session.interval_of(time) >= 0)
    if inside.size:
        traded, length = session.traded_ns(time[inside])
        _, first = np.unique(session.days(time[inside]), return_index=True)
        before = np.append(0, traded[:-1])
        before[first] = 0
        since[inside] = (traded - before) / 1e9
        last = np.append(first[1:], inside.size) - 1
        until[inside[last]] = (length - traded)[last] / 1e9
    return since, until


def _without_stubs(books: BookSnapshots, distance: float, session: Session) -> BookSnapshots:
    bid_stub, ask_stub = stubs(books, distance, session)
    return dataclasses.replace(
        books,
        bid_size=np.where(bid_stub, 0.0, books.bid_size),
        ask_size=np.where(ask_stub, 0.0, books.ask_size),
    )


def refusal(
    symbol: str, kind: str, n_states: tuple[int, int], row: int, time: str
) -> ValidationError:
    """Says how many states of how many are of a kind, and where the first is."""
    n_bad, n = n_states
    other = '"keep"' if kind in NOT_DROPPED else '"drop" or "keep"'
    return ValidationError(
        f"{symbol or 'books'}: {n_bad:,} of {n:,} states ({100 * n_bad / n:.1f} %) are "
        f"{kind} ({MEANING[kind]}), first in row {row} at {time}; "
        f"correct the data, or set the policy for {kind} to {other}"
    )


def local_time(time: np.int64, session: Session, unit: str = "ns") -> str:
    """A time as the exchange's clock shows it."""
    return str(pd.Timestamp(time, tz="UTC").tz_convert(session.timezone).floor(unit))
