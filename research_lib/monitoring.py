"""What happens while the library runs: timings, logs and the memory guard."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from research_lib.checks import number
from research_lib.errors import MemoryLimitError, ValidationError

LOG_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
# Of both generations of control groups: folder, files of the limit and the use, and the entry of
# memory.stat that can be reclaimed.
CONTROL_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Timings:
    """What is known of one operation; sums and counts only, so that two add exactly."""

    failed: int = 0
    total: float = 0.0
    max: float = 0.0
    improved: int = 0
    compared: int = 0
    counts: Counter[float] = field(default_factory=Counter)

    def add(self, other: _Timings) -> None:
        self.failed += other.failed
        self.total += other.total
        self.max = max(self.max, other.max)
        self.improved += other.improved
        self.compared += other.compared
        self.counts.update(other.counts)

    def stats(self) -> dict[str, float]:
        count = self.counts.total()
        durations = np.repeat(list(self.counts), list(self.counts.values()))
        median, p95 = np.quantile(durations, [0.5, 0.95]).tolist()
        return {
            "count": count,
            "failed": self.failed,
            "error_rate": self.failed / count,
            "improvement_rate": self.improved / self.compared if self.compared else math.nan,
            "total": self.total,
            "mean": self.total / count,
            "median": median,
            "p95": p95,
            "max": self.max,
        }


class PerformanceMonitor:
    """How often each operation ran, how long it took, how often it failed or improved.

    Durations are kept as counts of their value to four significant digits, so memory does not
    grow with the number of records, and monitors of threads, processes and machines add: count,
    mean and max are exact, median and p95 within 5e-4 relative. Safe to use from several
    threads; another process has a monitor of its own, whose `to_dict` is merged into this one.

    Examples
    --------
    >>> monitor = PerformanceMonitor()
    >>> for seconds in (1.0, 2.0, 6.0):
    ...     monitor.record_timing("fit", seconds)
    >>> stats = monitor.get_stats("fit")
    >>> stats["count"], stats["mean"], stats["median"], stats["max"], stats["error_rate"]
    (3, 3.0, 2.0, 6.0, 0.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timings: dict[str, _Timings] = {}
        self._peak_mb = 0.0

    def record_timing(
        self,
        operation: str,
        seconds: float,
        *,
        failed: bool = False,
        improvement_pct: float | None = None,
    ) -> None:
        """Note that `operation` took so many seconds.

        Parameters
        ----------
        improvement_pct : float, optional
            Of an optimisation against its baseline, per cent: above 0 counts as improved.

        Raises
        ------
        ValidationError
            Seconds that are negative or no finite number; an operation that is no text.
        """
        if not isinstance(operation, str):
            raise ValidationError(f"operation must be a text, got {operation!r:.80}")
        seconds = number("seconds", seconds, low=0)
        counts = Counter({float(f"{seconds:.4g}"): 1})
        compared, improved = improvement_pct is not None, (improvement_pct or 0.0) > 0
        one = _Timings(int(failed), float(seconds), float(seconds), improved, compared, counts)
        with self._lock:
            self._timings.setdefault(operation, _Timings()).add(one)

    record = record_timing

    @contextlib.contextmanager
    def timing(self, operation: str) -> Iterator[None]:
        """Time the block; one that raises is recorded too, and counted as failed."""
        begin, failed = time.perf_counter(), True
        try:
            yield
            failed = False
        finally:
            self.record_timing(operation, time.perf_counter() - begin, failed=failed)

    def get_stats(self, operation: str) -> dict[str, float]:
        """Statistics of one operation; empty where it never ran.

        Returns
        -------
        dict
            count, failed, error_rate (failed / count), improvement_rate (of the calls that were
            compared with a baseline; NaN without any), and in seconds total, mean, median, p95
            and max.
        """
        return self.summary().get(operation, {})

    def summary(self) -> dict[str, dict[str, float]]:
        """`get_stats` of every operation, sorted by name."""
        with self._lock:
            return {name: known.stats() for name, known in sorted(self._timings.items())}

    def to_dict(self) -> dict[str, Any]:
        """All that is known, for JSON; with the peak memory of this process and of those merged."""
        with self._lock:
            operations = {
                name: {**asdict(known), "counts": sorted(known.counts.items())}
                for name, known in sorted(self._timings.items())
            }
            peak = max(self._peak_mb, peak_memory_mb())
        return {"operations": operations, "peak_memory_mb": peak}

    def merge(self, records: PerformanceMonitor | Mapping[str, Any]) -> PerformanceMonitor:
        """Add what another monitor knows, or what its `to_dict` said in another process.

        Returns itself.

        Raises
        ------
        ValidationError
            Records that no `to_dict` made.
        """
        given = records.to_dict() if isinstance(records, PerformanceMonitor) else records
        try:
            operations = {str(name): _parsed(one) for name, one in given["operations"].items()}
            peak = number("peak_memory_mb", given["peak_memory_mb"], low=0)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValidationError(
                "timings are not as PerformanceMonitor.to_dict writes them "
                f"({type(error).__name__}: {error})"
            ) from error
        for name, one in operations.items():
            count = one.counts.total()
            possible = one.counts and min(one.counts.values()) > 0 and 0 <= one.failed <= count
            seconds = (one.total, one.max, *one.counts)
            if not possible or not all(0 <= value < math.inf for value in seconds):
                raise ValidationError(f"timings of {name!r:.80} have values that no calls give")
        with self._lock:
            self._peak_mb = max(self._peak_mb, peak)
            for name, one in operations.items():
                self._timings.setdefault(name, _Timings()).add(one)
        return self

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]


