"""Timings, peak memory and logs."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    with pytest.raises(ValidationError, match="log level 'LOUD' is unknown; use DEBUG"):
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
        monitor.record("walk", one)
    found = monitor.summary()["walk"]
    assert (found["count"], found["failed"], found["max"]) == (501, 0, seconds.max())
    assert found["mean"] == pytest.approx(seconds.mean(), rel=1e-12)
    assert [found["median"], found["p95"]] == pytest.approx(
        np.quantile(seconds, [0.5, 0.95]), rel=5e-4
    )


@given(st.lists(st.lists(st.integers(0, 2**20), max_size=20), min_size=1, max_size=4))
def test_records_of_any_split_merge_to_those_of_one_monitor(parts: list[list[int]]) -> None:
    whole, merged = PerformanceMonitor(), PerformanceMonitor()
    for part in parts:
        alone = PerformanceMonitor()
        for ticks in part:  # fractions of a power of two: their sums are exact in any order
            whole.record("fit", ticks / 1024)
            alone.record("fit", ticks / 1024)
        merged.merge(json.loads(json.dumps(alone.to_dict())))
    assert merged.summary() == whole.summary()


def test_memory_does_not_grow_with_the_records() -> None:
    monitor = PerformanceMonitor()
    for i in range(30_000):
        monitor.record("fit", 1 + i * 1e-5)  # 1 to 1.3 s: 301 values of four digits
    (known,) = monitor.to_dict()["operations"].values()
    assert len(known["counts"]) == 301


def test_threads_lose_no_record() -> None:
    monitor = PerformanceMonitor()
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [monitor.record("x", 0.5) for _ in range(2_000)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert monitor.summary()["x"]["count"] == 16_000


IN_PROCESSES = """
import json, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from research_lib.monitoring import MONITOR, PerformanceMonitor

def in_a_process(count):
    for _ in range(count):
        MONITOR.record("in a process", 0.25)
    return MONITOR.to_dict()

if __name__ == "__main__":
    MONITOR.record("of the parent", 1.0)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
        merged = PerformanceMonitor().merge(MONITOR).merge(pool.submit(in_a_process, 3).result())
    print(json.dumps({name: one["count"] for name, one in merged.summary().items()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods()))
)
def test_processes_merge_without_counting_the_parents_records_twice(
    tmp_path: Path, method: str
) -> None:
    """From a program of one thread: a fork of the tests' own process may copy a lock that
    another thread holds.
    """
    script = tmp_path / "program.py"
    script.write_text(IN_PROCESSES)
    done = subprocess.run(
        [sys.executable, str(script), method],
        capture_output=True,
        text=True,
        check=False,
        timeout=OUTER_LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"in a process": 3, "of the parent": 1}


def test_a_block_that_raises_is_timed_and_counted_as_failed() -> None:
    monitor = PerformanceMonitor()
    with pytest.raises(ZeroDivisionError), monitor.timing("divide"):
        _ = 1 / 0
    with monitor.timing("divide"):
        pass
    found = monitor.summary()["divide"]
    assert (found["count"], found["failed"]) == (2, 1)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(ValidationError, match="seconds must be"):
        PerformanceMonitor().record("fit", seconds)


def test_error_and_improvement_rates_are_of_the_calls_that_know_them() -> None:
    monitor = PerformanceMonitor()
    for improvement, failed in ((12.0, False), (0.0, False), (-1.0, False), (None, True)):
        monitor.record_timing("optimize", 0.5, failed=failed, improvement_pct=improvement)
    stats = PerformanceMonitor().merge(monitor).merge(monitor.to_dict()).get_stats("optimize")
    assert (stats["count"], stats["error_rate"]) == (8, 0.25)
    assert stats["improvement_rate"] == pytest.approx(1 / 3)
    monitor.record_timing("fit", 0.5)
    assert np.isnan(monitor.get_stats("fit")["improvement_rate"])
    assert monitor.get_stats("never ran") == {}


def test_records_that_no_monitor_wrote_are_refused() -> None:
    with pytest.raises(
        ValidationError,
        match=r"not as PerformanceMonitor.to_dict writes them \(KeyError: 'failed'\)",
    ):
        PerformanceMonitor().merge({"operations": {"fit": {}}, "peak_memory_mb": 1})


def test_the_library_times_itself(tmp_path: Path) -> None:
    MONITOR.clear()
    config = ModelConfig(progress_logging=False)
    model = ImpactModel("linear", config)
    model.fit_model(model.estimate_slippage(model.generate_synthetic_orderbook(26, 5)))
    TradeAllocator(model, 1_000).optimize(solver="analytical")
    with pytest.raises(ValidationError):
        model.estimate_slippage(model.generate_synthetic_orderbook(2, 2).head(0))
    known = MONITOR.summary()
    counts = {name: (one["count"], one["failed"]) for name, one in known.items()}
    assert counts == {
        "generate_synthetic_orderbook": (2, 0),
        "estimate_slippage": (2, 1),
        "slippage_curves": (1, 0),
        "fit_model": (1, 0),
        "fit_impact": (1, 0),
        "optimize": (1, 0),
    }
    assert known["optimize"]["improvement_rate"] == 1.0
    assert known["fit_model"]["total"] >= known["fit_impact"]["total"] > 0


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


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_bytes": 0}, "max_bytes must be at least 1"),
        ({"backup_count": -1}, "backup_count must be at least 0"),
    ],
)
def test_a_rotation_without_meaning_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        configure_logging(**given)


def test_a_log_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "y.log"):  # a folder; below what is no folder
        with pytest.raises(ValidationError, match=re.escape(f"log file {path} cannot be written")):
            configure_logging(log_file=path)


def test_a_level_may_be_written_small() -> None:
    assert configure_logging("info").level == logging.INFO


@pytest.mark.parametrize(
    ("operation", "seconds"), [("x", "3"), (None, 1.0), ("x", None), ("x", -1.0)]
)
def test_what_is_no_duration_of_an_operation_is_refused(operation: Any, seconds: Any) -> None:
    with pytest.raises(ValidationError, match="must be"):
        PerformanceMonitor().record(operation, seconds)


@pytest.mark.parametrize(
    "changed",
    [
        {"counts": []},
        {"counts": [[1.0, -1]]},
        {"failed": 2},
        {"total": float("nan")},
        {"counts": [[float("nan"), 1]]},
    ],
)
def test_impossible_timings_do_not_merge(changed: dict[str, Any]) -> None:
    known = {"failed": 0, "total": 1.0, "max": 1.0, "counts": [[1.0, 1]], **changed}
    monitor = PerformanceMonitor()
    with pytest.raises(ValidationError, match="timings of 'fit' have"):
        monitor.merge({"operations": {"fit": known}, "peak_memory_mb": 1.0})
    assert monitor.summary() == {}
