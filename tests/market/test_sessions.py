"""The exchange's clock."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from research_lib.errors import ValidationError
from research_lib.market import BookSnapshots, Session


def _ns(text: str) -> int:
    return int(pd.Timestamp(text).as_unit("ns").value)


def _at(time: object) -> BookSnapshots:
    """The same one-level book at each time."""
    n = len(time)  # type: ignore[arg-type]
    return BookSnapshots(
        time, np.full((n, 1), 1.0), np.ones((n, 1)), np.full((n, 1), 2.0), np.ones((n, 1))
    )  # type: ignore[arg-type]


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
    times = np.array(
        [_ns("2025-04-03 13:29:59Z"), _ns("2025-04-03 20:00Z"), _ns("2025-04-03 19:59:59Z")]
    )
    assert Session(390).interval_of(times).tolist() == [-1, -1, 389]


def test_microsecond_times_become_the_same_nanoseconds() -> None:
    microseconds = pd.DatetimeIndex(["2025-04-03 13:30:00.125"], tz="UTC").as_unit("us")
    assert _at(microseconds).time.tolist() == [_ns("2025-04-03 13:30:00.125Z")]


def test_naive_times_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValidationError, match="no time zone; localise"):
        _at(pd.DatetimeIndex(["2025-04-03 13:30"]))


def test_missing_times_are_refused_with_their_row() -> None:
    with pytest.raises(
        ValidationError, match="must not be missing: 1 of 2 rows are not, first in row 1"
    ):
        _at(pd.DatetimeIndex(["2025-04-03 13:30", None], tz="UTC"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_intervals": 0}, "n_intervals must be at least 1"),
        ({"timezone": "New_York"}, "timezone 'New_York' is unknown"),
        ({"n_intervals": "390"}, "n_intervals must be an integer, got '390'"),
        ({"timezone": "America"}, "timezone 'America' is unknown"),
        ({"timezone": None}, "timezone None is unknown"),
        (
            {"open": "16:00", "close": "09:30"},
            "session 16:00-09:30 .* must follow one another within a day; set opens_day_before",
        ),
        ({"open": "half past nine"}, "open 'half past nine' is not a time of day"),
        ({"open": "09:30+02:00"}, r"open '09:30\+02:00' is not a time of day"),
        ({"open": "24:00"}, "session 24:00-16:00 .* must follow one another"),
        ({"close": "24:01"}, "close '24:01' is not a time of day"),
        ({"close": 960}, "close 960 is not a time of day .* quoted in YAML"),
        ({"open": "9:30"}, r'open \'9:30\' is not a time of day "HH:MM"'),
        ({"breaks": "11:30-12:30"}, r"breaks must be a list of pairs: '11:30-12:30'"),
        ({"breaks": [("11:30",)]}, "breaks must be a list of"),
        ({"breaks": [("12:30", "11:30")]}, "open, breaks and close must follow one another"),
        ({"breaks": [("09:30", "10:30")]}, "must follow one another"),
        ({"breaks": [("13:00", "14:00"), ("11:00", "12:00")]}, "must follow one another"),
        ({"breaks": [("11:30", 750)]}, "break 750 is not a time of day"),
        (
            {"open": "16:00", "close": "17:00", "opens_day_before": True},
            "must follow one another within a day",
        ),
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
    starts = Session(100_000).starts([dt.date(2025, 4, 3)])[0]
    assert (np.diff(starts) > 0).all()


def test_integers_that_cannot_be_nanoseconds_are_refused() -> None:
    microseconds = pd.DatetimeIndex(["2025-04-03 13:30"], tz="UTC").as_unit("us").asi8
    with pytest.raises(
        ValidationError,
        match=r"time looks like microseconds \(first 1743687000000000\), nanoseconds are due; convert",
    ):
        _at(microseconds)


def test_a_session_is_made_of_what_yaml_holds() -> None:
    settings = yaml.safe_load(
        """
        n_intervals: 78
        open: "09:30"
        close: "16:00"
        timezone: America/New_York
        breaks: [["11:30", "12:30"]]
        """
    )
    assert Session(**settings) == Session(78, breaks=[("11:30", "12:30")])


def test_a_venue_that_never_closes_has_no_time_outside() -> None:
    session = Session(24, "00:00", "24:00", "UTC")
    times = np.array(
        [_ns("2025-04-03 00:00Z"), _ns("2025-04-03 23:59:59.999999999Z"), _ns("2025-04-04 00:00Z")]
    )
    assert session.interval_of(times).tolist() == [0, 23, 0]
    assert session.whole_hours()[0][-1] == "24:00"
    assert session.whole_hours()[1][-1] == 24


def test_days_in_which_clocks_change_have_23_and_25_hours() -> None:
    opens, closes = Session(24, "00:00", "24:00").bounds(
        [dt.date(2025, 3, 9), dt.date(2025, 11, 2)]
    )
    assert ((closes - opens) / 3.6e12).tolist() == [23.0, 25.0]


def test_an_opening_that_the_clock_skips_is_the_next_time_that_exists() -> None:
    opens, _ = Session(1, "02:30", "16:00").bounds([dt.date(2025, 3, 9)])
    assert opens.tolist() == [_ns("2025-03-09 07:00Z")]
    opens, _ = Session(1, "01:30", "16:00").bounds([dt.date(2025, 11, 2)])  # comes twice
    assert opens.tolist() == [_ns("2025-11-02 05:30Z")]


def test_a_session_of_futures_belongs_to_the_date_of_its_close() -> None:
    globex = Session(23, "18:00", "17:00", opens_day_before=True)
    monday = dt.date(2024, 7, 1)
    opens, closes = globex.bounds([monday])
    assert (opens[0], closes[0]) == (_ns("2024-06-30 22:00Z"), _ns("2024-07-01 21:00Z"))
    times = np.array(
        [opens[0], opens[0] + 6 * 3600 * 10**9, closes[0] - 1, closes[0], opens[0] - 1]
    )
    assert globex.days(times).tolist() == [monday] * 4 + [dt.date(2024, 6, 30)]
    assert globex.interval_of(times).tolist() == [0, 6, 22, -1, -1]
    assert globex.whole_hours()[0][:8] == [
        "18:00",
        "19:00",
        "20:00",
        "21:00",
        "22:00",
        "23:00",
        "00:00",
        "01:00",
    ]


TOKYO = Session(66, "09:00", "15:30", "Asia/Tokyo", breaks=[("11:30", "12:30")])
LONDON = Session(
    7, "08:00", "16:30", "Europe/London", breaks=(("10:00", "10:07"), ("12:00", "12:02"))
)


def test_a_break_is_no_trading_time() -> None:
    day = dt.date(2025, 4, 3)
    starts = TOKYO.starts([day])[0]
    assert starts[[0, 29, 30, 65]].tolist() == [
        _ns(f"2025-04-03 {at}+09:00") for at in ("09:00", "11:25", "12:30", "15:25")
    ]
    times = np.array(
        [
            _ns(f"2025-04-03 {at}+09:00")
            for at in ("11:29:59", "11:30", "12:29:59", "12:30", "15:29", "15:30")
        ]
    )
    assert TOKYO.interval_of(times).tolist() == [29, -1, -1, 30, 65, -1]
    traded, length = TOKYO.traded_ns(times)
    assert (traded[[1, 2, 3]] / 60e9).tolist() == [150, 150, 150]
    assert (length / 60e9 == 330).all()
    opened = TOKYO.opened([day])[0]
    assert (opened[:30] == starts[0]).all()
    assert (opened[30:] == starts[30]).all()
    assert TOKYO.hours == "09:00-11:30, 12:30-15:30 Asia/Tokyo"
    hours, positions = TOKYO.whole_hours()
    assert hours == ["09:00", "10:00", "11:00", "13:00", "14:00", "15:00"]
    assert positions == pytest.approx([0, 12, 24, 36, 48, 60])


def test_an_interval_that_a_break_cuts_goes_on_after_it() -> None:
    session = Session(
        3, "09:00", "15:30", "Asia/Tokyo", breaks=[("11:30", "12:30")]
    )  # 110 minutes each
    starts = session.starts([dt.date(2025, 4, 3)])[0]
    assert starts.tolist() == [_ns(f"2025-04-03 {at}+09:00") for at in ("09:00", "10:50", "13:40")]


def test_breaks_follow_daylight_saving_and_the_evening_before() -> None:
    for day, offset in ((dt.date(2025, 3, 28), "+00:00"), (dt.date(2025, 3, 31), "+01:00")):
        times = np.array(
            [_ns(f"{day} {at}{offset}") for at in ("09:59:59", "10:00", "10:06:59", "10:07")]
        )
        assert (LONDON.interval_of(times) == -1).tolist() == [False, True, True, False]
    night = Session(
        6, "18:00", "17:00", opens_day_before=True, breaks=[("23:30", "00:30"), ("16:00", "16:30")]
    )
    times = np.array(
        [
            _ns(f"2024-07-0{at}-04:00")
            for at in ("1 23:45", "2 00:15", "2 00:30", "2 16:15", "2 16:45")
        ]
    )
    assert (night.interval_of(times) == -1).tolist() == [True, True, False, True, False]


SESSIONS = (
    Session(390),
    TOKYO,
    LONDON,
    Session(7, "00:00", "24:00"),
    Session(46, "18:00", "17:00", opens_day_before=True),
    Session(5, "00:00", "24:00", "Africa/Cairo"),
)


@given(st.sampled_from(SESSIONS), st.dates(dt.date(2023, 1, 1), dt.date(2025, 12, 31)))
def test_every_start_lies_in_its_own_day_and_interval(session: Session, day: dt.date) -> None:
    starts = session.starts([day])[0]
    assert (session.days(starts) == day).all()
    assert session.interval_of(starts).tolist() == list(range(session.n_intervals))


def _length_hours(session: Session, *days: dt.date) -> list[float]:
    opens, closes = session.bounds(days)
    return ((closes - opens) / 3.6e12).tolist()


THANKSGIVING_FRIDAY, CHRISTMAS_EVE = dt.date(2023, 11, 24), dt.date(2024, 12, 24)


def test_half_days_and_holidays_are_known_from_the_calendar() -> None:
    session = Session(7)
    friday_before = dt.date(2023, 11, 17)
    assert _length_hours(session, THANKSGIVING_FRIDAY, friday_before) == [3.5, 6.5]
    late = np.array([_ns(f"{THANKSGIVING_FRIDAY} 13:30-05:00"), _ns("2023-11-17 13:30-05:00")])
    assert session.interval_of(late).tolist() == [-1, 4]
    days = session.trading_days(dt.date(2023, 11, 22), dt.date(2023, 11, 27))
    assert [day.day for day in days] == [22, 24, 27]  # neither Thanksgiving nor the weekend
    assert len(session.trading_days(dt.date(2023, 12, 29), dt.date(2024, 1, 3))) == 3
    assert _length_hours(Session(7), dt.date(1911, 1, 3)) == [6.5]  # nothing is known that early


def test_other_exchanges_are_known_by_their_mic() -> None:
    london = Session(17, "08:00", "16:30", "Europe/London", calendar="XLON")
    assert _length_hours(london, CHRISTMAS_EVE, dt.date(2024, 12, 23)) == [4.5, 8.5]
    evening = Session(1, "13:30", "17:00", "Europe/London", calendar="XLON")
    assert _length_hours(evening, CHRISTMAS_EVE) == [3.5]  # after the early close: left whole
    tokyo = Session(66, "09:00", "15:30", "Asia/Tokyo", calendar="XTKS")
    assert dt.date(2025, 1, 3) not in tokyo.trading_days(dt.date(2025, 1, 1), dt.date(2025, 1, 8))
    with pytest.raises(ValidationError, match="calendar 'XNYX' is unknown; did you mean 'XNYS'"):
        Session(calendar="XNYX")
    with pytest.raises(
        ValidationError, match="is not of America/New_York; write timezone='Asia/Tokyo'"
    ):
        Session(calendar="XTKS")


def test_a_venue_that_never_closes_is_cut_into_blocks() -> None:
    hours = Session(60, block="1h")
    times = np.array(
        [_ns(f"2025-03-09 {at}Z") for at in ("05:59:59", "06:00", "06:59:59", "07:00")]
    )
    assert hours.days(times).tolist() == [dt.datetime(2025, 3, 9, hour) for hour in (5, 6, 6, 7)]
    assert hours.interval_of(times).tolist() == [59, 0, 59, 0]
    starts = hours.starts(hours.days(times[:1]))[0]
    assert set(np.diff(starts).tolist()) == {60 * 10**9}
    sampled = _at(times).sample(hours)
    assert len(sampled) == 180
    assert hours.hours == "blocks of 1h around the clock"
    assert hours.whole_hours() == (["00:00", "01:00"], [0.0, 60.0])
    for wrong in (
        {"block": "7h"},
        {"block": "soon"},
        {"block": "1h", "breaks": [("11:30", "12:30")]},
    ):
        with pytest.raises(ValidationError, match="block"):
            Session(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factor", "name"), [(1, "seconds"), (1_000, "milliseconds"), (1_000_000, "microseconds")]
)
def test_integers_of_a_coarser_unit_are_refused_by_its_name(factor: int, name: str) -> None:
    seconds = 1_743_687_000 + np.arange(3)
    with pytest.raises(ValidationError, match=f"time looks like {name} .*time_unit="):
        _at(seconds * factor)


def test_a_half_day_ends_its_breaks_and_keeps_its_intervals() -> None:
    """Hong Kong closes for New Year's Eve at noon, where its lunch begins."""
    hours = {"timezone": "Asia/Hong_Kong", "breaks": [("12:00", "13:00")], "calendar": "XHKG"}
    session = Session(66, "09:30", "16:00", **hours)  # type: ignore[arg-type]
    half = session.starts([dt.date(2024, 12, 31)])[0]
    assert half[-1] < _ns("2024-12-31 12:00+08:00")
    assert len(set(np.diff(half).tolist())) <= 2  # 150 minutes in 66 parts, to the nanosecond
    late = np.array([_ns(f"2024-12-31 {at}+08:00") for at in ("12:15", "15:00")])
    traded, length = session.traded_ns(late)
    assert traded.tolist() == length.tolist() == [150 * 60 * 10**9] * 2


def test_the_calendar_counts_for_its_own_hours_only() -> None:
    assert _length_hours(Session(7, calendar=None), THANKSGIVING_FRIDAY) == [6.5]
    assert _length_hours(Session(7, "09:30", "15:00"), THANKSGIVING_FRIDAY) == [5.5]  # other hours


def test_times_in_a_coarser_unit_are_no_nanoseconds_of_a_session() -> None:
    index = pd.DatetimeIndex(["2024-07-05 13:30Z"])
    assert Session().interval_of(index).tolist() == [0]
    assert [str(day) for day in Session().days(index)] == ["2024-07-05"]
    for unit, name in (("ms", "milliseconds"), ("us", "microseconds")):
        for ask in (Session().interval_of, Session().days, Session().traded_ns):
            with pytest.raises(ValidationError, match=f"looks like {name}"):
                ask(index.as_unit(unit).asi8)


@pytest.mark.parametrize("block", [60, "60", "1ms"])
def test_a_block_without_its_unit_is_refused(block: object) -> None:
    with pytest.raises(ValidationError, match=rf"block {block!r} must divide a day"):
        Session(block=block)
