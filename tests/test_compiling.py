"""Compiled code is cached where that is possible, and works where it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research_lib.config import PROJECT_ROOT

OUTER_LIMIT = 300  # seconds; only keeps a hang from lasting
SOLVE = (
    "from research_lib.execution import allocate; from research_lib.impact import LinearImpact;"
    "print(allocate(LinearImpact([1e-4, 3e-4]), 400.0).shares.round(6).tolist())"
)


def _solve(package: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return subprocess.run(
        [sys.executable, "-B", "-c", SOLVE],
        cwd=package, env={**kept, "PYTHONPATH": str(package), **environment},
        capture_output=True, text=True, check=False, timeout=OUTER_LIMIT,
    )  # fmt: skip


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A copy of the library without a place for numba's cache, for root as for anybody.

    Permissions do not stop root; a file where the folder __pycache__ would be stops everybody.
    """
    library = tmp_path / "research_lib"
    shutil.copytree(
        PROJECT_ROOT / "research_lib", library, ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [library, *(path for path in library.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("")
    return tmp_path


def test_one_place_decides_how_code_is_compiled() -> None:
    files = (PROJECT_ROOT / "research_lib").rglob("*.py")
    users = [path.name for path in files if "import njit" in path.read_text(encoding="utf-8")]
    assert users == ["compiling.py"]


@pytest.mark.slow
def test_without_a_place_for_a_cache_the_library_works_and_warns_once(sealed: Path) -> None:
    nowhere = str(sealed / "research_lib" / "__pycache__" / "home")  # below a file
    done = _solve(sealed, HOME=nowhere, XDG_CACHE_HOME=nowhere, LOCALAPPDATA=nowhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[300.0, 100.0]\n"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1
    assert "no locator available" in done.stderr


@pytest.mark.slow
def test_numba_cache_dir_is_the_remedy(sealed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    nowhere = str(sealed / "research_lib" / "__pycache__" / "home")
    done = _solve(sealed, HOME=nowhere, XDG_CACHE_HOME=nowhere, NUMBA_CACHE_DIR=str(cache))
    assert (done.returncode, done.stderr) == (0, "")
    assert any(cache.rglob("*.nbi"))
