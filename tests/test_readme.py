"""The Python of README and docs runs as it stands, one block after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import real_data

from research_lib.config import PROJECT_ROOT

READERS_OWN = (
    "7203.csv",
    "tokyo",
    "tcp://",
)  # a file, what was read from it, a cluster: the reader's own
NEEDS_DATA = re.compile(r'data_file\("([^"]+)"\)')


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), [("README.md", 4), ("docs/data.md", 3)])
def test_every_python_block_of_a_page_runs(
    page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= least
    for name in NEEDS_DATA.findall(text):
        real_data(name)
    names: dict[str, object] = {}
    for block in blocks:
        if not any(own in block for own in READERS_OWN):
            exec(compile(block, page, "exec"), names)
    assert ("allocation_plot.png" in text) == (tmp_path / "allocation_plot.png").is_file()
