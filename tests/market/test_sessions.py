"""The exchange's clock."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import Session
from research_lib.market.sessions import nanoseconds


def _ns(text: str) -> int:
    return int(pd.Timestamp(text).as_unit("ns").value)


def test_opening_follows_daylight_saving() -> None:
    opens, closes = Session().bounds([dt.date(2025, 1, 15), dt.date(2025, 4, 3)])
    assert opens.tolist() == [_ns("2025-01-15 14:30Z"), _ns("2025-04-03 13:30Z")]
    assert closes.tolist() == [_ns("2025-01-15 21:00Z"), _ns("2025-04-03 20:00Z")]


def test_minutes_start_on_the_minute() -> None:
    starts = Session(390).starts([dt.date(2025, 4, 3)])
    assert starts.shape == (1, 390)
    assert set(np.diff(starts[0]).tolist()) == {60_000_000_000}


@given(n=st.integers(1, 5000), data=st.data())
def test_interval_of_inverts_starts(n: int, data: st.DataObject) -> None:
    session = Session(n)
    t = data.draw(st.integers(0, n - 1))
    start = session.starts([dt.date(2025, 4, 3)])[0, t]
    # The start belongs to its own interval, the nanosecond before to the one before (or to none).
    assert session.interval_of(np.array([start]))[0] == t
    assert session.interval_of(np.array([start - 1]))[0] == t - 1


def test_times_outside_the_session_have_no_interval() -> None:
    times = np.array([_ns("2025-04-03 13:29:59Z"), _ns("2025-04-03 20:00Z"), _ns("2025-04-03 19:59:59Z")])
    assert Session(390).interval_of(times).tolist() == [-1, -1, 389]


def test_microsecond_times_become_the_same_nanoseconds() -> None:
    microseconds = pd.DatetimeIndex(["2025-04-03 13:30:00.125"], tz="UTC").as_unit("us")
    assert nanoseconds(microseconds).tolist() == [_ns("2025-04-03 13:30:00.125Z")]


def test_naive_times_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match="no time zone; localise"):
        nanoseconds(pd.DatetimeIndex(["2025-04-03 13:30"]))


def test_missing_times_are_refused_with_their_row() -> None:
    with pytest.raises(ValidationError, match="missing in 1 rows, first in row 1"):
        nanoseconds(pd.DatetimeIndex(["2025-04-03 13:30", None], tz="UTC"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_intervals": 0}, "n_intervals must be at least 1"),
        ({"timezone": "New_York"}, "timezone 'New_York' is unknown"),
        ({"open": "16:00", "close": "09:30"}, "open 16:00 is not before its close"),
        ({"open": "half past nine"}, 'not "HH:MM"'),
    ],
)
def test_impossible_sessions_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Session(**settings)  # type: ignore[arg-type]


def test_whole_hours_lie_where_their_interval_starts() -> None:
    hours, positions = Session(390).whole_hours()
    assert hours[0] == "10:00"
    assert positions[0] == pytest.approx(30)
    assert hours[-1] == "16:00"
    assert positions[-1] == pytest.approx(390)


def test_more_intervals_than_the_arithmetic_holds_are_refused() -> None:
    with pytest.raises(ValidationError, match="n_intervals must be at most"):
        Session(2_340_000)
    starts = Session(390_000).starts([dt.date(2025, 4, 3)])[0]
    assert (np.diff(starts) > 0).all()


def test_integers_that_cannot_be_nanoseconds_are_refused() -> None:
    microseconds = pd.DatetimeIndex(["2025-04-03 13:30"], tz="UTC").as_unit("us").asi8
    with pytest.raises(
        ValidationError, match=r"time looks like microseconds \(first 1743687000000000\), nanoseconds are due; convert"
    ):
        nanoseconds(microseconds)
