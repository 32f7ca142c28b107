"""The README's Python runs as it stands, one block after the other."""

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
def test_every_python_block_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 5
    for name in NEEDS_DATA.findall(text):
        real_data(name)
    names: dict[str, object] = {}
    for block in blocks:
        if not any(own in block for own in READERS_OWN):
            exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "allocation_plot.png").is_file()
