"""Results alone in a cell: a short repr and a small table, whatever their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from research_lib import ImpactModel, ModelConfig, OptimizerConfig, TradeAllocator
from research_lib.config import Record
from research_lib.errors import ValidationError
from research_lib.evaluation import replay
from research_lib.execution import allocate, almgren_chriss, twap
from research_lib.impact import (
    ExponentialKernel,
    LinearImpact,
    PowerImpact,
    fit_impact,
    slippage_curves,
)
from research_lib.market import Session, SyntheticMarket

N = 39
MAX_REPR, MAX_TABLE = 200, 12_000  # characters; of a table of twenty rows and a dozen columns


def _books() -> object:
    return SyntheticMarket(session=Session(N)).books(2 * N, 5, np.random.default_rng(1))


def _fit() -> object:
    frame = slippage_curves(_books(), [100.0, 300.0, 900.0], "buy").to_frame(session=Session(N))
    return fit_impact(frame, "linear", n_intervals=N, test_fraction=0)


def _result() -> object:
    model = ImpactModel(config=ModelConfig(progress_logging=False))
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(26, 5)))
    return TradeAllocator(model, 1_000).optimize(solver="analytical")


RESULTS: dict[str, Callable[[], object]] = {
    "books": _books,
    "fit": _fit,
    "curve": lambda: LinearImpact(np.full(390, 1e-5), 0.01),
    "long curve": lambda: PowerImpact(np.full(100_000, 1e-4), 0.5),
    "kernel": lambda: ExponentialKernel(0.5),
    "allocation": lambda: allocate(LinearImpact(np.full(390, 1e-5)), 1e5),
    "schedule": lambda: twap(1e5, 390),
    "risk-averse": lambda: almgren_chriss(
        1e5, 390, volatility=0.1, temporary=1e-5, risk_aversion=1e-6
    ),
    "execution": lambda: replay(twap(1_000.0, N), _books().between(*_day()), "buy"),
    "result": _result,
    "session": lambda: Session(N),
    "settings": ModelConfig,
    "other settings": OptimizerConfig,
}


def _day() -> tuple[pd.Timestamp, pd.Timestamp]:
    first = pd.Timestamp(_books().time[0], tz="UTC").normalize()
    return first, first + pd.Timedelta(days=1)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_in_a_cell_is_short_and_a_table(name: str) -> None:
    result = RESULTS[name]()
    assert len(repr(result)) <= MAX_REPR
    assert repr(result).startswith(type(result).__name__)
    table = result._repr_html_()  # what Jupyter calls
    assert "<table" in table
    assert len(table) <= MAX_TABLE
    assert table.count("<tr") <= 23  # head and tail, the column names and the gap between


def test_scalars_come_before_the_shapes_of_arrays() -> None:
    said = repr(allocate(LinearImpact(np.full(390, 1e-5)), 1e5))
    assert said.index("cost=") < said.index("solver=")
    assert "shares=array (390,)" in repr(twap(1e5, 390))


@dataclass(frozen=True)
class _Named(Record):
    text: str
    values: np.ndarray
    parts: dict[str, float]


def test_what_a_user_named_is_escaped_and_cut() -> None:
    shown = _Named("<script>&", np.array([1.0, 3.0]), {"<b>": 0.25})._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;&amp;" in shown
    assert "array (2,), 1 to 3" in shown
    assert "&lt;b&gt;" in shown
    assert "0.25" in shown
    assert len(repr(_Named("x" * 10_000, np.zeros(3), {}))) <= MAX_REPR


class _Tabular(_Named):
    def to_frame(self) -> pd.DataFrame:
        if self.text == "empty":
            raise ValidationError("there are no rows to show")
        return pd.DataFrame({"<value>": self.values})


def test_a_record_shows_head_and_tail_of_its_own_table() -> None:
    shown = _Tabular("a<b", np.arange(1_000.0), {})._repr_html_()
    assert "&lt;value&gt;" in shown
    assert "a&lt;b" in shown
    assert "<td>0.0</td>" in shown
    assert "<td>999.0</td>" in shown
    assert "<td>500.0</td>" not in shown
    assert "no rows" not in _Tabular("empty", np.zeros(0), {})._repr_html_()


def test_a_record_of_millions_of_values_does_not_build_its_table() -> None:
    class Costly(_Named):
        def to_frame(self) -> pd.DataFrame:
            raise AssertionError("built")

    assert "array (2000000,)" in Costly("", np.zeros(2_000_000), {})._repr_html_()
