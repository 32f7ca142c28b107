"""Validation: held-out scores equal a loop written out, and the true form wins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from frames import SIZES, slippage_frame

from research_lib.errors import ModelFittingError
from research_lib.impact import (
    ImpactMoments,
    QuadraticImpact,
    cross_validate,
    fit_impact,
    slippage_curves,
)
from research_lib.market import BookSnapshots, Session

CURVE = QuadraticImpact(2e-8, np.linspace(1e-5, 3e-5, 6), np.linspace(0.03, 0.01, 6))


def noisy(n_days: int, rng: np.random.Generator, sd: float = 0.004) -> pd.DataFrame:
    return slippage_frame(CURVE, n_days, book_noise=rng.normal(0, sd, (n_days, 6, 1)))


def test_scores_equal_an_explicit_loop(rng: np.random.Generator) -> None:
    frame = noisy(5, rng)
    day = frame["time"].dt.tz_convert("America/New_York").dt.date
    days = sorted(day.unique())
    held, predicted, beyond = [], [], []
    for d in days:
        curve = fit_impact(frame[day != d], "linear", n_intervals=6, test_fraction=0).curve
        out = frame[day == d]
        held.append(out)
        predicted.append(curve.take(out["interval"]).slippage(out["trade_size"].to_numpy()))
        beyond.append(curve.take(out["interval"]).impact(out["trade_size"].to_numpy()))
    observed, said = pd.concat(held), np.concatenate(predicted)
    error, centred = (
        observed["avg_slippage"] - said,
        observed["avg_slippage"] - observed["avg_slippage"].mean(),
    )
    impact = observed["avg_slippage"] - observed["half_spread"]
    missed = impact - np.concatenate(beyond)
    found = cross_validate(frame, ["linear"])
    row = found.table.loc["linear"]
    assert row["r2"] == pytest.approx(1 - (error**2).sum() / (centred**2).sum(), abs=1e-12)
    assert row["rmse_bps"] == pytest.approx(1e4 * np.sqrt(np.mean((error / 50.0) ** 2)), rel=1e-12)
    assert row["impact_r2"] == pytest.approx(
        1 - (missed**2).sum() / ((impact - impact.mean()) ** 2).sum(), abs=1e-12
    )
    assert row["observations"] == len(observed)
    last = 1e4 * np.sqrt(np.mean((error.iloc[-30:] / 50.0) ** 2))
    assert found.by_unit["linear"].iloc[-1] == pytest.approx(last, rel=1e-12)


def test_noise_free_observations_of_the_form_are_predicted_exactly() -> None:
    found = cross_validate(slippage_frame(CURVE, 3), ["nonlinear", "linear"])
    assert found.table.loc["nonlinear", "r2"] == pytest.approx(1.0, abs=1e-12)
    assert found.table.loc["nonlinear", "rmse_bps"] < 1e-6
    assert found.table.index[0] == "nonlinear"


@pytest.mark.slow
def test_the_true_form_wins_and_is_named(rng: np.random.Generator) -> None:
    found = cross_validate(noisy(12, rng), ["linear", "nonlinear", "sqrt"])
    assert found.table.index.tolist() == ["nonlinear", "linear", "sqrt"]


def test_moments_give_the_scores_of_rows(synthetic_books: BookSnapshots) -> None:
    session = Session(13)
    curves = slippage_curves(synthetic_books, [50.0, 100.0, 200.0, 400.0], "buy")
    moments = ImpactMoments.from_curves(curves, 13, session)
    frame = curves.to_frame(13, session)
    ours, theirs = (
        cross_validate(x, ["linear", "sqrt"], session=session, n_intervals=13)
        for x in (moments, frame)
    )
    pd.testing.assert_frame_equal(ours.table, theirs.table, rtol=1e-8)


def test_within_one_day_blocks_are_predicted(rng: np.random.Generator) -> None:
    found = cross_validate(noisy(1, rng), ["linear", "nonlinear"], n_blocks=3)
    assert found.by_unit.index.tolist()[1:] == ["intervals 2 to 3", "intervals 4 to 5"]


def test_sizes_that_books_often_cannot_fill_are_not_scored(rng: np.random.Generator) -> None:
    frame = noisy(4, rng)
    largest = np.flatnonzero(frame["trade_size"] == SIZES[-1])
    frame.loc[largest[::2], "censored"] = True
    found = cross_validate(frame, ["linear"])
    assert found.table.loc["linear", "observations"] == 4 * 6 * 4
    assert found.sizes.tolist() == [100.0, 200.0, 400.0, 800.0]
    assert (
        cross_validate(frame, ["linear"], most_censored=0.5).table.loc["linear", "observations"]
        == 4 * 6 * 4 + 12
    )
    everything = frame.assign(censored=frame.index % 2 == 0)
    with pytest.raises(ModelFittingError, match="of a size that at most 5%"):
        cross_validate(everything, ["linear"])


def test_a_rarely_censored_size_loses_its_censored_rows_only(rng: np.random.Generator) -> None:
    """One day of ten does not fill the largest size: 10 % of the books."""
    frame = noisy(10, rng)
    frame.loc[np.flatnonzero(frame["trade_size"] == SIZES[-1])[:6], "censored"] = True
    for most, scored in ((0.1, 10 * 6 * 5 - 6), (0.099, 10 * 6 * 4)):
        assert (
            cross_validate(frame, ["linear"], most_censored=most).table.loc[
                "linear", "observations"
            ]
            == scored
        )
