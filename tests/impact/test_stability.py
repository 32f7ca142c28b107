"""Days and sides: influence, drift and difference equal their closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import slippage_frame
from scipy import stats

from research_lib.errors import ValidationError
from research_lib.impact import (
    ImpactMoments,
    LinearImpact,
    PowerImpact,
    buy_against_sell,
    coefficient_stability,
    fit_impact,
    impact_level,
    influence_by_day,
    slippage_curves,
)
from research_lib.market import BookSnapshots, Session

N = 13
CURVE = LinearImpact(np.full(N, 2e-5), 0.01)


def scaled_days(factors: list[float]) -> pd.DataFrame:
    """Days whose impact is a factor times the curve's, without noise."""
    frame = slippage_frame(CURVE, len(factors))
    impact = (frame["avg_slippage"] - frame["half_spread"]) * np.repeat(factors, N * 5)
    return frame.assign(avg_slippage=frame["half_spread"] + impact)


def test_an_outlying_day_has_the_largest_influence() -> None:
    found = influence_by_day(scaled_days([1.0, 1.02, 2.0, 0.98, 1.0]))
    assert found.table.index[0] == "2024-03-06"
    assert "Without 2024-03-06" in found.reading
    assert found.reading.endswith(": 1 of 5 days decide more than a standard error.")
    assert influence_by_day(scaled_days([1.0, 1.02, 0.97, 0.98, 1.03])).reading.endswith(
        ": none of 5 days decide more than a standard error."
    )


def test_leaving_a_day_out_gives_the_mean_of_the_others() -> None:
    factors = [1.0, 1.3, 0.8, 1.1]
    found = influence_by_day(scaled_days(factors)).table.sort_index()
    others = (np.sum(factors) - np.array(factors)) / 3
    assert found["beta"].tolist() == pytest.approx((2e-5 * others).tolist(), rel=1e-9)
    assert found["change_%"].tolist() == pytest.approx(
        (100 * (others / np.mean(factors) - 1)).tolist(), rel=1e-9
    )
    assert found["leverage"].tolist() == pytest.approx([0.25] * 4)


def test_leverage_is_the_share_of_the_information() -> None:
    frame = scaled_days([1.0, 1.1, 0.9])
    thinned = frame.drop(frame.index[: N * 5][frame["trade_size"].iloc[: N * 5] == 1600.0])
    found = influence_by_day(thinned).table.sort_index()
    squares = thinned.groupby(thinned["time"].dt.date)["trade_size"].apply(lambda x: (x**2).sum())
    assert found["leverage"].tolist() == pytest.approx((squares / squares.sum()).tolist())


def test_influence_from_moments_is_that_of_rows(synthetic_books: BookSnapshots) -> None:
    session = Session(13)
    curves = slippage_curves(synthetic_books, [50.0, 100.0, 200.0], "sell")
    moments, frame = ImpactMoments.from_curves(curves, 13, session), curves.to_frame(13, session)
    ours, theirs = (influence_by_day(x, "power", session=session).table for x in (moments, frame))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6)


def test_within_one_day_blocks_are_left_out() -> None:
    frame = slippage_frame(LinearImpact(np.r_[np.full(9, 2e-5), np.full(4, 6e-5)], 0.01), 1)
    found = influence_by_day(frame, n_blocks=3)
    assert found.table.index[0] == "intervals 9 to 12"
    assert found.table.index.name == "block"


def test_the_levels_error_follows_from_the_coefficients() -> None:
    rng = np.random.default_rng(5)
    frame = slippage_frame(
        PowerImpact(np.full(N, 1e-4), 0.7, 0.01), 6, row_noise=rng.normal(0, 1e-4, (6, N, 5))
    )
    fit = fit_impact(frame, "power", by="pooled", test_fraction=0)
    band = fit.band([400.0], 0)
    level, error = impact_level(fit, 400.0)
    assert level + fit.params["half_spread"][0] == pytest.approx(band["slippage"].iloc[0])
    reach = stats.t.ppf(0.975, fit.dof[0]) * np.hypot(error, fit.bse["half_spread"][0])
    assert band["upper"].iloc[0] - band["slippage"].iloc[0] == pytest.approx(reach)


def test_equal_days_are_not_distinguished_and_a_drift_is() -> None:
    rng = np.random.default_rng(11)
    noise = rng.normal(0, 2e-3, (12, N, 1))
    still = coefficient_stability(slippage_frame(CURVE, 12, book_noise=noise))
    assert still.trend_p > 0.05
    assert "no trend" in still.reading
    drift = scaled_days((1.0 + 0.05 * np.arange(12)).tolist())
    drift["avg_slippage"] += np.repeat(1e-2 * noise.ravel(), 5)
    moved = coefficient_stability(drift)
    assert moved.trend == pytest.approx(0.05 / (1 + 0.05 * 5.5), rel=0.05)
    assert moved.trend_p < 1e-6
    assert moved.heterogeneity_p < 1e-6
    assert "differ by more than their errors" in moved.reading
    assert "a trend" in moved.reading
    assert "no trend" not in moved.reading


def test_heterogeneity_is_cochrans_q_and_the_scatter_dersimonians() -> None:
    frame = slippage_frame(CURVE, 6, book_noise=np.random.default_rng(3).normal(0, 4e-3, (6, N, 1)))
    found = coefficient_stability(frame, errors="snapshot")
    level, weight = found.table["level"], found.table["error"] ** -2.0
    q = float((weight * (level - (weight * level).sum() / weight.sum()) ** 2).sum())
    assert found.heterogeneity_p == pytest.approx(stats.chi2.sf(q, 5))
    spare = weight.sum() - (weight**2).sum() / weight.sum()
    assert found.between == pytest.approx(np.sqrt(max(q - 5, 0.0) / spare) / level.mean())


def test_each_days_level_is_its_own_fit() -> None:
    frame = scaled_days([1.0, 1.2, 0.7])
    table = coefficient_stability(frame, errors="snapshot").table
    assert (table["level"] / 400.0).tolist() == pytest.approx([2e-5, 2.4e-5, 1.4e-5], rel=1e-9)


def test_more_expensive_sells_are_measured_and_named() -> None:
    buys = slippage_frame(CURVE, 5)
    sells = slippage_frame(LinearImpact(1.2 * CURVE.beta, 0.01), 5, side="sell")
    found = buy_against_sell(pd.concat([buys, sells], ignore_index=True))
    assert found.mean == pytest.approx(100 * (1 - 1.2) / 1.1, rel=1e-9)
    assert found.reading.startswith("Buying 400 shares has 18.2 % less impact than selling them")
    assert found.reading.endswith("the sides differ, fit them apart.")
    same = pd.concat([buys, buys.assign(side="sell")], ignore_index=True)
    alike = buy_against_sell(same)
    assert alike.table["difference_%"].abs().max() == 0
    assert alike.reading.endswith("the sides are not statistically distinguishable.")


def test_one_side_alone_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"sides \['buy'\], both buy and sell are needed"):
        buy_against_sell(slippage_frame(CURVE, 3))


def test_books_without_impact_leave_nothing_to_compare() -> None:
    """A level-1 book priced beyond its depth has the touch for every size: impact 0 on every
    day.
    """
    frame = scaled_days([0.0] * 5)
    assert "no impact beyond the touch" in influence_by_day(frame).reading
    assert "no impact beyond the touch" in coefficient_stability(frame).reading
