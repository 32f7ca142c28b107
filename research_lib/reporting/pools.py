"""Where notebooks run: several at a time on this machine, or on the workers of a Dask scheduler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from research_lib.checks import number
from research_lib.errors import ValidationError
from research_lib.reporting.supervision import Task, refused, supervise

logger = logging.getLogger(__name__)

Answer = dict[str, Any]


def run_locally(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Answer]]:
    """Each task and its answer once finished, `jobs` at a time; left early, what runs is ended."""
    stop = threading.Event()
    executor = ThreadPoolExecutor(
        max_workers=min(number("jobs", jobs, 1, integer=True), len(tasks))
    )
    try:
        futures = {executor.submit(_started, task, stop): task for task in tasks}
        for future in as_completed(list(futures)):
            yield futures.pop(future), future.result()  # its files need not stay in memory
    finally:
        stop.set()
        executor.shutdown(wait=True, cancel_futures=True)


def _started(task: Task, stop: threading.Event) -> Answer:
    logger.info("%s: %s: started", task.name, task.section)
    return supervise(task, stop)


def run_on_dask(
    tasks: Sequence[Task], address: str, worker_seconds: float
) -> Iterator[tuple[Task, Answer]]:
    """The same on a Dask scheduler's workers; a task whose worker dies is given to another.

    Raises
    ------
    ValidationError
        Nobody answers at the address, no worker joins within `worker_seconds`, or the scheduler
        goes away.
    """
    from distributed import Client, as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        remedy = "start one, or leave out --scheduler"
        raise ValidationError(
            f"no Dask scheduler answers at {address}: {error}; {remedy}"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=worker_seconds)
        except TimeoutError as error:
            raise ValidationError(
                f"the Dask scheduler at {address} has no worker after {worker_seconds:g} s; "
                f"start one with `dask worker {address}`, or leave out --scheduler"
            ) from error
        except OSError as error:  # it went away before a worker came
            raise _gone(address) from error
        for task in tasks:
            logger.info("%s: %s: sent to %s", task.name, task.section, address)
        futures = {
            client.submit(supervise, task, key=f"{task.name}-{task.section}", pure=False): task
            for task in tasks
        }
        try:
            for future in as_completed(futures, loop=client.loop):
                try:
                    answer = future.result()
                except KilledWorker as error:  # the run took several workers with it
                    answer = refused("worker", str(error))
                except FutureCancelledError as error:
                    raise _gone(address) from error
                yield futures.pop(future), answer
                future.release()  # its files need not stay on the cluster
        finally:
            client.cancel(list(futures))


def _gone(address: str) -> ValidationError:
    return ValidationError(
        f"the Dask scheduler at {address} is gone, or the runs were cancelled; "
        "what is finished is kept; see that it runs and repeat the call"
    )
