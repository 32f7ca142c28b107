"""What is counted, and what the policy does with it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import ValidationError
from research_lib.market import (
    KEEP_ALL,
    BookQuality,
    BookSnapshots,
    QualityPolicy,
    Session,
    SyntheticMarket,
    assess,
    assess_parts,
    read_mbp10,
)


def _books(n: int = 6, **changes: object) -> BookSnapshots:
    """States ten seconds apart from 10:00, two levels a side, bid 99, ask 101; silent before and after."""
    start = pd.Timestamp("2025-04-03 10:00", tz="America/New_York").as_unit("ns").value
    arrays: dict[str, object] = {
        "time": start + 10 * 10**9 * np.arange(n),
        "bid_price": np.tile([99.0, 98.0], (n, 1)), "bid_size": np.full((n, 2), 10.0),
        "ask_price": np.tile([101.0, 102.0], (n, 1)), "ask_size": np.full((n, 2), 10.0), "symbol": "XYZ",
    }  # fmt: skip
    return BookSnapshots(**{**arrays, **changes})  # type: ignore[arg-type]


def _changed(name: str, row: int, level: int, value: float) -> BookSnapshots:
    books = _books()
    array = getattr(books, name).copy()
    array[row, level] = value
    return dataclasses.replace(books, **{name: array})


KINDS = list(_books().quality.counts)
NOT_DROPPED = {"gaps", "price_jumps", "overnight_jumps"}  # a state less would not mend either
JUMP = np.where(np.arange(6) >= 2, 1.06, 1.0)[:, None]
CASES = {
    "crossed": _changed("bid_price", 2, 0, 101.5),
    "locked": _changed("bid_price", 2, 0, 101.0),
    "one_side_empty": _books(ask_size=np.where(np.arange(6)[:, None] == 2, 0.0, 10.0) * np.ones(2)),
    "empty_levels": _changed("ask_size", 2, 1, 0.0),
    "unordered_levels": _changed("ask_price", 2, 1, 100.5),
    "stub_quotes": _changed("ask_price", 2, 1, 2147.48),
    "incomplete": _books(complete=np.arange(6) != 2),
    "repeated": _books(time=_books().time[[0, 1, 1, 3, 4, 5]]),
    "duplicate_times": _books(time=_books().time[[0, 1, 1, 3, 4, 5]]),
    "out_of_session": _books(time=_books().time - 2 * 3600 * 10**9 * (np.arange(6) <= 2)),
    "price_jumps": _books(bid_price=_books().bid_price * JUMP, ask_price=_books().ask_price * JUMP),
    "overnight_jumps": _books(
        time=_books().time - 24 * 3600 * 10**9 * (np.arange(6) < 2),
        bid_price=_books().bid_price * np.where(np.arange(6) >= 2, 0.5, 1.0)[:, None],
        ask_price=_books().ask_price * np.where(np.arange(6) >= 2, 0.5, 1.0)[:, None],
    ),
    "gaps": _books(time=_books().time + 600 * 10**9 * (np.arange(6) >= 2)),
}


MINUTE = Session(1, "10:00", "10:01")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_counted_raised_dropped_or_kept(kind: str) -> None:
    books = CASES[kind]
    session = Session(1, "10:00", "10:11") if kind == "gaps" else MINUTE
    expected = 3 if kind == "out_of_session" else 1
    kept, quality = assess(books, session, QualityPolicy(**{**_all("keep"), kind: "keep"}))  # type: ignore[arg-type]
    assert quality[kind] == expected
    assert kept is books
    if kind not in NOT_DROPPED:
        _assert_dropped(books, kind, session, quality)
    row = 0 if kind == "out_of_session" else 2
    message = rf"XYZ: {expected} of 6 states .* are {kind} .*first in row {row} at 2025-04-03 .*-04:00; correct the data"
    with pytest.raises(ValidationError, match=message):
        assess(books, session, QualityPolicy(**{**_all("keep"), kind: "raise"}))  # type: ignore[arg-type]


def _assert_dropped(
    books: BookSnapshots, kind: str, session: Session, quality: BookQuality
) -> None:
    dropped, again = assess(books, session, QualityPolicy(**{**_all("keep"), kind: "drop"}))  # type: ignore[arg-type]
    assert again.counts == quality.counts
    if kind == "stub_quotes":
        assert len(dropped) == 6
        assert dropped.ask_size[2].tolist() == [10, 0]
    else:
        assert len(dropped) == 6 - quality[kind]


def _all(action: str) -> dict[str, str]:
    return dict.fromkeys(KINDS, action)


def test_the_defaults_refuse_what_cannot_be_one_venue() -> None:
    for kind in ("crossed", "unordered_levels"):
        with pytest.raises(ValidationError, match=kind):
            assess(CASES[kind])
    for kind in ("locked", "one_side_empty", "gaps", "duplicate_times", "out_of_session"):
        assert len(assess(CASES[kind])[0]) == 6


def test_a_clean_book_has_no_counts_and_its_span() -> None:
    _, quality = assess(_books(), MINUTE)
    assert set(quality.counts.values()) == {0}
    assert (quality.rows, quality.first, quality.last) == (
        6,
        "2025-04-03 10:00:00-04:00",
        "2025-04-03 10:00:50-04:00",
    )
    assert quality.longest_gap_seconds == 10.0
    assert list(quality.to_frame().columns) == ["states", "share_%", "done", "meaning"]


def test_the_night_is_no_gap() -> None:
    days = _books(time=_books().time + 24 * 3600 * 10**9 * (np.arange(6) >= 3))
    assert assess(days, MINUTE)[1]["gaps"] == 0


@pytest.mark.parametrize(("kind", "remedy"), [("gaps", "max_age"), ("price_jumps", "use between")])
def test_what_dropping_would_not_mend_is_refused_with_the_remedy(kind: str, remedy: str) -> None:
    with pytest.raises(ValidationError, match=rf"{kind} cannot be dropped; .*{remedy}"):
        QualityPolicy(**{kind: "drop"})  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=f'set the policy for {kind} to "keep"'):
        assess(CASES[kind], policy=QualityPolicy(**{kind: "raise"}))  # type: ignore[arg-type]


def test_the_report_shows_spikes_and_the_median_spread() -> None:
    books = _books()
    assert assess(books)[1].median_spread_bps == 200.0
    spike = np.where(np.arange(6) == 3, 0.01, 1.0)[:, None]  # one state in cents
    spiked = _books(bid_price=books.bid_price * spike, ask_price=books.ask_price * spike)
    assert assess(spiked)[1]["price_jumps"] == 2  # there and back
    assert assess(spiked, policy=QualityPolicy(jump_fraction=100.0))[1]["price_jumps"] == 0
    overnight = np.where(np.arange(6) >= 3, 1, 0)
    next_day = _books(
        time=books.time + 24 * 3600 * 10**9 * overnight,
        bid_price=books.bid_price * (1 + overnight[:, None]),
        ask_price=books.ask_price * (1 + overnight[:, None]),
    )
    assert assess(next_day)[1]["price_jumps"] == 0
    empty = assess(_books(ask_size=np.zeros((6, 2))))[1]
    assert empty.median_spread_bps is None


def test_a_jump_is_seen_across_a_one_sided_state() -> None:
    hole = np.where(np.arange(6)[:, None] == 1, 0.0, 10.0) * np.ones(2)
    assert assess(dataclasses.replace(CASES["price_jumps"], ask_size=hole))[1]["price_jumps"] == 1


def test_a_break_is_no_gap() -> None:
    books = _books(time=_books().time + 3600 * 10**9 * (np.arange(6) >= 3))
    broken = Session(1, "10:00", "11:01", breaks=[("10:00:25", "11:00:25")])
    _, quality = assess(books, broken)
    assert (quality["gaps"], quality["out_of_session"], quality.longest_gap_seconds) == (0, 0, 10.0)
    assert assess(books, Session(1, "10:00", "11:01"))[1]["gaps"] == 1


def test_what_are_no_books_or_settings_is_refused() -> None:
    with pytest.raises(ValidationError, match="books must be BookSnapshots, got DataFrame"):
        assess(_books().to_frame())  # type: ignore[arg-type]
    with pytest.raises(
        ValidationError, match="QualityPolicy setting 'cross' is unknown; did you mean 'crossed'"
    ):
        QualityPolicy(cross="drop")  # type: ignore[call-arg]
    policy = QualityPolicy("keep", gap_seconds=60.0)
    assert dataclasses.replace(policy, crossed="drop") == QualityPolicy(
        "keep", crossed="drop", gap_seconds=60.0
    )
    assert copy.deepcopy(policy) == pickle.loads(pickle.dumps(policy)) == policy


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(
        ValidationError,
        match="policy for crossed: 'ignore' is unknown; choose from raise, drop, keep",
    ):
        QualityPolicy(crossed="ignore")


def test_arl_shows_every_trouble_it_is_known_for() -> None:
    path = real_data("databento_xnas_arl_mbo_mbp/ARL_2025-07-17.mbp10_reconstructed.csv.gz")
    books = read_mbp10(path)
    cleaned, quality = assess(books)
    assert quality["out_of_session"] == 273
    assert quality["stub_quotes"] > 0
    assert quality["empty_levels"] == 227
    assert quality["gaps"] > 0
    assert quality.longest_gap_seconds == pytest.approx(1_908, abs=1)
    assert np.nanmax(books.ask_price) == pytest.approx(2147.48)
    assert np.nanmax(cleaned.ask_price) < 100
    assert len(cleaned) == len(books)


def test_sampling_says_how_old_a_state_is(frog_file: Path) -> None:
    sampled = read_mbp10(frog_file).sample(Session(390))
    assert sampled.age.max() < 68e9  # the largest gap of that day is 67.7 s
    assert sampled.stale(30).sum() > 0
    assert not sampled.stale(68).any()
    assert not sampled.stale(0)[0]  # the first minute has no state at all


def test_days_at_other_price_levels_are_no_stubs() -> None:
    """A trend or a split moves a whole day; a stub is far from its own day's usual mid."""
    day = 24 * 3600 * 10**9 * np.repeat([0, 1, 4], 2)
    level = np.repeat([1.0, 4.0, 0.5], 2)[:, None]
    books = _books(
        time=_books().time[[0, 1, 0, 1, 0, 1]] + day,
        bid_price=_books().bid_price * level,
        ask_price=_books().ask_price * level,
    )
    cleaned, quality = assess(books)
    assert quality["stub_quotes"] == 0
    assert np.isfinite(cleaned.mid).all()


