"""What several test modules build."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from research_lib.config import data_folder
from research_lib.market import BookSnapshots

LONGEST = 600.0  # s; waits end by an event, and this ends a test that has failed: no speed of a machine is assumed
MARK = "RESEARCH_TEST_FAMILY"  # in the environment of what a test starts, and so of all that this starts


def real_data(relative: str) -> Path:
    """A file of real data, or a skip that names it."""
    path = data_folder() / relative
    if not path.is_file():
        pytest.skip(f"{relative} is not in RESEARCH_DATA ({data_folder()})")
    return path


def one_book(bid: list[tuple[float, float]], ask: list[tuple[float, float]]) -> BookSnapshots:
    """One snapshot from (price, size) levels, at 10:00 New York."""
    bid_price, bid_size = np.array(bid, float).T
    ask_price, ask_size = np.array(ask, float).T
    time = np.array([1_704_207_600_000_000_000], dtype=np.int64)  # 2024-01-02 15:00 UTC
    return BookSnapshots(time, bid_price[None], bid_size[None], ask_price[None], ask_size[None])


def wait_until(holds: Callable[[], bool], what: str, seconds: float = LONGEST) -> None:
    """Until it holds; a failure that names what never came, and not a test that hangs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)


def as_from_a_terminal() -> None:
    """Signals act on this process as usual, though its parents ignore or block them (nohup, `make test &`)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Family:
    """Processes that a test starts, and all that these start, which `end` leaves none of."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.started: list[subprocess.Popen[Any]] = []

    def start(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """As subprocess.Popen, with `environment` added to this process's, and the modules of this process."""
        marked = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            **(environment or {}),
            MARK: self.mark,
        }
        self.started.append(subprocess.Popen(command, env=marked, **options))
        return self.started[-1]

    def alive(self) -> list[psutil.Process]:
        """Those that run, orphans in sessions of their own too: all have inherited the mark."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if (
                    process.environ().get(MARK) == self.mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
        return found

    def end(self) -> None:
        """Kill all, and again those that were just being started."""

        def none_is_left() -> bool:
            left = self.alive()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            return not left

        wait_until(none_is_left, "the end of processes that were killed")
        for process in self.started:
            process.kill()  # one that hides its environment
            process.communicate(timeout=LONGEST)


def limit_of_ever_more_trades(
    shares: float, horizon: float, decay: float
) -> tuple[float, float, float]:
    """Blocks S / (2 + rho T) at both ends, rho of a block per time in between, and the cost
    S^2 / (2 + rho T) under a kernel of scale 1 (Obizhaeva and Wang 2013, section 6)."""
    block = shares / (2.0 + decay * horizon)
    return block, decay * block, shares * block
