"""Whether this installation can do its work now: `health_check`, for probes and for people."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from research_lib.config import PROJECT_ROOT, ModelConfig, SolverType, data_folder
from research_lib.errors import ResearchError
from research_lib.monitoring import available_memory_mb

MIN_DISK_MB = 200.0  # several runs' figures and work folders
MIN_MEMORY_MB = 500.0  # a notebook's process with the library loaded
STARTING_SECONDS, SOLVING_SECONDS = 60.0, 30.0
SHARES, TOLERANCE = 1_000.0, 1e-8
WRITTEN_BYTES = 65_536
# Those that every installation has; others are checked where they are installed.
BACKENDS = {"analytical": ["multiplier"], "cvxpy": ["CLARABEL", "OSQP", "SCS"], "scipy": ["SLSQP"]}
HEALTHY, UNHEALTHY = "healthy", "unhealthy"
Checks = dict[str, dict[str, Any]]


class UnhealthyError(ResearchError):
    """A part that cannot do its work; the message says why."""


def health_check(reports: str | Path | None = None) -> dict[str, Any]:
    """Try every part that a report needs: a fit, each solver backend, Jupyter, disk, memory, data.

    Nothing is assumed from a version number: a tiny order is solved and certified on each
    backend, Jupyter starts a process that loads the library, a file is written where reports go.

    Parameters
    ----------
    reports : path, optional
        Folder that reports are written to, the project's own by default.

    Returns
    -------
    dict
        status ("healthy" or "unhealthy"), timestamp (ISO 8601, UTC), data_points (slippage
        observations that the small fit had), elapsed_seconds, and checks: by name ("model",
        "cvxpy/CLARABEL" and the other backends, "kernel", "disk", "memory", "data") healthy
        (bool) and detail (what was found, or why it is not healthy).

    Examples
    --------
    >>> sorted(health_check())
    ['checks', 'data_points', 'elapsed_seconds', 'status', 'timestamp']
    """
    begin, points = time.perf_counter(), [0]
    folder = Path(reports) if reports is not None else PROJECT_ROOT / "reports"
    # Jupyter's process starts while the rest is checked.
    with ThreadPoolExecutor(1) as pool:
        kernel = pool.submit(_checked, _kernel)
        checks = {"model": _checked(partial(_model, points)), **dict(_solvers())}
        checks["kernel"] = kernel.result()
        checks["disk"] = _checked(partial(_disk, folder, Path(tempfile.gettempdir())))
        checks["memory"] = _checked(_memory)
        checks["data"] = _checked(_data)
    return _report(checks, points[0], begin)


def alive_check() -> dict[str, Any]:
    """Try only what a restart could mend, for liveness probes: computing, and memory.

    Disk, data, solvers and notebooks are left to `health_check`, the readiness: a full disk or a
    missing mount does not go away with the process, whose runs a restart would lose. Keys as
    there; no data points.
    """
    begin = time.perf_counter()
    checks = {"arithmetic": _checked(_arithmetic), "memory": _checked(_memory)}
    return _report(checks, 0, begin)


def summary(health: dict[str, Any]) -> dict[str, Any]:
    """What a probe may say to anybody: no details, which name folders and versions."""
    failed = [name for name, check in health["checks"].items() if not check["healthy"]]
    return {name: health[name] for name in ("status", "timestamp", "data_points")} | {
        "failed": failed
    }


def _report(checks: Checks, points: int, begin: float) -> dict[str, Any]:
    return {
        "status": HEALTHY if all(check["healthy"] for check in checks.values()) else UNHEALTHY,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "data_points": points,
        "elapsed_seconds": round(time.perf_counter() - begin, 2),
        "checks": checks,
    }


def _checked(check: Callable[[], str]) -> dict[str, Any]:
    """The check's own words, or the error that it met: whatever a broken part raises."""
    try:
        return {"healthy": True, "detail": check()}
    except ResearchError as error:
        return {"healthy": False, "detail": str(error)}
    except Exception as error:
        reason = " ".join(str(error).split())
        return {"healthy": False, "detail": f"{type(error).__name__}: {reason}"}


def _arithmetic() -> str:
    """A small linear system through LAPACK, whose answer is known."""
    matrix, answer = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -1.0])
    if not np.allclose(np.linalg.solve(matrix, matrix @ answer), answer, rtol=0, atol=TOLERANCE):
        raise UnhealthyError("a system of two linear equations is solved wrongly; reinstall numpy")
    return "a linear system solved"


