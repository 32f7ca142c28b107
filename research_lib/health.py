"""`health_check`: whether this installation works now, for probes and for people."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from research_lib.config import PROJECT_ROOT, data_folder
from research_lib.errors import ResearchError

MIN_DISK_MB = 200.0  # several runs' figures and work folders
MIN_MEMORY_MB = 500.0  # a notebook's process with the library loaded
SOLVERS = "analytical/multiplier", "scipy/SLSQP", "cvxpy/CLARABEL", "cvxpy/OSQP", "cvxpy/SCS"


def health_check(reports: str | Path | None = None, only: Sequence[str] = ()) -> dict[str, Any]:
    """Try every part that a report needs: a fit, each solver backend, Jupyter, disk, memory, data.

    Each part is tried: every solver and every CVXPY backend solves a tiny order, Jupyter starts a
    process that loads the library, and a file is written where reports go.

    Parameters
    ----------
    reports : path, optional
        Folder that reports are written to, the project's own by default.
    only : sequence of str, optional
        Names of the checks to make, all by default. A liveness probe asks for "memory", which a
        restart can mend; a full disk or a missing mount it cannot.

    Returns
    -------
    dict
        status ("healthy" or "unhealthy"), timestamp (ISO 8601, UTC), and checks: by name ("model",
        "cvxpy/CLARABEL" and the other backends, "kernel", "disk", "memory", "data") healthy
        (bool) and detail (what was found, or why it is not healthy).

    Examples
    --------
    >>> sorted(health_check())
    ['checks', 'status', 'timestamp']
    """
    folders = Path(reports or PROJECT_ROOT / "reports"), Path(tempfile.gettempdir())
    known: dict[str, Callable[[], str]] = {
        "model": _model, **{name: partial(_solver, name) for name in SOLVERS},
        "kernel": _kernel, "disk": partial(_disk, *folders), "memory": _memory, "data": _data,
    }  # fmt: skip
    done = {name: _checked(check) for name, check in known.items() if name in (only or known)}
    return {
        "status": "healthy" if all(one["healthy"] for one in done.values()) else "unhealthy",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "checks": done,
    }


def _checked(check: Callable[[], str]) -> dict[str, Any]:
    """What the check found, or its error: a broken part may raise anything."""
    try:
        return {"healthy": True, "detail": check()}
    except Exception as error:
        named = "" if isinstance(error, ResearchError) else f"{type(error).__name__}: "
        return {"healthy": False, "detail": named + " ".join(str(error).split())}


def _model() -> str:
    """Draw thirteen books, walk and fit them."""
    from research_lib import ImpactModel, ModelConfig

    model = ImpactModel("linear", ModelConfig(progress_logging=False))
    slippage = model.estimate_slippage(model.generate_synthetic_orderbook(13, 5))
    model.fit_model(slippage)
    return f"a linear fit to {(~slippage['censored']).sum()} observations"


def _solver(name: str) -> str:
    from research_lib.execution import allocate
    from research_lib.impact import LinearImpact

    solver, backend = name.split("/")
    if solver == "cvxpy":
        import cvxpy

        if backend not in cvxpy.installed_solvers():
            raise ResearchError("not installed; install the packages of requirements.lock")
    done = allocate(LinearImpact([1e-4, 2e-4, 4e-4]), 1_000.0, solver=solver)
    if done.solver != solver:
        raise ResearchError(f"a tiny order was not solved: {done.attempts[0].reason}")
    return "a tiny order solved and certified"


def _kernel() -> str:
    """Start a Jupyter kernel as papermill does, and let it load the library."""
    from jupyter_client.manager import run_kernel

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": PROJECT_ROOT}
    with run_kernel(startup_timeout=60, kernel_name="python3", **quiet) as started:
        execute: Any = started.execute
        reply = execute("import research_lib.config", reply=True, timeout=60)["content"]
    if reply["status"] != "ok":
        raise ResearchError(f"it cannot load the library: {reply['ename']}: {reply['evalue']}")
    return "python3 started and loaded the library"


def _disk(*folders: Path) -> str:
    """Write a file where reports are written and where runs work; look at the free space."""
    found, remedy = [], "delete old reports, or mount a larger volume"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".health-") as file:
            file.write(bytes(65_536))
        free, where = shutil.disk_usage(folder).free, f"on the disk of {folder}"
        found.append(_enough(free, MIN_DISK_MB, where, remedy))
    return "; ".join(found)


def _memory() -> str:
    free, remedy = psutil.virtual_memory().available, "end other work, or raise the limit"
    return _enough(free, MIN_MEMORY_MB, "of memory", remedy)


def _enough(free: float, least: float, where: str, remedy: str) -> str:
    found = f"{free / 1e6:,.0f} MB free {where}"
    if free / 1e6 < least:
        raise ResearchError(f"{found}, a run needs {least:,.0f}; {remedy}")
    return found


def _data() -> str:
    """The folder of real data, which may be absent: the default configuration needs none."""
    folder = data_folder()
    if os.environ.get("RESEARCH_DATA") and folder != PROJECT_ROOT / "data" and not folder.is_dir():
        raise ResearchError(f"RESEARCH_DATA names {folder}, which is no folder; mount or unset it")
    return f"{folder}" if folder.is_dir() else f"no real data in {folder}: their runs are skipped"
