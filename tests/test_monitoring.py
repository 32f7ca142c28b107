"""Logs."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from research_lib import configure_logging
from research_lib.errors import ValidationError


@pytest.fixture(autouse=True)
def _restore_logger() -> Iterator[None]:
    logger = logging.getLogger("research_lib")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


def test_the_format_reaches_stream_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "logs" / "run.log"
    configure_logging(logging.INFO, path)
    logging.getLogger("research_lib.impact.model").info("fitted %d", 3)
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - research_lib.impact.model - INFO - fitted 3\n"
    assert re.fullmatch(pattern, path.read_text())
    assert re.fullmatch(pattern, capsys.readouterr().err)


def test_a_second_call_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    configure_logging("INFO")
    logging.getLogger("research_lib").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_the_file_rotates(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    logger = configure_logging(logging.INFO, path, max_bytes=500, backup_count=2)
    for i in range(50):
        logger.info("message %d", i)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.log", "run.log.1", "run.log.2"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValidationError, match="log level 'LOUD' is unknown; use DEBUG"):
        configure_logging("LOUD")


def test_importing_is_silent_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, logging, research_lib, research_lib.config;"
        "heavy = {'cvxpy', 'statsmodels', 'seaborn', 'matplotlib', 'numba', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy; assert not logging.getLogger('research_lib').handlers"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