def _model(points: list[int]) -> str:
    """Thirteen books drawn, walked and fitted; the number of observations goes into `points`."""
    from research_lib.impact_model import ImpactModel

    model = ImpactModel("linear", ModelConfig(progress_logging=False))
    slippage = model.estimate_slippage(model.generate_synthetic_orderbook(13, 5))
    fit = model.fit_model(slippage)
    points[0] = int((~slippage["censored"]).sum())
    if not np.isfinite(fit.curve.slippage(1_000.0)).all():
        raise UnhealthyError("a linear fit to synthetic books has coefficients that are not finite")
    return f"a linear fit to {points[0]} observations"


def _solvers() -> Iterator[tuple[str, dict[str, Any]]]:
    """By solver and backend, whether a tiny order was certified, and why not."""
    for solver, backends in BACKENDS.items():
        faults: dict[str, str] = {}
        absent = _checked(partial(_solve, solver, faults))["detail"]
        for backend in dict.fromkeys([*backends, *faults]):
            fault = faults.get(backend, absent)
            detail = fault or "a tiny order solved and certified"
            yield f"{solver}/{backend}", {"healthy": not fault, "detail": detail}


def _solve(solver: str, faults: dict[str, str]) -> str:
    """Fill in each backend's fault, empty where it is certified; what to do where it gave none."""
    from research_lib.execution.fallback import SOLVERS, certify, fault_of
    from research_lib.execution.problem import Limits, Problem
    from research_lib.impact import LinearImpact

    curve = LinearImpact(np.array([1e-4, 2e-4, 4e-4]), 0.01)
    n = len(curve)
    problem = Problem(curve.total("cost"), SHARES, np.zeros(n), np.full(n, 0.5 * SHARES))
    limits = Limits(1_000, TOLERANCE, SOLVING_SECONDS)
    for answer in SOLVERS[SolverType(solver)](problem, limits):
        faults[answer.backend] = answer.reason
        if answer.shares is not None:
            certificate = answer.certificate or certify(answer.shares, problem)
            faults[answer.backend] = fault_of(certificate, SHARES, n, TOLERANCE)
    return "not installed; install the packages of requirements.lock"


def _kernel() -> str:
    """Start what runs notebooks, as papermill does, and have it load the library."""
    try:
        reply = _reply_of_kernel()
    except RuntimeError:  # such as a port that another process has just taken: runs retry too
        reply = _reply_of_kernel()
    if reply["status"] != "ok":
        raise UnhealthyError(
            f"the kernel cannot load the library: {reply['ename']}: {reply['evalue']}"
        )
    return "python3 started and loaded the library"


def _reply_of_kernel() -> dict[str, Any]:
    from jupyter_client.manager import KernelManager

    manager, quiet = KernelManager(kernel_name="python3"), subprocess.DEVNULL
    level = ["--log-level=ERROR"]
    manager.start_kernel(extra_arguments=level, stdout=quiet, stderr=quiet, cwd=PROJECT_ROOT)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=STARTING_SECONDS)
        code = "import research_lib.config"
        return dict(client.execute(code, reply=True, timeout=STARTING_SECONDS)["content"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _disk(*folders: Path) -> str:
    """Write a file where reports are written, and where runs work, and see what is left."""
    found = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".health-") as file:
            file.write(bytes(WRITTEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
        free, remedy = (
            shutil.disk_usage(folder).free / 1e6,
            "delete old reports, or mount a larger volume",
        )
        found.append(_enough(free, MIN_DISK_MB, f"on the disk of {folder}", remedy))
    return "; ".join(found)


def _memory() -> str:
    remedy = "end other work, or raise the limit"
    return _enough(available_memory_mb(), MIN_MEMORY_MB, "of memory", remedy)


def _enough(free: float, least: float, where: str, remedy: str) -> str:
    found = f"{free:,.0f} MB free {where}"
    if free < least:
        raise UnhealthyError(f"{found}, a run needs {least:,.0f}; {remedy}")
    return found


def _data() -> str:
    """The folder of real data, which may be absent: the default configuration needs none."""
    folder = data_folder()
    if folder.is_dir():
        return f"{sum(1 for _ in os.scandir(folder))} entries in {folder}"
    if os.environ.get("RESEARCH_DATA") and folder != PROJECT_ROOT / "data":
        raise UnhealthyError(
            f"RESEARCH_DATA names {folder}, which is no folder; mount it there, "
            "or unset RESEARCH_DATA"
        )
    return f"no real data in {folder}: configurations that need them are skipped"
