"""Each guard stops advice, says so, and lets it go on when all is in order again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live.cases import (
    EVEN,
    HALF_HOUR,
    OPEN,
    SECOND,
    Desk,
    advised,
    at,
    book,
    hear,
    stops,
    synthetic,
)

from research_lib.errors import ValidationError
from research_lib.live import Book, Clock, Gap, Limits, Settings, Trade


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts a desk that works a TWAP in half-hours, with its first child order sent."""
    desks: list[Desk] = []

    def started(limits: dict[str, float] | None = None, **settings: Any) -> Desk:
        how = {"clock_step_seconds": 1e6, **(limits or {})}
        plan = synthetic(strategy="TWAP", latency=0.0, limits=how, **settings)
        desks.append(Desk(plan, tmp_path))
        hear(desks[0], book(0), book(1))
        return desks[0]

    yield started
    for one in desks:
        one.journal.close()


def test_in_order_every_interval_is_advised(start: Any) -> None:
    desk = start()
    hear(desk, *(book(at(t, s)) for t in range(1, 13) for s in (-1, 1)))
    assert advised(desk) == list(range(13))
    assert stops(desk) == []
    assert [one["shares"] for one in desk.of("child")] == pytest.approx([EVEN] * 13)


FAULTS = {
    "stale": ([book(at(1, -61)), book(at(1, 1))], {}),
    "crossed": ([book(at(1, -1), bid=50.02), book(at(1, 1))], {}),
    "band": ([book(at(1, -1), bid=65.0, ask=65.02), book(at(1, 1))], {}),
    "gap": ([book(at(1, -2)), Gap(OPEN + HALF_HOUR - SECOND, "lost"), book(at(1, 1))], {}),
    "clock": ([book(at(1, -500)), book(at(1, 1)), book(at(1, 2))], {"clock_step_seconds": 500.0, "stale_seconds": 1e4}),
    "late": ([book(at(1, -1)), book(at(1, 61))], {}),
}  # fmt: skip


@pytest.mark.parametrize("guard", FAULTS)
def test_a_fault_stops_advice_and_says_so_until_it_is_mended(guard: str, start: Any) -> None:
    """The share that was not sent is in the next child order, which the schedule carries on."""
    events, limits = FAULTS[guard]
    desk = start(limits)
    hear(desk, *events)
    assert advised(desk) == [0]
    assert stops(desk) == [("stop", guard), ("resume", guard)]
    hear(desk, book(at(2, -1)), book(at(2, 1)))
    assert advised(desk) == [0, 2]
    assert desk.of("child")[-1]["shares"] == pytest.approx(2 * EVEN)


def test_a_clock_that_runs_back_stops_advice_until_it_has_caught_up(start: Any) -> None:
    desk = start()
    hear(desk, book(at(1, -1)), book(at(1, -4)))
    assert stops(desk) == [("stop", "clock")]
    hear(desk, book(at(1, -1.5)), book(at(1, 1)))
    assert stops(desk) == [("stop", "clock"), ("resume", "clock")]
    assert advised(desk) == [0, 1]


@pytest.mark.parametrize("wrong", [Trade(OPEN + 10**15, 50.0, 1.0, 1), book(1e6)])
def test_one_wrong_time_does_not_end_the_order(wrong: Trade | Book, start: Any) -> None:
    """Advice stops until an event in order; what a second one confirms is the time."""
    desk = start({"clock_step_seconds": 500.0, "stale_seconds": 1e4})
    hear(desk, wrong)
    assert stops(desk) == [("stop", "clock")]
    assert desk.engine.now == OPEN + SECOND
    hear(desk, book(3))
    assert stops(desk) == [("stop", "clock"), ("resume", "clock")]
    hear(desk, wrong, wrong)
    assert desk.engine.finished


@pytest.mark.parametrize("wrong", [-1e9, 1e6])
def test_a_wrong_first_time_neither_ends_nor_moves_the_order(wrong: float, tmp_path: Path) -> None:
    desk = Desk(synthetic(strategy="TWAP", latency=0.0), tmp_path)
    hear(desk, book(wrong), book(0.0), book(1.0))
    desk.journal.close()
    assert desk.engine.now == OPEN + SECOND
    assert advised(desk) == [0]


def test_silence_is_noticed_by_the_clock_alone(start: Any) -> None:
    desk = start()
    hear(desk, Clock(OPEN + 62 * SECOND))
    assert stops(desk) == [("stop", "stale")]


