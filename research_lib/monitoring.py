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
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from research_lib.checks import number
from research_lib.errors import MemoryLimitError, ValidationError

LOG_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
PROCESS_STATUS = Path("/proc/self/status")


class _ControlGroup(NamedTuple):
    """Where Linux tells a container's limit, what it uses, and how much of that are cached files."""

    limit: Path
    used: Path
    stat: Path
    reclaimable: str

    @classmethod
    def below(cls, folder: str, limit: str, used: str, reclaimable: str) -> _ControlGroup:
        return cls(
            Path(folder, limit), Path(folder, used), Path(folder, "memory.stat"), reclaimable
        )


CONTROL_GROUPS = (
    _ControlGroup.below("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    _ControlGroup.below(
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Durations:
    """What is known of one operation; sums and counts only, so that two add exactly."""

    failed: int = 0
    total: float = 0.0
    longest: float = 0.0
    counts: Counter[float] = field(default_factory=Counter)

    def quantiles(self, probabilities: list[float]) -> list[float]:
        """Between the two nearest durations by rank, as `numpy.quantile` gives them."""
        values = np.array(sorted(self.counts))
        reached = np.cumsum([self.counts[value] for value in values])
        rank = np.array(probabilities) * (reached[-1] - 1)
        low, high = (
            values[np.searchsorted(reached, whole, side="right")]
            for whole in (np.floor(rank), np.ceil(rank))
        )
        return [float(value) for value in low + (rank - np.floor(rank)) * (high - low)]


class PerformanceMonitor:
    """How often each operation ran and how long it took.

    Durations are kept as counts of their value to four significant digits, so memory does not
    grow with the number of records, and monitors of threads, processes and machines add: count,
    mean and max are exact, median and p95 within 5e-4 relative. Safe to use from several
    threads; another process has a monitor of its own, whose `to_dict` is merged into this one.

    Examples
    --------
    >>> monitor = PerformanceMonitor()
    >>> for seconds in (1.0, 2.0, 6.0):
    ...     monitor.record("fit", seconds)
    >>> monitor.summary()["fit"]["mean"], monitor.summary()["fit"]["median"]
    (3.0, 2.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations: dict[str, _Durations] = {}
        self._peak_mb = 0.0

    def record(self, operation: str, seconds: float, *, failed: bool = False) -> None:
        """Note that `operation` took so many seconds.

        Raises
        ------
        ValidationError
            Seconds that are negative or no finite number; an operation that is no text.
        """
        if not isinstance(operation, str):
            raise ValidationError(f"operation must be a text, got {operation!r:.80}")
        if type(seconds) is not float or not 0 <= seconds < math.inf:
            seconds = number("seconds", seconds, low=0)
        rounded = float(f"{seconds:.4g}")
        with self._lock:
            known = self._durations.get(operation)
            if known is None:
                known = self._durations[operation] = _Durations()
            known.failed += failed
            known.total += seconds
            known.longest = max(known.longest, seconds)
            known.counts[rounded] = known.counts.get(rounded, 0) + 1

    @contextlib.contextmanager
    def timing(self, operation: str) -> Iterator[None]:
        """Time the block; one that raises is recorded too, and counted as failed."""
        begin, failed = time.perf_counter(), True
        try:
            yield
            failed = False
        finally:
            self.record(operation, time.perf_counter() - begin, failed=failed)

    def summary(self) -> dict[str, dict[str, float]]:
        """By operation, sorted: count, failed, and in seconds total, mean, median, p95 and max."""
        with self._lock:
            return {name: _summarised(known) for name, known in sorted(self._durations.items())}

    def to_dict(self) -> dict[str, Any]:
        """All that is known, for JSON; with the peak memory of this process and of those merged."""
        with self._lock:
            operations = {
                name: {
                    "failed": known.failed,
                    "total": known.total,
                    "max": known.longest,
                    "counts": sorted(known.counts.items()),
                }
                for name, known in sorted(self._durations.items())
            }
            return {
                "operations": operations,
                "peak_memory_mb": max(self._peak_mb, peak_memory_mb()),
            }

    def merge(self, records: PerformanceMonitor | Mapping[str, Any]) -> PerformanceMonitor:
        """Add what another monitor knows, or what its `to_dict` said in another process; returns itself.

        Raises
        ------
        ValidationError
            Records that no `to_dict` made.
        """
        given = records.to_dict() if isinstance(records, PerformanceMonitor) else records
        operations, peak = _parsed(given)
        with self._lock:
            self._peak_mb = max(self._peak_mb, peak)
            for name, other in operations.items():
                known = self._durations.setdefault(name, _Durations())
                known.failed += other.failed
                known.total += other.total
                known.longest = max(known.longest, other.longest)
                known.counts.update(other.counts)
        return self

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]


def _summarised(known: _Durations) -> dict[str, float]:
    count = known.counts.total()
    median, p95 = known.quantiles([0.5, 0.95])
    return {
        "count": count,
        "failed": known.failed,
        "total": known.total,
        "mean": known.total / count,
        "median": median,
        "p95": p95,
        "max": known.longest,
    }


def _parsed(records: Mapping[str, Any]) -> tuple[dict[str, _Durations], float]:
    """Operations and peak memory of `to_dict`'s answer, which may have been a file meanwhile."""
    try:
        operations = {
            str(name): _Durations(
                int(known["failed"]),
                float(known["total"]),
                float(known["max"]),
                Counter({float(value): int(count) for value, count in known["counts"]}),
            )
            for name, known in records["operations"].items()
        }
        for name, known in operations.items():
            _refuse_impossible(name, known)
        return operations, number("peak_memory_mb", records["peak_memory_mb"], low=0)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValidationError(
            f"timings are not as PerformanceMonitor.to_dict writes them ({type(error).__name__}: {error})"
        ) from error


def _refuse_impossible(name: str, known: _Durations) -> None:
    """Counts are at least one, failures at most as many as calls, durations finite and not negative."""
    durations = [known.total, known.longest, *known.counts]
    if (
        not known.counts
        or min(known.counts.values()) < 1
        or not 0 <= known.failed <= known.counts.total()
    ):
        raise ValidationError(
            f"timings of {name!r:.80} have counts that no calls give; leave the operation out"
        )
    if not all(0 <= seconds < math.inf for seconds in durations):
        raise ValidationError(
            f"timings of {name!r:.80} have a duration that is negative or no finite number"
        )


MONITOR = PerformanceMonitor()  # of this process
if hasattr(os, "register_at_fork"):
    # A fork begins with none of its parent's records: they would count twice when merged.
    os.register_at_fork(after_in_child=MONITOR.clear)


def timed(operation: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: record each call in `MONITOR` as `operation`, as `PerformanceMonitor.timing` does but faster."""

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            begin, failed = time.perf_counter(), True
            try:
                answer = function(*args, **kwargs)
                failed = False
                return answer
            finally:
                MONITOR.record(operation, time.perf_counter() - begin, failed=failed)

        return call

    return decorated


def peak_memory_mb() -> float:
    """Largest resident memory that this process has had, MB of 1e6 bytes."""
    with contextlib.suppress(
        OSError, StopIteration
    ):  # no /proc, or one that does not tell the peak
        # Preferred: getrusage on Linux counts the parent before the program was started.
        lines = PROCESS_STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(
            float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")
        )
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return float(getattr(memory, "peak_wset", memory.rss)) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def available_memory_mb() -> float:
    """Memory that can still be had, MB of 1e6 bytes: of the machine, or of the container where that has less."""
    import psutil

    free = float(psutil.virtual_memory().available)
    for group in CONTROL_GROUPS:
        with contextlib.suppress(
            OSError, ValueError
        ):  # no such group, one without a limit, or one that hides its use
            limit = int(group.limit.read_text(encoding="ascii"))
            stat = dict(
                line.split() for line in group.stat.read_text(encoding="ascii").splitlines()
            )
            held = int(group.used.read_text(encoding="ascii")) - int(stat.get(group.reclaimable, 0))
            free = min(free, limit - held)
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
        Unknown level; a file that cannot be written; limits of rotation that are no whole numbers,
        `max_bytes` below 1, `backup_count` below 0.
    """
    handlers = _handlers(log_file, max_bytes, backup_count)
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


def _handlers(
    log_file: str | Path | None, max_bytes: int, backup_count: int
) -> list[logging.Handler]:
    size = int(number("max_bytes", max_bytes, 1, integer=True))
    kept = int(number("backup_count", backup_count, 0, integer=True))
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None:
        try:
            Path(log_file).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(
                RotatingFileHandler(log_file, maxBytes=size, backupCount=kept, encoding="utf-8")
            )
        except OSError as error:
            raise ValidationError(
                f"log file {log_file} cannot be written: {error.strerror}; name another"
            ) from error
    return handlers


def require_memory(n_bytes: float, limit_mb: float, what: str, remedy: str) -> None:
    """Refuse work whose estimated size exceeds the limit, before anything is built.

    Raises
    ------
    MemoryLimitError
        Naming the work, its estimated MB (1e6 bytes), the limit and the remedy.
    """
    needed = n_bytes / 1e6
    if needed > limit_mb:
        raise MemoryLimitError(
            f"{what} would need about {needed:,.0f} MB, memory_limit_mb is {limit_mb:,.0f}; "
            f"{remedy} or raise memory_limit_mb"
        )
