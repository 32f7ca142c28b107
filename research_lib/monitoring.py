"""Timings, logs and the memory limit of running code."""

import contextlib
import ctypes
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import numpy as np

from research_lib.checks import number
from research_lib.errors import MemoryLimitError

LOG_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
RECENT = 10_000  # calls kept of each operation, so that memory stays bounded


class PerformanceMonitor:
    """How often each operation ran, how long it took, how often it failed or improved.

    Counts include all calls, the other statistics the last 10,000. Safe to use from several
    threads.

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
        self._counts: Counter[str] = Counter()
        # Of each operation, by call: seconds, whether it failed, improvement.
        self._calls: dict[str, deque[tuple[float, bool, float | None]]] = {}

    def record_timing(
        self, operation: str, seconds: float, *, failed: bool = False,
        improvement_pct: float | None = None,
    ) -> None:  # fmt: skip
        """Record that `operation` took `seconds`, at least 0.

        `improvement_pct` is that of an optimisation over its baseline, per cent: above 0 counts as
        improved, None means that nothing was compared.
        """
        seconds = number("seconds", seconds, low=0)
        with self._lock:
            self._counts[operation] += 1
            calls = self._calls.setdefault(operation, deque(maxlen=RECENT))
            calls.append((seconds, failed, improvement_pct))

    @contextlib.contextmanager
    def timing(self, operation: str) -> Iterator[dict[str, float | None]]:
        """Time the block; one that raises is recorded too, as failed.

        The block may set `improvement_pct` in the dictionary that it gets.
        """
        begin, found, failed = time.perf_counter(), dict[str, float | None](), True
        try:
            yield found
            failed = False
        finally:
            self.record_timing(operation, time.perf_counter() - begin, failed=failed, **found)

    def get_stats(self, operation: str) -> dict[str, float]:
        """Statistics of one operation; empty where it never ran.

        Returns
        -------
        dict
            count, error_rate, improvement_rate (of the calls that were compared with a baseline;
            NaN without any), and in seconds total, mean, median, p95 and max.
        """
        with self._lock:
            count, calls = self._counts[operation], list(self._calls.get(operation, ()))
        if not count:
            return {}
        seconds, failed, improvement = np.array(calls, float).T  # no improvement is NaN
        compared = improvement[~np.isnan(improvement)]
        better = (compared > 0).mean() if len(compared) else math.nan
        stats = {
            "error_rate": failed.mean(), "improvement_rate": better,
            "total": seconds.sum(), "mean": seconds.mean(), "median": np.median(seconds),
            "p95": np.quantile(seconds, 0.95), "max": seconds.max(),
        }  # fmt: skip
        return {"count": count} | {name: float(value) for name, value in stats.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """`get_stats` of every operation, sorted by name."""
        return {name: self.get_stats(name) for name in sorted(self._counts)}


MONITOR = PerformanceMonitor()  # of this process
timed = MONITOR.timing  # which also decorates: each call is recorded


def peak_memory_mb() -> float:
    """Peak resident memory of this process, MB of 1e6 bytes; only Linux reports the peak.

    Elsewhere the present one.
    """
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6


def release_memory() -> None:
    """Give what freed arrays left in the heap back to the system, where the C library is GNU's.

    A third of the memory of a notebook that reads two days of deep books part by part.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def configure_logging(
    level: int | str = logging.INFO, log_file: str | Path | None = None, *,
    max_bytes: int = 10_000_000, backup_count: int = 5,
) -> logging.Logger:  # fmt: skip
    """Send the library's log to the error stream and, if asked, to a rotating file.

    Called by the command line, notebooks and services only; importing the library configures
    nothing. A second call replaces the handlers of the first.

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
    ValueError
        Unknown level.
    OSError
        A file that cannot be written.

    Examples
    --------
    >>> configure_logging("WARNING").name
    'research_lib'
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(log_file, "a", max_bytes, backup_count, "utf-8"))
    logger = logging.getLogger("research_lib")
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    for old in logger.handlers:
        old.close()
    for new in handlers:
        new.setFormatter(logging.Formatter(LOG_FORMAT))
    logger.handlers, logger.propagate = handlers, False
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
    if (needed := n_bytes / 1e6) > limit_mb:
        found = f"{what} would need about {needed:,.0f} MB, memory_limit_mb is {limit_mb:,.0f}"
        raise MemoryLimitError(f"{found}; {remedy} or raise memory_limit_mb")
