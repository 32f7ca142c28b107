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

from research_lib.config import PROJECT_ROOT, ModelConfig, data_folder
from research_lib.errors import ResearchError
from research_lib.monitoring import available_memory_mb

LEAST_DISK_MB = 200.0  # several runs' figures and work folders
LEAST_MEMORY_MB = 500.0  # a notebook's kernel with the library loaded
KERNEL_SECONDS = 60.0
SOLVE_SECONDS = 30.0
SHARES, TOLERANCE = 1_000.0, 1e-8
WRITTEN_BYTES = 65_536
# Those that every installation has; others are checked where they are installed.
BACKENDS = {"analytical": ["multiplier"], "cvxpy": ["CLARABEL", "OSQP", "SCS"], "scipy": ["SLSQP"]}
CERTIFIED = "a tiny order solved and certified"
HEALTHY, UNHEALTHY = "healthy", "unhealthy"
NO_POINTS = {"data_points": 0}


class UnhealthyError(ResearchError):
    """A part that cannot do its work; the message says why."""


def health_check(reports: str | Path | None = None) -> dict[str, Any]:
    """Try every part that a report needs: a small fit, each solver backend, a kernel, disk, memory, data.

    Nothing is assumed from a version number: a tiny order is solved and certified on each
    backend, a notebook kernel is started and loads the library, a file is written where reports go.

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
    """
    begin, found = time.perf_counter(), dict(NO_POINTS)
    folder = Path(reports) if reports is not None else PROJECT_ROOT / "reports"
    with ThreadPoolExecutor(
        1
    ) as pool:  # the kernel is a process of its own and starts while the rest is checked
        kernel = pool.submit(_checked, _kernel)
        checks = {"model": _checked(lambda: _model(found))}
        checks |= dict(_solvers())
        checks |= {
            "kernel": kernel.result(),
            "disk": _checked(lambda: _disk(folder, Path(tempfile.gettempdir()))),
            "memory": _checked(_memory),
            "data": _checked(_data),
        }
    return _told(checks, found, begin)


def alive_check() -> dict[str, Any]:
    """Try only what a restart could mend, for liveness probes: whether Python computes, and has memory.

    Disk, data, solvers and kernels are left to `health_check`, the readiness: a full disk or a missing mount does
    not go away with the process, whose runs a restart would lose. Keys as there; no data points.
    """
    begin = time.perf_counter()
    return _told(
        {"arithmetic": _checked(_arithmetic), "memory": _checked(_memory)}, NO_POINTS, begin
    )


def _told(checks: dict[str, dict[str, Any]], found: dict[str, int], begin: float) -> dict[str, Any]:
    return {
        "status": HEALTHY if all(check["healthy"] for check in checks.values()) else UNHEALTHY,
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        **found,
        "elapsed_seconds": round(time.perf_counter() - begin, 2),
        "checks": checks,
    }


def _arithmetic() -> str:
    """A small linear system through LAPACK, whose answer is known."""
    matrix, answer = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -1.0])
    if not np.allclose(np.linalg.solve(matrix, matrix @ answer), answer, rtol=0, atol=TOLERANCE):
        raise UnhealthyError("a system of two linear equations is solved wrongly; reinstall numpy")
    return "a linear system solved"


def summary(health: dict[str, Any]) -> dict[str, Any]:
    """What a probe may tell anybody: without the details, which name folders and versions."""
    told = {name: health[name] for name in ("status", "timestamp", "data_points")}
    return told | {
        "failed": [name for name, check in health["checks"].items() if not check["healthy"]]
    }


def _checked(check: Callable[[], str]) -> dict[str, Any]:
    """The check's own words, or the error that it met: whatever a broken part raises is its reason."""
    try:
        return {"healthy": True, "detail": check()}
    except ResearchError as error:
        return {"healthy": False, "detail": str(error)}
    except Exception as error:
        return {
            "healthy": False,
            "detail": f"{type(error).__name__}: {' '.join(str(error).split())}",
        }