def test_without_a_book_since_the_open_nothing_is_advised(tmp_path: Path) -> None:
    desk = Desk(synthetic(strategy="TWAP", latency=0.0), tmp_path)
    hear(desk, *2 * [Clock(OPEN + HALF_HOUR + SECOND)])
    desk.journal.close()
    assert advised(desk) == []
    assert ("stop", "stale") in stops(desk)


def test_a_book_of_before_the_session_is_not_used(tmp_path: Path) -> None:
    desk = Desk(synthetic(strategy="TWAP", latency=0.0), tmp_path)
    hear(desk, book(-1), book(1))
    desk.journal.close()
    assert np.isnan(desk.engine.seen.mid[0])


@pytest.mark.parametrize(
    ("limits", "told"),
    [({"max_child_shares": 100.0}, [100.0, 100.0]), ({"max_participation": 0.1}, [400.0])],
)
def test_no_child_order_is_larger_than_the_limits(
    limits: dict[str, float], told: list[float], start: Any
) -> None:
    """A tenth of the 4,000 shares that the market has traded, which was nothing at the start."""
    desk = start(limits)
    trade = Trade(OPEN + 60 * SECOND, 50.0, 4_000.0, 1)
    hear(desk, trade, book(at(1, -1)), book(at(1, 1)))
    assert [one["shares"] for one in desk.of("child")] == pytest.approx(told)
    assert [one["max_shares"] for one in desk.of("limit")] == pytest.approx(
        [100.0] * 2 if len(told) > 1 else [0.0, 400.0]
    )


# At the deadline


def test_the_last_interval_sends_what_is_left_up_to_the_cap(start: Any) -> None:
    desk = start()
    hear(desk, book(at(12, -1)), book(at(12, 1)))
    assert desk.of("child")[-1]["shares"] == 1_000.0


def test_or_leaves_all_but_an_even_child_order(start: Any) -> None:
    desk = start(completion="leave")
    hear(desk, book(at(12, -1)), book(at(12, 1)), Clock(OPEN + 13 * HALF_HOUR))
    assert desk.of("child")[-1]["shares"] == pytest.approx(EVEN)
    (end,) = desk.of("end")
    assert end["left"] == pytest.approx(4_000.0 - 13 * EVEN + 11 * EVEN)


def test_what_was_stopped_at_the_last_start_is_sent_when_it_is_mended(start: Any) -> None:
    desk = start()
    hear(desk, book(at(12, -1), bid=50.02), book(at(12, 1), bid=50.02))
    assert advised(desk) == [0]
    hear(desk, book(at(12, 2)), book(at(12, 3)))
    assert advised(desk) == [0, 12]
    assert desk.of("fill")[-1]["shares"] == 1_000.0


@pytest.fixture
def again(start: Any, tmp_path: Path) -> Desk:
    """Started anew after it died while stopped at the last start."""
    desk = start()
    hear(desk, book(at(12, -1), bid=50.02), book(at(12, 1), bid=50.02))
    desk.journal.close()
    return Desk(desk.plan, tmp_path)


def test_a_desk_that_died_while_stopped_sends_the_rest_when_it_is_back(again: Desk) -> None:
    hear(again, book(at(12, 2)), book(at(12, 3)))
    again.journal.close()
    assert advised(again) == [12]
    assert again.of("fill")[-1]["shares"] == 1_000.0


def test_a_desk_that_hears_the_recording_again_sends_the_rest_no_earlier(again: Desk) -> None:
    hear(again, book(0), book(1), book(at(12, -1), bid=50.02), book(at(12, 1), bid=50.02))
    assert advised(again) == []
    hear(again, book(at(12, 2)), book(at(12, 3)))
    again.journal.close()
    assert advised(again) == [12]
    assert again.of("child")[0]["time"] == OPEN + round(at(12, 2) * SECOND)


def test_after_the_close_nothing_is_advised(start: Any) -> None:
    desk = start()
    hear(desk, book(at(12, -1), bid=50.02), book(at(12, 1), bid=50.02), book(at(13, 1)))
    assert advised(desk) == [0]
    assert desk.engine.finished


# Settings


@pytest.mark.parametrize(
    "wrong",
    [{"stale_seconds": 0.0}, {"price_band": -1.0}, {"max_participation": 2.0}, {"stale": 5.0}],
)
def test_a_limit_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings(limits=wrong)


@pytest.mark.parametrize("wrong", [{"fills": "real"}, {"completion": "wait"}, {"speed": 1.0}])
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Settings(**wrong)


def test_limits_have_numbers_by_default() -> None:
    assert Settings().limits == Limits()
