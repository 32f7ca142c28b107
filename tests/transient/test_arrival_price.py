"""Almgren and Chriss's parameters: recovered where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from research_lib.errors import ValidationError
from research_lib.execution import almgren_chriss
from research_lib.impact import LinearImpact, PowerImpact
from research_lib.market import BookSnapshots, OrderFlow, Session, thin_stock
from research_lib.transient import calibrate_almgren_chriss

SESSION = Session(78)
CURVE = LinearImpact(np.full(78, 2e-5), 0.02)


def _books() -> BookSnapshots:
    """Five days of books."""
    flow = OrderFlow(split_share=0.0)
    return thin_stock(SESSION).books(5 * 78, 2, np.random.default_rng(1), flow=flow)


def test_volatility_and_the_units_of_time() -> None:
    market = thin_stock(SESSION)
    per_interval = market.config.base_price * market.config.volatility_factor / np.sqrt(252 * 78)
    books = _books()
    found, hourly = (
        calibrate_almgren_chriss(books, CURVE, SESSION, interval=tau) for tau in (1.0, 5 / 60)
    )
    # Rounding to the tick adds tick^2 / 6 to every step's variance.
    expected = np.sqrt(per_interval**2 + 0.01**2 / 6)
    squares = np.diff(books.mid.reshape(5, 78)) ** 2
    error = squares.std() / np.sqrt(squares.size) / (2.0 * found["volatility"])
    assert found["volatility"] == pytest.approx(expected, abs=3 * error)
    assert hourly["volatility"] == pytest.approx(found["volatility"] * np.sqrt(12))
    assert hourly["temporary"] == pytest.approx(found["temporary"] / 12)
    costs = [almgren_chriss(1e3, 10, **p, risk_aversion=1e-3) for p in (found, hourly)]
    assert costs[0].shares == pytest.approx(costs[1].shares)
    assert costs[0].expected_cost == pytest.approx(costs[1].expected_cost)
    assert costs[0].half_life == pytest.approx(12 * costs[1].half_life)


def test_the_cost_of_a_child_is_the_linear_impacts() -> None:
    """(eta / tau) x^2 of Almgren and Chriss is beta x^2 of the book walk."""
    found = calibrate_almgren_chriss(_books(), CURVE, SESSION, interval=0.25)
    alone = almgren_chriss(500.0, 1, **found, risk_aversion=0)
    assert alone.expected_cost == pytest.approx(float(CURVE.cost(500.0)[0]), rel=1e-12)
    assert found["temporary"] == pytest.approx(2e-5 * 0.25)


def test_what_is_missing_is_said() -> None:
    books = _books()
    with pytest.raises(ValidationError, match="got PowerImpact; fit model_type='linear'"):
        calibrate_almgren_chriss(books, PowerImpact(1e-3, 0.5), SESSION)
    with pytest.raises(ValidationError, match="1 books hold 0 moves"):
        calibrate_almgren_chriss(books.take([0]), CURVE, SESSION)