def test_a_recording_that_starts_late_or_stops_early_has_a_gap() -> None:
    hour = 3600 * 10**9
    morning = assess(_books(time=_books().time - hour // 2 + 10**9))[
        1
    ]  # from 09:30:01 for a minute
    assert morning["gaps"] == 1
    assert morning.longest_gap_seconds == pytest.approx(6.5 * 3600 - 51)
    late = assess(_books(time=_books().time + 5 * hour))[1]  # from 15:00
    assert late["gaps"] == 2
    assert late.longest_gap_seconds == pytest.approx(5.5 * 3600)


def test_levels_out_of_order_across_an_empty_one_are_seen() -> None:
    books = BookSnapshots(
        _books(1).time,
        [[10.0, np.nan, 11.0]],
        [[1.0, 0.0, 1.0]],
        [[12.0, 13.0, 14.0]],
        [[1.0, 1.0, 1.0]],
    )
    assert books.unordered.tolist() == [True]


@pytest.mark.parametrize(
    ("before", "after", "likely"), [(30, 3, 10), (3, 30, 0.1), (30, 20.4, 1.5)]
)
def test_a_split_between_days_is_an_overnight_jump_with_its_likely_ratio(
    before: float, after: float, likely: float, caplog: pytest.LogCaptureFixture
) -> None:
    level = np.repeat([before, after], 3)[:, None] / 100.0
    books = _books(
        time=_books().time + 24 * 3600 * 10**9 * (np.arange(6) >= 3),
        bid_price=_books().bid_price * level,
        ask_price=_books().ask_price * level,
        bid_size=_books().bid_size * before / level / 100,
    )
    quality = assess(books)[1]
    assert (quality["overnight_jumps"], quality["price_jumps"]) == (1, 0)
    said = f"2025-04-04: prices jump overnight, likely a split: {likely:g} shares for one"
    assert said in caplog.text
    caplog.clear()
    usual = dataclasses.replace(
        CASES["overnight_jumps"], bid_price=_books().bid_price, ask_price=_books().ask_price
    )
    assert assess(usual)[1]["overnight_jumps"] == 0
    assert caplog.text == ""


@pytest.mark.parametrize("tick", [0.01, 1e-10, 1e7])
def test_a_spread_far_below_a_basis_point_is_not_rounded_to_nothing(tick: float) -> None:
    price = 1e7 * tick
    books = _books(bid_price=np.full((6, 1), price), bid_size=np.ones((6, 1)),
                   ask_price=np.full((6, 1), price + tick), ask_size=np.ones((6, 1)))  # fmt: skip
    assert assess(books)[1].median_spread_bps == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-8, 1e9])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_do_not_depend_on_the_units_of_price_and_size(kind: str, scale: float) -> None:
    books, keep = CASES[kind], QualityPolicy(**_all("keep"))
    whole = assess(books, MINUTE, keep)[1]
    for names in (("price",), ("size",), ("price", "size")):
        arrays = {f"{side}_{name}": books[f"{side}_{name}"] * scale
                  for side in ("bid", "ask") for name in names}  # fmt: skip
        quality = assess(dataclasses.replace(books, **arrays), MINUTE, keep)[1]
        assert quality.counts == whole.counts
        assert quality.median_spread_bps == pytest.approx(whole.median_spread_bps)