def _model(found: dict[str, int]) -> str:
    """Thirteen books drawn, walked and fitted."""
    from research_lib.impact_model import ImpactModel

    model = ImpactModel("linear", ModelConfig(progress_logging=False))
    slippage = model.estimate_slippage(model.generate_synthetic_orderbook(13, 5))
    fit = model.fit_model(slippage)
    found["data_points"] = int((~slippage["censored"]).sum())
    if not np.isfinite(fit.curve.slippage(1_000.0)).all():
        raise UnhealthyError("a linear fit to synthetic books has coefficients that are not finite")
    return f"a linear fit to {found['data_points']} observations"


def _solvers() -> Iterator[tuple[str, dict[str, Any]]]:
    """By solver and backend, what became of a tiny order: a certified schedule, or the reason why there is none."""
    for solver, backends in BACKENDS.items():
        answered: dict[str, str] = {}
        lacking = _checked(partial(_solve, solver, answered))
        for backend in dict.fromkeys([*backends, *answered]):
            reason = answered.get(backend, lacking["detail"])
            yield f"{solver}/{backend}", {"healthy": not reason, "detail": reason or CERTIFIED}


def _solve(solver: str, answered: dict[str, str]) -> str:
    """Fill in each backend's fault, empty where its answer is certified; what to do where it gave none."""
    from research_lib.config import SolverType
    from research_lib.execution.allocate import SOLVERS
    from research_lib.execution.fallback import Limits, certify, fault_of
    from research_lib.execution.problem import Problem
    from research_lib.impact import LinearImpact

    curve = LinearImpact(np.array([1e-4, 2e-4, 4e-4]), 0.01)
    problem = Problem(
        curve.total("cost"), SHARES, np.zeros(len(curve)), np.full(len(curve), 0.5 * SHARES)
    )
    limits = Limits(1_000, TOLERANCE, SOLVE_SECONDS)
    for answer in SOLVERS[SolverType(solver)](problem, limits):
        answered[answer.backend] = answer.reason
        if answer.shares is not None:
            certificate = answer.certificate or certify(answer.shares, problem, answer.weights)
            answered[answer.backend] = fault_of(certificate, SHARES, len(curve), TOLERANCE)
    return "not installed; install the packages of requirements.lock"


def _kernel() -> str:
    """Start a notebook kernel as papermill does, and have it load the library; one that dies is started again."""
    try:
        reply = _reply_of_kernel()
    except (
        RuntimeError
    ):  # such as a port that another kernel has just taken: runs are started again too
        reply = _reply_of_kernel()
    if reply["status"] != "ok":
        raise UnhealthyError(
            f"the kernel cannot load the library: {reply['ename']}: {reply['evalue']}"
        )
    return "python3 started and loaded the library"


def _reply_of_kernel() -> dict[str, Any]:
    from jupyter_client.manager import KernelManager

    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(
        extra_arguments=["--log-level=ERROR"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT_ROOT,
    )
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=KERNEL_SECONDS)
        answer = client.execute("import research_lib.config", reply=True, timeout=KERNEL_SECONDS)
        return dict(answer["content"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _disk(*folders: Path) -> str:
    """Write a file where reports are written, and where runs work, and see what is left."""
    return "; ".join(_written(folder) for folder in folders)


def _written(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder, prefix=".health-") as file:
        file.write(bytes(WRITTEN_BYTES))
        file.flush()
        os.fsync(file.fileno())
    free = shutil.disk_usage(folder).free / 1e6
    return _enough(
        free,
        LEAST_DISK_MB,
        f"on the disk of {folder}",
        "delete old reports, or mount a larger volume",
    )


def _memory() -> str:
    return _enough(
        available_memory_mb(), LEAST_MEMORY_MB, "of memory", "end other work, or raise the limit"
    )


def _enough(free: float, least: float, where: str, remedy: str) -> str:
    said = f"{free:,.0f} MB free {where}"
    if free < least:
        raise UnhealthyError(f"{said}, a run needs {least:,.0f}; {remedy}")
    return said


def _data() -> str:
    """The folder of real data, which may be absent: the default configuration needs none."""
    folder = data_folder()
    if folder.is_dir():
        return f"{sum(1 for _ in os.scandir(folder))} entries in {folder}"
    if os.environ.get("RESEARCH_DATA") and folder != PROJECT_ROOT / "data":
        raise UnhealthyError(
            f"RESEARCH_DATA names {folder}, which is no folder; mount it there, or unset RESEARCH_DATA"
        )
    return f"no real data in {folder}: configurations that need them are skipped"
