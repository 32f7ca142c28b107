"""Order flow and weighted means: by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib.errors import ValidationError
from research_lib.impact import order_flow_imbalance as exported
from research_lib.market import BookSnapshots, Session, order_flow_imbalance, summarise


def _quotes(rows: list[tuple[float, float, float, float]]) -> BookSnapshots:
    """(bid price, bid size, ask price, ask size) states a minute apart from 10:00 New York."""
    bid_price, bid_size, ask_price, ask_size = (
        column[:, None] for column in np.array(rows, float).T
    )
    start = pd.Timestamp("2025-04-03 10:00", tz="America/New_York").as_unit("ns").value
    return BookSnapshots(
        start + 60 * 10**9 * np.arange(len(rows)), bid_price, bid_size, ask_price, ask_size
    )


def test_order_flow_by_the_papers_cases() -> None:
    books = _quotes([
        (99, 10, 101, 20),
        (99, 15, 101, 20),  # a limit buy of 5: +5
        (100, 4, 101, 20),  # the bid improves with 4: +4
        (99, 15, 101, 20),  # and is taken out: -4
        (99, 15, 101, 12),  # 8 bought at the ask: +8
        (99, 15, 102, 30),  # the ask of 12 is taken out: +12
        (99, 15, 101, 6),  # a new ask of 6: -6
    ])  # fmt: skip
    assert order_flow_imbalance(books).tolist() == [5, 4, -4, 8, 12, -6]
    assert exported is order_flow_imbalance


def test_order_flow_is_unknown_next_to_an_empty_side_and_mirrors() -> None:
    books = _quotes([(99, 10, 101, 20), (99, 0, 101, 20), (99, 10, 101, 20)])
    assert np.isnan(order_flow_imbalance(books)).all()
    rng = np.random.default_rng(0)
    rows = [
        (100 - rng.integers(1, 4), rng.integers(1, 9), 100 + rng.integers(1, 4), rng.integers(1, 9))
        for _ in range(50)
    ]
    quotes = _quotes(rows)
    mirrored = _quotes([(200 - a, q_a, 200 - b, q_b) for b, q_b, a, q_a in rows])
    assert order_flow_imbalance(mirrored).tolist() == (-order_flow_imbalance(quotes)).tolist()


def test_event_and_time_weights_differ_as_they_should() -> None:
    start = pd.Timestamp("2025-04-03 09:30", tz="America/New_York").as_unit("ns").value
    hours = np.array([0, 1, 2, 3]) * 3600 * 10**9
    # Spread 2 for three states of an hour each, then 6 for the three and a half hours to the close.
    ask = np.array([101.0, 101.0, 101.0, 105.0])[:, None]
    books = BookSnapshots(
        start + hours, np.full((4, 1), 99.0), np.ones((4, 1)), ask, np.ones((4, 1))
    )
    assert summarise(books, Session(), "event")["spread"] == pytest.approx((3 * 2 + 6) / 4)
    assert summarise(books, Session(), "time")["spread"] == pytest.approx((3 * 2 + 3.5 * 6) / 6.5)
    with pytest.raises(ValidationError, match="weight 'volume' is unknown"):
        summarise(books, Session(), "volume")


def test_time_without_a_quote_counts_for_no_state() -> None:
    start = pd.Timestamp("2025-04-03 09:30", tz="America/New_York").as_unit("ns").value
    hours = np.array([0, 1, 6]) * 3600 * 10**9
    # Spread 2 for an hour, no bid for five, spread 6 for the last half hour.
    bid_size, ask = np.array([[1.0], [0.0], [1.0]]), np.array([[101.0], [101.0], [105.0]])
    books = BookSnapshots(start + hours, np.full((3, 1), 99.0), bid_size, ask, np.ones((3, 1)))
    assert summarise(books, Session(), "time")["spread"] == pytest.approx((2 * 1 + 6 * 0.5) / 1.5)
    with pytest.raises(
        ValidationError, match="no state of 1 is complete, in the session and quoted"
    ):
        summarise(books.take([1]), Session())


def test_order_flow_is_of_the_best_level_wherever_it_stands() -> None:
    time, ask, size = [10**18, 10**18 + 1], [[11.0, np.nan]] * 2, [[100.0, 0.0]] * 2
    moved = [[0.0, 100.0], [0.0, 130.0]]
    assert order_flow_imbalance(BookSnapshots(time, [[np.nan, 9.0]] * 2, moved, ask, size)) == [30]
    below = [[50.0, 100.0], [50.0, 130.0]]
    assert order_flow_imbalance(BookSnapshots(time, [[8.0, 9.0]] * 2, below, ask, size)) == [30]
