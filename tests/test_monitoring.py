"""Timings, peak memory and logs."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research_lib import (
    ImpactModel,
    ModelConfig,
    PerformanceMonitor,
    TradeAllocator,
    configure_logging,
)
from research_lib.errors import ValidationError
from research_lib.monitoring import MONITOR

# seconds; a program that ends by itself takes a second, this only keeps a hang from lasting
OUTER_LIMIT = 300


@pytest.fixture(autouse=True)
def _restore_logger() -> Iterator[None]:
    logger = logging.getLogger("research_lib")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


def test_the_format_reaches_stream_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "run.log"
    configure_logging(logging.INFO, path)
    logging.getLogger("research_lib.impact.model").info("fitted %d", 3)
    pattern = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - research_lib.impact.model - INFO - fitted 3\n"
    )
    assert re.fullmatch(pattern, path.read_text())
    assert re.fullmatch(pattern, capsys.readouterr().err)


def test_a_second_call_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    configure_logging("INFO")
    logging.getLogger("research_lib").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_the_file_rotates(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    logger = configure_logging(logging.INFO, path, max_bytes=500, backup_count=2)
    for i in range(50):
        logger.info("message %d", i)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.log", "run.log.1", "run.log.2"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown level: 'LOUD'"):
        configure_logging("LOUD")


@pytest.mark.slow
def test_importing_is_silent_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, logging, research_lib, research_lib.config;"
        "heavy = {'cvxpy', 'statsmodels', 'seaborn', 'matplotlib', 'numba', 'scipy'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy; assert not logging.getLogger('research_lib').handlers"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=OUTER_LIMIT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_quantiles_are_numpys_to_four_digits(rng: np.random.Generator) -> None:
    seconds, monitor = rng.lognormal(-3, 2, 501), PerformanceMonitor()
    for one in seconds:
        monitor.record_timing("walk", one)
    found = monitor.summary()["walk"]
    assert (found["count"], found["error_rate"], found["max"]) == (501, 0, seconds.max())
    assert found["mean"] == pytest.approx(seconds.mean(), rel=1e-12)
    assert [found["median"], found["p95"]] == pytest.approx(
        np.quantile(seconds, [0.5, 0.95]), rel=5e-4
    )


def test_memory_does_not_grow_with_the_records() -> None:
    monitor = PerformanceMonitor()
    for i in range(30_000):
        monitor.record_timing("fit", float(i))
    known = monitor.get_stats("fit")
    assert (known["count"], known["max"]) == (30_000, 29_999)
    assert known["mean"] == known["median"] == 24_999.5  # of the last ten thousand


def test_threads_lose_no_record() -> None:
    monitor = PerformanceMonitor()
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [monitor.record_timing("x", 0.5) for _ in range(2_000)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert monitor.summary()["x"]["count"] == 16_000


def test_a_block_that_raises_is_timed_and_counted_as_failed() -> None:
    monitor = PerformanceMonitor()
    with pytest.raises(ZeroDivisionError), monitor.timing("divide"):
        _ = 1 / 0
    with monitor.timing("divide"):
        pass
    found = monitor.summary()["divide"]
    assert (found["count"], found["error_rate"]) == (2, 0.5)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(ValidationError, match="seconds must be"):
        PerformanceMonitor().record_timing("fit", seconds)


def test_error_and_improvement_rates_are_of_the_calls_that_know_them() -> None:
    monitor = PerformanceMonitor()
    for improvement, failed in ((12.0, False), (0.0, False), (-1.0, False), (None, True)):
        monitor.record_timing("optimize", 0.5, failed=failed, improvement_pct=improvement)
    stats = monitor.get_stats("optimize")
    assert (stats["count"], stats["error_rate"]) == (4, 0.25)
    assert stats["improvement_rate"] == pytest.approx(1 / 3)
    monitor.record_timing("fit", 0.5)
    assert np.isnan(monitor.get_stats("fit")["improvement_rate"])
    assert monitor.get_stats("never ran") == {}


def test_the_library_times_itself(tmp_path: Path) -> None:
    before = MONITOR.summary()  # of tests before this one
    config = ModelConfig(progress_logging=False)
    model = ImpactModel("linear", config)
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(390, 5)))
    TradeAllocator(model, 1_000).optimize(solver="analytical")
    with pytest.raises(ValidationError):
        model.estimate_slippage(model.generate_synthetic_orderbook(2, 2).head(0))
    known = MONITOR.summary()

    def grown(name: str, what: str) -> float:
        return known[name][what] - before.get(name, {}).get(what, 0)

    assert {name: grown(name, "count") for name in known if grown(name, "count")} == {
        "generate_synthetic_orderbook": 2,
        "estimate_slippage": 2,
        "slippage_curves": 1,
        "fit_model": 1,
        "fit_impact": 1,
        "optimize": 1,
    }
    assert known["estimate_slippage"]["error_rate"] > 0
    assert known["optimize"]["improvement_rate"] > 0
    assert grown("fit_model", "total") >= grown("fit_impact", "total") > 0


@pytest.mark.slow
def test_the_peak_is_this_process_and_grows_with_what_it_holds() -> None:
    code = (
        "import numpy as np; from research_lib.monitoring import peak_memory_mb as peak;"
        "before = peak(); held = np.ones(25_000_000);"
        "assert 190 < peak() - before < 260, (before, peak())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=OUTER_LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_level_may_be_written_small() -> None:
    assert configure_logging("info").level == logging.INFO


@pytest.mark.parametrize("seconds", ["3", None])
def test_what_is_no_duration_of_an_operation_is_refused(seconds: Any) -> None:
    with pytest.raises(ValidationError, match="must be"):
        PerformanceMonitor().record_timing("x", seconds)
