"""The fit: exact recovery, honest errors, no look-ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from research_lib.errors import ModelFittingError, ValidationError
from research_lib.execution import allocate
from research_lib.impact import (
    ImpactCurve,
    ImpactFit,
    LinearImpact,
    QuadraticImpact,
    fit_forms,
    fit_impact,
    slippage_curves,
)
from research_lib.market import Session, preset, thin_stock

SIZES = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])


def observations(
    curve: ImpactCurve, n_days: int, rng: np.random.Generator | None = None, noise: float = 0.0
) -> pd.DataFrame:
    """A slippage frame of `n_days` drawn from a curve, one snapshot an interval; noise is common
    to a snapshot.
    """
    n = len(curve)
    session_length = 390 * 60 * 10**9
    days = pd.bdate_range("2024-03-04", periods=n_days)
    frames = []
    for day in days:
        opening = pd.Timestamp(f"{day.date()} 09:30", tz="America/New_York")
        for t in range(n):
            factor = 1.0 if rng is None else rng.lognormal(-0.5 * noise**2, noise)
            slippage = [curve.half_spread[t] + factor * (curve.impact(x)[t]) for x in SIZES]
            frames.append(
                pd.DataFrame({
                    "time": opening + pd.Timedelta(t * session_length // n, "ns"), "interval": t,
                    "side": "buy",
                    "trade_size": SIZES, "mid_price": 50.0, "half_spread": curve.half_spread[t],
                    "avg_slippage": slippage, "censored": False,
                })
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("family", "curve"),
    [
        ("linear", LinearImpact(np.array([1e-5, 3e-6, 2e-4]), np.array([0.01, 0.02, 0.3]))),
        (
            "nonlinear",
            QuadraticImpact(np.array([1e-9, 5e-8, 2e-10]), np.array([1e-5, 3e-6, 2e-4]), 0.02),
        ),
    ],
)
def test_noise_free_observations_return_the_coefficients(family: str, curve: ImpactCurve) -> None:
    fit = fit_impact(observations(curve, 3), family)
    for name in fit.params:
        assert fit.params[name].to_numpy() == pytest.approx(getattr(curve, name), rel=1e-8), name
    assert fit.metrics["train_r2"] == pytest.approx(1.0)
    assert fit.metrics["test_r2"] == pytest.approx(1.0)


def test_the_test_days_do_not_touch_what_is_tested(rng: np.random.Generator) -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 5, rng, noise=0.3)
    spoilt = frame.copy()
    last = spoilt["time"] >= spoilt["time"].max().normalize()
    spoilt.loc[last, "avg_slippage"] *= 10
    before, after = fit_impact(frame), fit_impact(spoilt)
    assert before.metrics["train_r2"] == after.metrics["train_r2"]
    assert before.observations["predicted"].equals(after.observations["predicted"])
    assert before.metrics["test_r2"] != after.metrics["test_r2"]
    assert before.information == (
        "fitted on all of 2024-03-04 to 2024-03-08 (5 sessions); "
        "the metrics fitted on 2024-03-04 to 2024-03-07 (4 sessions) and tested on 2024-03-08"
    )


def test_the_curve_uses_all_observations_whatever_the_test(rng: np.random.Generator) -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 5, rng, noise=0.3)
    assert fit_impact(frame).params.equals(fit_impact(frame, test_fraction=0).params)
    assert np.isnan(fit_impact(frame, test_fraction=0).metrics["test_r2"])


@pytest.mark.parametrize("n", [2, 5, 13, 40, 390])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_one_day_is_tested_on_blocks_of_times_with_gaps_beside_them(
    n: int, fraction: float
) -> None:
    fit = fit_impact(observations(LinearImpact(np.full(n, 1e-5), 0.01), 1), test_fraction=fraction)
    part = fit.observations.groupby("interval")["sample"].first().to_numpy()
    test, train = (np.flatnonzero(part == name) for name in ("test", "train"))
    assert len(test) == min(max(1, round(fraction * n)), n - 1)
    assert len(train) >= 1
    blocks = 1 + int(np.sum(np.diff(test) > 1))
    assert blocks <= 5
    gap = min(max(1, n // 39), (n - len(test)) // (4 * blocks))
    assert np.abs(test[:, None] - train).min() == gap + 1
    assert f"{gap} at each side of a block left out" in fit.information


def test_blocks_are_of_the_times_observed() -> None:
    frame = observations(LinearImpact(np.full(60, 1e-5), 0.01), 1)
    fit = fit_impact(frame[frame["interval"] < 30], n_intervals=60)
    assert fit.metrics["test_observations"] == 5 * 6
    assert "fitted on 20 intervals and tested on 6 others, in 2 blocks" in fit.information


def test_the_test_blocks_do_not_touch_what_is_tested(rng: np.random.Generator) -> None:
    frame = observations(LinearImpact(rng.lognormal(-11, 0.3, 40), 0.01), 1)
    before = fit_impact(frame)
    sample = before.observations["sample"].to_numpy()
    spoilt = frame.assign(half_spread=np.where(sample == "train", 0.01, 0.03))
    spoilt["avg_slippage"] *= np.where(sample == "train", 1.0, 10.0)
    after = fit_impact(spoilt)
    assert {"gap", "test"} < set(sample)
    assert before.observations["predicted"].equals(after.observations["predicted"])
    assert before.metrics["train_r2"] == after.metrics["train_r2"]
    test = after.observations[sample == "test"]
    missed = ((test["observed"] - test["predicted"]) ** 2).sum()
    own = ((test["observed"] - test["observed"].mean()) ** 2).sum()
    assert after.metrics["test_r2"] == pytest.approx(1 - missed / own)
    assert "each about its rows' own mean" in after.summary()


def test_coefficients_and_clustered_errors_equal_statsmodels(rng: np.random.Generator) -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 6, rng, noise=0.4)
    fit = fit_impact(frame, test_fraction=0)
    rows = frame[frame["interval"] == 1]
    reference = sm.OLS(rows["avg_slippage"] - rows["half_spread"], rows[["trade_size"]]).fit(
        cov_type="cluster", cov_kwds={"groups": rows["time"].astype("int64")}, use_t=True
    )
    assert fit.params["beta"][1] == pytest.approx(reference.params.iloc[0], rel=1e-10)
    assert fit.bse["beta"][1] == pytest.approx(reference.bse.iloc[0], rel=1e-8)
    lower, upper = fit.conf_int()
    assert [lower["beta"][1], upper["beta"][1]] == pytest.approx(
        reference.conf_int().iloc[0].tolist(), rel=1e-8
    )
    assert fit.diagnostics["errors"] == "clustered by session"


def test_r2_is_centred_on_the_evaluated_sets_own_mean(rng: np.random.Generator) -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 6, rng, noise=0.4)
    fit = fit_impact(frame)
    test = fit.observations[fit.observations["sample"] == "test"]
    residual = ((test["observed"] - test["predicted"]) ** 2).sum()
    own = ((test["observed"] - test["observed"].mean()) ** 2).sum()
    assert fit.metrics["test_r2"] == pytest.approx(1 - residual / own)
    assert fit.metrics["test_rmse_bps"] == pytest.approx(np.sqrt(residual / len(test)) / 50 * 1e4)


def test_censored_rows_are_counted_and_left_out() -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 3)
    frame.loc[frame["trade_size"] == 1600, ["censored", "avg_slippage"]] = [True, 0.0]
    fit = fit_impact(frame, test_fraction=0)
    assert fit.diagnostics["censored"] == 6
    assert fit.params["beta"].to_numpy() == pytest.approx([1e-5, 2e-5], rel=1e-10)
    assert fit.diagnostics["largest_size"].tolist() == [800.0, 800.0]


def test_the_half_spread_is_measured_not_fitted() -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 4)
    wide = frame["time"] < frame["time"].min() + pd.Timedelta(days=1)
    frame.loc[wide, ["half_spread", "avg_slippage"]] += 0.04
    fit = fit_impact(frame, test_fraction=0)
    assert fit.params["half_spread"].to_numpy() == pytest.approx([0.02, 0.02])
    # The four days' means are 0.05, 0.01, 0.01, 0.01: their standard deviation is 0.02.
    assert fit.bse["half_spread"].to_numpy() == pytest.approx(np.full(2, 0.02 / np.sqrt(4)))
    assert fit.params["beta"].to_numpy() == pytest.approx([1e-5, 2e-5])


def test_an_interval_with_too_few_observations_borrows_from_its_neighbours() -> None:
    curve = LinearImpact(np.array([1e-5, 9e-5, 3e-5]), 0.01)
    frame = observations(curve, 1)
    frame = frame[(frame["interval"] != 1) | (frame["trade_size"] > 800)]
    fit = fit_impact(frame, test_fraction=0, min_observations=5)
    assert fit.diagnostics["widened"] == [1]
    alone = fit_impact(frame, test_fraction=0, min_observations=1)
    assert alone.diagnostics["widened"] == []
    assert alone.params["beta"][1] == pytest.approx(9e-5)
    assert 1e-5 < fit.params["beta"][1] < 9e-5


def test_coefficients_are_held_at_zero_where_the_data_bend_down() -> None:
    concave = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 3)
    concave["avg_slippage"] = 0.01 + 1e-4 * np.sqrt(concave["trade_size"])
    fit = fit_impact(concave, "nonlinear", test_fraction=0)
    assert fit.params["alpha"].tolist() == [0.0, 0.0]
    assert fit.diagnostics["bounded"] == [0, 1]
    assert fit.bse["alpha"].isna().all()
    linear = fit_impact(concave, "linear", test_fraction=0)
    assert fit.params["beta"].to_numpy() == pytest.approx(linear.params["beta"].to_numpy())


def test_tolerance_decides_what_counts_as_zero() -> None:
    frame = observations(QuadraticImpact(np.array([1e-12, 1e-12]), np.array([1e-5, 2e-5]), 0.01), 3)
    assert (fit_impact(frame, "nonlinear", tolerance=1e-8).params["alpha"] > 0).all()
    assert (fit_impact(frame, "nonlinear", tolerance=1e-2).params["alpha"] == 0).all()


def test_too_little_to_fit_names_count_and_remedy() -> None:
    frame = observations(LinearImpact(np.array([1e-5]), 0.01), 1)
    with pytest.raises(
        ModelFittingError, match=r"5 uncensored training observations.*at least 50 are needed"
    ):
        fit_impact(frame, test_fraction=0, min_observations=50)
    with pytest.raises(
        ModelFittingError, match="1 distinct trade size does not determine 2 coefficients"
    ):
        fit_impact(
            observations(LinearImpact(np.ones(2) * 1e-5), 9)[::5], "nonlinear", test_fraction=0
        )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "trade_size",
            0.0,
            "column trade_size must be above 0: 1 of 10 rows are not, first in row 3",
        ),
        ("trade_size", -5.0, "column trade_size must be above 0"),
        ("avg_slippage", np.nan, "column avg_slippage must be a finite number"),
        ("mid_price", -1.0, "column mid_price must be above 0"),
        ("interval", -1, "column interval must be a whole number, 0 or more"),
        ("interval", 0.5, "column interval must be a whole number, 0 or more"),
        ("half_spread", -0.1, "column half_spread must be 0 or more"),
    ],
)
def test_bad_rows_are_refused(column: str, value: Any, message: str) -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 1).astype({"interval": float})
    frame.loc[3, column] = value
    with pytest.raises(ValidationError, match=message):
        fit_impact(frame)


def test_the_half_spreads_error_is_over_days_not_over_snapshots(rng: np.random.Generator) -> None:
    """Thirty snapshots of one interval a day share the day's level: only the days are
    independent.
    """
    frames = []
    for day in pd.bdate_range("2024-03-04", periods=6):
        level = rng.lognormal(-4, 0.5)
        time = pd.Timestamp(f"{day.date()} 10:00", tz="America/New_York") + pd.to_timedelta(
            np.arange(30), "s"
        )
        frames.append(pd.DataFrame({"time": time, "half_spread": level}))
    frame = pd.concat(frames, ignore_index=True).assign(
        interval=0, trade_size=100.0, mid_price=50.0, censored=False
    )
    frame["avg_slippage"] = frame["half_spread"] + 1e-3
    fit = fit_impact(frame, test_fraction=0)
    days = frame.groupby(frame["time"].dt.date)["half_spread"].first()
    assert fit.bse["half_spread"][0] == pytest.approx(days.sem())


def test_an_interval_with_one_distinct_size_borrows_for_two_coefficients() -> None:
    curve = QuadraticImpact(np.array([1e-9, 1e-9]), np.array([1e-5, 1e-5]), 0.01)
    frame = observations(curve, 6)
    frame.loc[(frame["interval"] == 1) & (frame["trade_size"] != 800), "censored"] = True
    fit = fit_impact(frame, "nonlinear", test_fraction=0)
    assert fit.diagnostics["widened"] == [1]
    assert fit.params["alpha"].to_numpy() == pytest.approx(curve.alpha, rel=1e-8)


def test_censored_must_be_true_or_false() -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 1).assign(censored="no")
    with pytest.raises(ValidationError, match="column censored must be true or false"):
        fit_impact(frame)


def test_unknown_family_missing_column_and_short_curve_are_refused() -> None:
    frame = observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 1)
    with pytest.raises(
        ValidationError, match="model_type 'liner' is unknown; did you mean 'linear'"
    ):
        fit_impact(frame, "liner")
    with pytest.raises(ValidationError, match="slippage frame lacks column half_spread"):
        fit_impact(frame.drop(columns="half_spread"))
    with pytest.raises(ValidationError, match="n_intervals must be at least 2, got 1"):
        fit_impact(frame, n_intervals=1)


def test_summary_names_what_was_known() -> None:
    fit = fit_impact(observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 3))
    assert fit.information in fit.summary()
    assert "linear impact, 2 intervals" in fit.summary()


OTHER_CHOICES = [
    {"by": "pooled"},
    {"estimator": "weighted"},
    {"errors": "hc3"},
    {"censoring": "drop"},
    {"shrinkage": "none"},
    {"min_observations": 4},
    {"min_observations": 6},
    {"tolerance": 1e-4},
    {"test_fraction": 0.4},
]


@pytest.mark.slow
def test_fit_impact_and_fit_forms_have_the_same_defaults(rng: np.random.Generator) -> None:
    """On data where every default matters: another choice would change the fit."""

    def same(one: ImpactFit, other: ImpactFit) -> bool:
        equal = (
            one.params.equals(other.params)
            and one.bse.equals(other.bse)
            and one.metrics == other.metrics
        )
        return equal and np.array_equal(one.curve.impact(700.0), other.curve.impact(700.0))

    bend = np.append(
        1e-13, rng.lognormal(-21, 0.3, 14)
    )  # nothing at a tolerance of 1e-4 in interval 0
    frame = observations(
        QuadraticImpact(bend, rng.lognormal(-11, 0.3, 15), 0.01), 6, rng, noise=0.2
    )
    snapshot, late = (
        np.arange(len(frame)) // 5,
        frame["time"] > frame["time"].min() + pd.Timedelta(days=1),
    )
    cut = (frame["trade_size"] > 800) & (snapshot % 3 == 0) & ~frame["interval"].isin([0, 4])
    frame = frame.assign(filled=np.where(cut, 900.0, frame["trade_size"]), censored=cut)
    few = late & (
        (frame["interval"] == 4) | ((frame["interval"] == 3) & (frame["trade_size"] < 1600))
    )
    frame = frame[~few]  # 5 rows in interval 4
    default = fit_impact(frame, "nonlinear")
    assert same(fit_forms(frame, ["nonlinear"])["nonlinear"], default)
    for options in OTHER_CHOICES:
        assert not same(fit_impact(frame, "nonlinear", **options), default), options  # type: ignore[arg-type]


def test_a_fit_shows_itself_as_a_table(rng: np.random.Generator) -> None:
    fit = fit_impact(observations(LinearImpact(np.array([1e-5, 2e-5]), 0.01), 3, rng, noise=0.2))
    table = fit.to_frame()
    assert list(table) == ["beta", "half_spread", "beta_se", "half_spread_se"]
    assert table["beta_se"].tolist() == fit.bse["beta"].tolist()


def test_a_schedule_beyond_the_sizes_that_a_fit_saw_is_warned_about() -> None:
    session = Session(13)
    books = preset("thin_stock", session).books(52, 6, np.random.default_rng(0))
    walked = slippage_curves(books, [100, 300, 1_000], "buy")
    for form in ("linear", "sqrt", "power", "nonlinear"):
        curve = fit_impact(walked, form, n_intervals=13, session=session).curve
        assert "exceed the largest size" in allocate(curve, 1e6).warnings[0]
        assert not allocate(curve, 1_000).warnings
        assert allocate(curve.take([0, 1]), 1e6).warnings


def test_a_first_group_alone_serves_all_the_others() -> None:
    session = Session(2)
    books = thin_stock(session).books(2, 10, np.random.default_rng(0))
    frame = slippage_curves(books, [100, 200, 300, 400, 500], "buy").to_frame(2, session)
    fit = fit_impact(frame, "linear", session=session, min_observations=2)
    assert np.isfinite(fit.metrics["test_r2"])
    first = frame[frame["interval"] == 0]
    alone = fit_impact(first, "linear", n_intervals=4, test_fraction=0, session=session)
    assert np.ptp(alone.curve.beta) == pytest.approx(0, abs=1e-12 * alone.curve.beta[0])


def test_a_free_market_is_refused_and_two_sides_are_named(caplog: pytest.LogCaptureFixture) -> None:
    books = thin_stock(Session(13)).books(26, 10, np.random.default_rng(0))
    buy, sell = (
        slippage_curves(books, [200, 500], side).to_frame(13, Session(13))
        for side in ("buy", "sell")
    )
    with pytest.raises(ValidationError, match="avg_slippage is mostly below 0: a cost is positive"):
        fit_impact(buy.assign(avg_slippage=-buy["avg_slippage"]), "linear")
    fit_impact(buy, "linear")
    assert "fit each side apart" not in caplog.text
    fit_impact(pd.concat([buy, sell]), "linear")
    assert "buys and sells are fitted by one curve; fit each side apart" in caplog.text


@pytest.mark.parametrize("alpha", [0, 2, 95])
def test_an_interval_is_of_a_chance_between_0_and_1(alpha: float) -> None:
    books = thin_stock(Session(13)).books(26, 10, np.random.default_rng(0))
    fit = fit_impact(slippage_curves(books, [200, 500], "buy").to_frame(13, Session(13)), "linear")
    for ask in (fit.conf_int, lambda alpha: fit.band([300.0], 0, alpha)):
        with pytest.raises(ValidationError, match="alpha must be"):
            ask(alpha)
