"""Calls that may hang, ended on time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class OutOfTimeError(Exception):
    """The call had not returned when its time was up."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """What `call` returns or raises, or OutOfTimeError after `seconds`.

    The call runs in a daemon thread, 0.1 ms away, and is abandoned there if it is late: native
    code cannot be interrupted, but it neither holds its caller up nor keeps the process
    from ending. A worker process could be killed, at the price of starting a second
    interpreter with all its imports. Code that never lets go of the interpreter's lock would
    hold its caller up; CLARABEL, OSQP, SCS and HiGHS let go while they solve.

    Raises
    ------
    OutOfTimeError
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if errors:
        raise errors[0]
    if not results:
        raise OutOfTimeError(f"out of time after {seconds:.3g} s")
    return results[0]