def test_days_without_a_usual_mid_take_the_nearest_before_or_the_first_after() -> None:
    """One-sided books on the first and the third day; the fourth day's ask is a stub of the second's and third's."""
    books = BookSnapshots(
        _books(1).time + 24 * 3600 * 10**9 * np.arange(4),
        bid_price=[[np.nan], [10.0], [np.nan], [20.0]],
        bid_size=[[0.0], [1.0], [0.0], [1.0]],
        ask_price=[[16.0], [10.1], [16.0], [20.1]],
        ask_size=[[1.0], [1.0], [1.0], [1.0]],
    )
    assert assess(books)[1]["stub_quotes"] == 2
    assert assess(books.take([0, 1]))[1]["stub_quotes"] == 1  # that of the first day that has one


def test_no_book_has_an_empty_report() -> None:
    kept, quality = assess(_books(0))
    assert len(kept) == quality.rows == 0
    assert (quality.first, quality.last, set(quality.counts.values())) == ("", "", {0})


def test_exact_repetitions_are_counted_and_dropped() -> None:
    books = _books()
    twice = books.take(np.repeat(np.arange(len(books)), 2))
    kept, quality = assess(twice, policy=dataclasses.replace(KEEP_ALL, repeated="drop"))
    assert quality["repeated"] == len(books)
    assert np.array_equal(kept.time, books.time)
    other = dataclasses.replace(
        twice, ask_size=twice.ask_size * np.arange(1, 2 * len(books) + 1)[:, None]
    )
    assert assess(other, policy=KEEP_ALL)[1]["repeated"] == 0  # of one time, but of other sizes