def _parsed(one: Mapping[str, Any]) -> _Timings:
    """One operation of `to_dict`'s answer, which may have been a file meanwhile."""
    failed, total, longest = int(one["failed"]), float(one["total"]), float(one["max"])
    counts = Counter({float(value): int(count) for value, count in one["counts"]})
    rates = int(one.get("improved", 0)), int(one.get("compared", 0))
    return _Timings(failed, total, longest, *rates, counts)


MONITOR = PerformanceMonitor()  # of this process
if hasattr(os, "register_at_fork"):
    # A fork begins with none of its parent's records: they would count twice when merged.
    os.register_at_fork(after_in_child=MONITOR.clear)


def timed(operation: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: record each call in `MONITOR` as `operation`.

    An answer that knows its `improvement_pct` counts in the improvement rate.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            begin, failed, improvement = time.perf_counter(), True, None
            try:
                answer = function(*args, **kwargs)
                failed, improvement = False, getattr(answer, "improvement_pct", None)
                return answer
            finally:
                seconds = time.perf_counter() - begin
                MONITOR.record_timing(
                    operation, seconds, failed=failed, improvement_pct=improvement
                )

        return call

    return decorated


def peak_memory_mb() -> float:
    """Largest resident memory that this process has had, MB of 1e6 bytes."""
    # First where Linux says it: its getrusage counts the parent before the program was started.
    with contextlib.suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return float(peak.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return float(getattr(memory, "peak_wset", memory.rss)) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def available_memory_mb() -> float:
    """Memory that can still be had, MB of 1e6 bytes: the machine's, or the container's if less."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for folder, limit, used, reclaimable in CONTROL_GROUPS:
        # No such group, one without a limit ("max"), or one that hides its use.
        with contextlib.suppress(OSError, ValueError):
            texts = [Path(folder, name).read_text(encoding="ascii") for name in (limit, used)]
            stat = Path(folder, "memory.stat").read_text(encoding="ascii")
            cached = int(dict(line.split() for line in stat.splitlines()).get(reclaimable, 0))
            free = min(free, int(texts[0]) - int(texts[1]) + cached)
    return free / 1e6


def configure_logging(
    level: int | str = logging.INFO,
    log_file: str | Path | None = None,
    *,
    max_bytes: int = 10_000_000,
    backup_count: int = 5,
) -> logging.Logger:
    """Send the library's log to the error stream and, if asked, to a rotating file.

    Only doors (command line, notebooks, services) call this; importing the library
    configures nothing. A second call replaces the handlers of the first.

    Parameters
    ----------
    level : int or str
        Least severity shown, as in `logging`.
    log_file : path, optional
        File that is rotated at `max_bytes` and kept `backup_count` times.

    Returns
    -------
    logging.Logger
        The logger ``research_lib``, parent of every module's logger.

    Raises
    ------
    ValidationError
        Unknown level; a file that cannot be written; limits of rotation that are no whole
        numbers, `max_bytes` below 1, `backup_count` below 0.

    Examples
    --------
    >>> configure_logging("WARNING").name
    'research_lib'
    """
    size = number("max_bytes", max_bytes, 1, integer=True)
    kept = number("backup_count", backup_count, 0, integer=True)
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None:
        try:
            Path(log_file).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(RotatingFileHandler(log_file, "a", size, kept, encoding="utf-8"))
        except OSError as error:
            raise ValidationError(
                f"log file {log_file} cannot be written: {error.strerror}; name another"
            ) from error
    logger = logging.getLogger("research_lib")
    try:
        logger.setLevel(level.upper() if isinstance(level, str) else level)
    except (ValueError, TypeError) as error:
        raise ValidationError(
            f"log level {level!r} is unknown; use DEBUG, INFO, WARNING or ERROR"
        ) from error
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    for handler in handlers:
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        logger.addHandler(handler)
    logger.propagate = False
    return logger


def require_memory(n_bytes: float, limit_mb: float, what: str, remedy: str) -> None:
    """Refuse work whose estimated size exceeds the limit, before anything is built.

    Raises
    ------
    MemoryLimitError
        Naming the work, its estimated MB (1e6 bytes), the limit and the remedy.

    Examples
    --------
    >>> require_memory(2e6, 500.0, "12 books", "read fewer")
    """
    needed = n_bytes / 1e6
    if needed > limit_mb:
        raise MemoryLimitError(
            f"{what} would need about {needed:,.0f} MB, memory_limit_mb is {limit_mb:,.0f}; "
            f"{remedy} or raise memory_limit_mb"
        )
