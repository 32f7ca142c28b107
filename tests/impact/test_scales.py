"""Units are the user's: another price or size unit, or float32, changes no answer but its unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from research_lib import ImpactModel, ModelConfig
from research_lib.impact import (
    ImpactMoments,
    LinearImpact,
    cross_validate,
    fit_forms,
    residual_rows,
    residual_tests,
    slippage_curves,
    walk_book,
)
from research_lib.market import BookSnapshots, Session

N, SESSION = 13, Session(13)
SIZES = np.array([3.0, 7.0, 19.0, 41.0])
UNITS = [(1e-8, 1.0), (1e9, 1.0), (1.0, 1e-8), (1.0, 1e9), (1e-8, 1e-8), (1e9, 1e9), (1e-8, 1e9)]
FORMS = ("linear", "nonlinear", "power", "sqrt", "piecewise")


def books(price: float = 1.0, size: float = 1.0, dtype: type = float) -> BookSnapshots:
    """Six days of thirteen books of eight levels, some of which do not hold the largest size."""
    rng = np.random.default_rng(21)
    n, levels = 6 * N, 8
    mid = 20.0 + 0.01 * rng.integers(-50, 50, n)[:, None]
    away = 0.01 * (1 + np.arange(levels) + rng.integers(0, 3, (n, 1)))
    sizes = 2.0 + rng.integers(0, 12, (2, n, levels))
    days = pd.bdate_range("2024-03-04", periods=6).date
    sides = (mid - away, sizes[0], mid + away, sizes[1])
    units = (price, size, price, size)
    arrays = [(side * unit).astype(dtype) for side, unit in zip(sides, units, strict=True)]
    return BookSnapshots(SESSION.starts(days).ravel(), *arrays)


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    return slippage_curves(books(), SIZES, "buy").to_frame(N, SESSION)


def scaled(price: float, size: float) -> pd.DataFrame:
    return slippage_curves(books(price, size), size * SIZES, "buy").to_frame(N, SESSION)


@pytest.mark.parametrize(("price", "size"), UNITS)
def test_slippage_scales_with_the_price_alone(
    plain: pd.DataFrame, price: float, size: float
) -> None:
    frame = scaled(price, size)
    assert frame["censored"].tolist() == plain["censored"].tolist()
    assert frame["censored"].any()
    slippage = (frame["avg_slippage"] / price).to_numpy()
    assert slippage == pytest.approx(plain["avg_slippage"].to_numpy(), rel=1e-11)
    bps = frame["slippage_bps"].to_numpy()
    assert bps == pytest.approx(plain["slippage_bps"].to_numpy(), rel=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["interval", "pooled"])
@pytest.mark.parametrize(("price", "size"), UNITS)
def test_fits_of_every_form_scale_with_price_and_size(
    plain: pd.DataFrame, price: float, size: float, by: str
) -> None:
    settings = {"by": by, "n_intervals": N}
    before, after = (fit_forms(f, FORMS, **settings) for f in (plain, scaled(price, size)))
    for form in FORMS:
        one, other = before[form], after[form]
        for name in ("bounded", "widened", "fell_back", "completion"):
            assert other.diagnostics[name] == one.diagnostics[name], (form, name)
        for x in (2.0, 11.0, 30.0):
            got = other.curve.slippage(size * x) / price
            assert got == pytest.approx(one.curve.slippage(x), rel=1e-7, nan_ok=True), form
        for name, value in one.metrics.items():
            assert other.metrics[name] == pytest.approx(value, rel=1e-7, nan_ok=True), (form, name)
        error = other.band([11.0 * size], 0)["upper"].iloc[0] / price
        assert error == pytest.approx(one.band([11.0], 0)["upper"].iloc[0], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(("price", "size"), UNITS)
def test_moments_scale_too(price: float, size: float) -> None:
    curves = slippage_curves(books(), SIZES, "sell")
    other = slippage_curves(books(price, size), size * SIZES, "sell")
    one, two = (
        fit_forms(ImpactMoments.from_curves(c, N, SESSION), ["power", "piecewise"])
        for c in (curves, other)
    )
    for form in one:
        got = two[form].curve.slippage(size * 11.0) / price
        assert got == pytest.approx(one[form].curve.slippage(11.0), rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("price", "size"), UNITS)
def test_validation_and_diagnostics_give_the_same_numbers_in_bps(
    plain: pd.DataFrame, price: float, size: float
) -> None:
    frame, settings = scaled(price, size), {"n_intervals": N, "session": SESSION}
    before, after = (cross_validate(f, ["linear", "sqrt"], **settings) for f in (plain, frame))
    pd.testing.assert_frame_equal(before.table, after.table, rtol=1e-7)
    rows = [
        residual_rows(fit_forms(f, ["linear"], n_intervals=N)["linear"]) for f in (plain, frame)
    ]
    tests = [residual_tests(one) for one in rows]
    pd.testing.assert_frame_equal(*tests, rtol=1e-6)


def test_float32_input_is_read_as_the_numbers_it_holds(plain: pd.DataFrame) -> None:
    walked = slippage_curves(books(dtype=np.float32), SIZES.astype(np.float32), "buy")
    frame = walked.to_frame(N, SESSION)
    assert frame["censored"].tolist() == plain["censored"].tolist()
    # Prices of 20 in float32 are within 1e-6 of the true ones, slippages of 0.01 to 0.1.
    slippage = frame["avg_slippage"].to_numpy()
    assert slippage == pytest.approx(plain["avg_slippage"].to_numpy(), abs=2e-6)
    columns = {"avg_slippage", "half_spread", "trade_size", "mid_price"}
    narrow = plain.astype(dict.fromkeys(columns, np.float32))
    for form, fit in fit_forms(narrow, FORMS, n_intervals=N).items():
        wide = fit_forms(plain, [form], n_intervals=N)[form]
        assert fit.curve.slippage(11.0) == pytest.approx(wide.curve.slippage(11.0), rel=1e-4)
    curve = LinearImpact(np.array([1e-5, 2e-5], np.float32), np.float32(0.01))
    assert curve.cost(np.float32(1000)).dtype == np.float64
    held = walk_book(*(np.array(a, np.float32) for a in ([10, 11], [5, 5], [10])))
    assert held.tolist() == [10.5]


@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 1e9])
def test_default_trade_sizes_are_ten_whatever_the_size_of_a_share(size: float) -> None:
    """Whole shares would make all of them 0 where books hold thousandths of a coin."""
    config = ModelConfig(min_trade_size=2.0 * size, max_trade_size=1e6 * size)
    frame = ImpactModel("linear", config).estimate_slippage(books(size=size))
    sizes = frame["trade_size"].unique() / size
    assert len(sizes) == 10
    assert sizes[0] == pytest.approx(2.0)
    depth = np.median(books().ask_size.sum(axis=1))
    assert sizes[-1] == pytest.approx(depth, rel=0.01)