def test_locked_books_are_widened_about_their_mid_and_others_stay() -> None:
    size = np.array([[5.0, 7.0], [5.0, 7.0]])
    bid, ask = np.array([[10.0, 9.9], [10.0, 9.9]]), np.array([[10.0, 10.1], [10.1, 10.2]])
    books = BookSnapshots(_books().time[:2], bid, size, ask, size)
    policy = dataclasses.replace(KEEP_ALL, locked="widen", locked_spread=0.1)
    wide, quality = assess(books, policy=policy)
    assert quality["locked"] == 1
    assert quality.done["locked"] == "widen"
    assert wide.half_spread == pytest.approx([0.05, 0.05])
    assert wide.mid == pytest.approx([10.0, 10.05])
    assert np.array_equal(wide.bid_price[:, 1], bid[:, 1])
    with pytest.raises(ValidationError, match="locked_spread"):
        QualityPolicy(locked="widen")
    with pytest.raises(ValidationError, match="widen"):
        QualityPolicy(crossed="widen")
    deep = BookSnapshots([0], [[10.0, 9.9]], [[1.0, 1.0]], [[10.0, 10.1]], [[1.0, 1.0]])
    too_far = dataclasses.replace(policy, locked_spread=0.3)
    with pytest.raises(ValidationError, match="passes level 2 of 1 books"):
        assess(deep, None, too_far)


def test_parts_are_assessed_as_the_whole(rng: np.random.Generator) -> None:
    books = SyntheticMarket().books(3 * 390, 5, rng)
    whole, quality = assess(books)
    parts = [books.take(np.arange(k * 390, (k + 1) * 390)) for k in range(3)]
    kept, counted = assess_parts(parts)
    assert np.array_equal(kept.bid_price, whole.bid_price)
    assert counted == quality


def test_of_a_repetition_the_state_that_may_be_sampled_stays() -> None:
    books = _books(time=_books().time[[0, 1, 1, 3, 4, 5]], complete=np.arange(6) != 1)
    kept, quality = assess(books, policy=dataclasses.replace(KEEP_ALL, repeated="drop"))
    assert quality["repeated"] == 0  # the second one is complete and the first is not
    assert len(kept) == 6
    other = dataclasses.replace(books, complete=np.arange(6) != 2)
    assert assess(other, policy=KEEP_ALL)[1]["repeated"] == 1
