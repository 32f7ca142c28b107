"""Inputs of a portfolio schedule, measured where they can be; and the price of any schedule."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pandas as pd
import pytest
from helpers import real_data

from research_lib.errors import InsufficientDataError, ValidationError
from research_lib.execution import portfolio_schedule, price_portfolio
from research_lib.market import BookSnapshots, Session, preset, read_books, read_daily_bars
from research_lib.studies import Assets, ledoit_wolf, quoted_assets, synthetic_assets

SESSION = Session(26)
MARKET = {
    "covariance": np.array([[1.0, 0.6], [0.6, 1.0]]),
    "temporary": np.array([1e-6, 2e-6]),
    "interval": 0.1,
    "risk_aversion": 1e-5,
}


def test_synthetic_assets_are_as_their_presets() -> None:
    names = ["thin_stock", "wide_spread_stock"]
    found = synthetic_assets(
        names,
        [1e6, -1e6],
        SESSION,
        correlation=0.5,
        n_days=8,
        correlation_days=60,
        rng=np.random.default_rng(5),
    )
    for name in names:
        market, row = preset(name, SESSION), found.table.loc[name]
        daily = market.config.base_price * market.config.volatility_factor / np.sqrt(252)
        assert row["volatility"] == pytest.approx(daily, rel=0.2)
        assert row["half_spread"] == pytest.approx(market.true_curve.half_spread.mean(), rel=0.1)
        lowest, highest = re.findall(r"[\d,]+", row["impact_from"])
        size = 0.5 * (
            float(lowest.replace(",", "")) + float(highest.replace(",", ""))
        )  # the middle
        truth = float(market.true_curve.impact(size).mean())
        assert row["temporary"] * 26 * size == pytest.approx(truth, rel=0.15)
    assert np.linalg.eigvalsh(found.covariance).min() > 0
    assert found.covariance[0, 1] == pytest.approx(0.5 * np.prod(found.table["volatility"]))


def test_order_values_are_aligned_with_the_presets_by_label_or_refused() -> None:
    names, values = (
        ["thin_stock", "deep_stock"],
        pd.Series([-2e6, 1e6], ["deep_stock", "thin_stock"]),
    )
    drawn = {"correlation": 0.5, "n_days": 2, "correlation_days": 60}
    labelled, plain = (
        synthetic_assets(names, given, SESSION, rng=np.random.default_rng(5), **drawn)
        for given in (values, [1e6, -2e6])
    )
    pd.testing.assert_frame_equal(labelled.table, plain.table)
    other = values.rename({"deep_stock": "wide_spread_stock"})
    with pytest.raises(ValidationError, match="order_values is labelled"):
        synthetic_assets(names, other, SESSION, rng=np.random.default_rng(5), **drawn)


def test_the_market_of_assets_keeps_their_names() -> None:
    table = pd.DataFrame({"volatility": [1.0, 2.0], "temporary": [1e-6, 2e-6]}, ["A", "B"])
    table["half_spread"] = 0.01
    assets = Assets(table, np.array([[1.0, 0.6], [0.6, 1.0]]), "by hand", 60)
    market = {**assets.market(SESSION), "risk_aversion": 1e-5}
    turned, plain = (
        portfolio_schedule(orders, 26, **market)
        for orders in (pd.Series({"B": -2e5, "A": 1e5}), [1e5, -2e5])
    )
    np.testing.assert_allclose(
        turned.to_frame()[["A", "B"]], plain.to_frame(), rtol=1e-9, atol=1e-12 * 2e5
    )
    with pytest.raises(ValidationError, match="covariance is labelled A, B; the orders A, C"):
        portfolio_schedule(pd.Series({"A": 1e5, "C": 1.0}), 26, **market)


def test_children_that_no_book_fills_are_refused_by_the_stock_s_name() -> None:
    why = (
        r"wide_spread_stock: too few books fill walks of .* shares, "
        r"made for a mean child of .*; lower order_values"
    )
    with pytest.raises(InsufficientDataError, match=why):
        synthetic_assets(
            ["thin_stock", "wide_spread_stock"], [1e4, 1e8], SESSION, correlation=0.5, n_days=2,
            correlation_days=60, rng=np.random.default_rng(5),
        )  # fmt: skip


def _bars(days: pd.DatetimeIndex, names: str = "AB") -> dict[str, pd.DataFrame]:
    """Daily bars whose nights move ten times as far as their sessions."""
    rng, n = np.random.default_rng(1), len(days)
    session = 0.01 * (rng.normal(size=(len(names), n)) + rng.normal(size=n))
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.1, (len(names), n)) + session, axis=1))
    return {
        name: pd.DataFrame(
            {
                "open": last / np.exp(move),
                "close": last,
                "volume": 1e6,
                "return": np.diff(np.log(last), prepend=np.log(50.0)),
            },
            index=days,
        )
        for name, last, move in zip(names, close, session, strict=True)
    }


def test_quoted_assets_know_nothing_of_the_day_itself() -> None:
    days = pd.date_range("2020-01-01", periods=40, name="day")
    bars = _bars(days)
    one = quoted_assets(bars, {}, days[30].date(), SESSION, correlation_days=20)
    for table in bars.values():
        table.loc[days[30] :, ["open", "close", "volume", "return"]] = 1e3
    later = quoted_assets(bars, {}, days[30].date(), SESSION, correlation_days=20)
    pd.testing.assert_frame_equal(one.table, later.table)
    assert np.array_equal(one.correlation, later.correlation)
    assert one.known == later.known
    # One tick for a hundredth of the volume: 0.01 / (0.01 * 1e6).
    assert one.table["temporary"].tolist() == pytest.approx([1e-6, 1e-6])
    assert (one.table["spread_from"] == "one tick, the least there is").all()


def test_volatility_and_correlation_are_of_the_sessions_of_one_window() -> None:
    days = pd.date_range("2020-01-01", periods=90, name="day")
    bars = _bars(days, "ABC")
    found = quoted_assets(bars, {}, days[80].date(), SESSION, correlation_days=60)
    moves = pd.DataFrame({k: table["close"] / table["open"] - 1 for k, table in bars.items()})
    price = np.array([table["close"].iloc[79] for table in bars.values()])
    covariance, shrunk = ledoit_wolf(moves[20:80])
    assert found.covariance == pytest.approx(covariance * np.outer(price, price), rel=1e-12)
    assert found.table["volatility"].to_numpy() == pytest.approx(
        price * moves[20:80].std().to_numpy(), rel=1e-12
    )
    assert f"shrunk by {100 * shrunk:.0f} %" in found.known
    bars["B"]["open"] = bars["B"]["close"]
    with pytest.raises(ValidationError, match="B never moved from open to close on 60 days"):
        quoted_assets(bars, {}, days[80].date(), SESSION, correlation_days=60)


TRUTH = np.array([[4.0, 1.2, 0.4], [1.2, 1.0, 0.5], [0.4, 0.5, 2.0]])


def test_the_shrinkage_of_normal_returns_is_its_closed_form() -> None:
    """Of normal returns pi_ij = s_ii s_jj + s_ij^2 and Cov(s_ii, s_ij) = 2 s_ii s_ij (times 1 / T);
    over 400,000 days the estimate is off by about 1 %.
    """
    days, variance = 400_000, np.diag(TRUTH)
    deviation = np.sqrt(variance)
    off = ~np.eye(3, dtype=bool)
    mean = (TRUTH / np.outer(deviation, deviation))[off].mean()
    target = np.where(off, mean * np.outer(deviation, deviation), TRUTH)
    pi = np.outer(variance, variance) + TRUTH**2
    pull = np.outer(1 / deviation, deviation) * 2 * variance[:, None] * TRUTH
    expected = (pi[off].sum() - mean * pull[off].sum()) / ((target - TRUTH) ** 2).sum()
    moves = np.random.default_rng(3).multivariate_normal(np.zeros(3), TRUTH, days)
    covariance, shrunk = ledoit_wolf(moves)
    assert shrunk * days == pytest.approx(expected, rel=0.05)
    assert covariance == pytest.approx(np.cov(moves.T), rel=1e-3)


def test_shrinkage_errs_less_than_the_sample_where_pairs_are_alike() -> None:
    """Ten assets, every correlation 0.4, 20 days: squared error over 200 draws, at least four
    standard errors apart; volatilities stay the sample's.
    """
    rng, deviation = np.random.default_rng(4), np.linspace(1.0, 3.0, 10)
    truth = np.outer(deviation, deviation) * (0.4 + 0.6 * np.eye(10))
    gains = []
    for moves in rng.multivariate_normal(np.zeros(10), truth, (200, 20)):
        covariance, shrunk = ledoit_wolf(moves)
        sample = np.cov(moves.T)
        assert 0 <= shrunk <= 1
        assert np.diag(covariance) == pytest.approx(np.diag(sample))
        gains.append(((sample - truth) ** 2).sum() - ((covariance - truth) ** 2).sum())
    assert np.mean(gains) > 4 * np.std(gains) / np.sqrt(len(gains))


def test_one_pair_is_its_own_mean_and_is_not_shrunk() -> None:
    moves = np.random.default_rng(5).normal(size=(30, 2))
    assert ledoit_wolf(moves)[0] == pytest.approx(np.cov(moves.T), rel=1e-12)
    assert ledoit_wolf(moves[:, :1])[0] == pytest.approx(moves[:, :1].var(ddof=1), rel=1e-12)


@pytest.mark.slow
def test_real_quotes_give_the_spread_and_bars_the_rest() -> None:
    folder = real_data("lean_us_equity/daily/bac.zip").parents[1]
    bars = {
        name: read_daily_bars(folder / "daily" / f"{name.lower()}.zip") for name in ("BAC", "IBM")
    }
    quotes = {"BAC": read_books(folder / "tick" / "bac_20131007_quote.zip")}
    found = quoted_assets(bars, quotes, dt.date(2013, 10, 7), Session(78), correlation_days=250)
    assert found.table["half_spread"]["BAC"] == pytest.approx(0.005, rel=0.01)
    assert found.table["price"].tolist() == [14.05, 184.10]
    assert 0.2 < found.correlation[0, 1] < 0.4
    assert "2013-10-04" in found.known
    # Quotes of the day before are taken where there are any; else of the day, and it is said.
    assert found.table["spread_from"]["BAC"] == "quotes of 2013-10-07"
    days = [read_books(folder / "tick" / f"ibm_2013100{day}_quote.zip") for day in (7, 8)]
    tomorrow = dt.date(2013, 10, 8)
    both, first = (
        quoted_assets(bars, {"IBM": books}, tomorrow, Session(78), correlation_days=250)
        for books in (BookSnapshots.concat(days), days[0])
    )
    pd.testing.assert_frame_equal(both.table, first.table)
    assert both.table["spread_from"]["IBM"] == "quotes of 2013-10-07"
    with pytest.raises(ValidationError, match="IBM begin on 2013-10-08, after 2013-10-07"):
        quoted_assets(
            bars, {"IBM": days[1]}, dt.date(2013, 10, 7), Session(78), correlation_days=250
        )


def test_pricing_a_given_schedule_is_what_its_maker_expected() -> None:
    best = portfolio_schedule([1e5, -2e5], 10, **MARKET, half_spread=0.01)
    prices = {name: value for name, value in MARKET.items() if name != "risk_aversion"}
    given = price_portfolio(best.shares, **prices, half_spread=0.01)
    assert given.expected_cost == pytest.approx(best.expected_cost, rel=1e-12)
    assert given.variance == pytest.approx(best.variance, rel=1e-12)
    with pytest.raises(ValidationError, match=r"shares must be \(n, m\) and finite"):
        price_portfolio([[np.nan, 1.0]], **prices)
