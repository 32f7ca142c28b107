"""The command line answers in one line what a user can mend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from research_lib.__main__ import main
from research_lib.config import data_file

LOCALE_C = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
HEADER = "stamp,symbol,publisher_id,bid_price_1,bid_size_1,ask_price_1,ask_size_1"
OWN = f"{HEADER}\n1743688800000,XYZ,39,10.0,5,10.1,5\n1743688860000,XYZ,2,10.0,5,10.1,5\n"


def _in_locale_c(code: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **LOCALE_C, "RESEARCH_DATA": str(folder)},
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_folder_with_a_name_beyond_ascii_works_in_any_locale(tmp_path: Path) -> None:
    folder = tmp_path / "données"
    folder.mkdir()
    (folder / "quotes.csv").write_text("x")
    code = "from research_lib.config import data_file; print(data_file('quotes.csv').read_text())"
    done = _in_locale_c(code, folder)
    assert (done.returncode, done.stdout) == (0, b"x\n"), done.stderr


def test_names_beyond_ascii_are_found_where_the_locale_spells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cotes_é.csv").write_text("x")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    assert data_file("cotes_é.csv").read_text() == "x"


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.csv").write_text(OWN)
    (tmp_path / "file").write_text("")
    assert main(["convert", str(tmp_path / "own.csv"), str(tmp_path / "file" / "store")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("time", "--read must hold a mapping of names to values"),
        ("=x", "--read is not valid YAML"),
        ("colums={}", "--read 'colums' is unknown; did you mean 'columns'?"),
    ],
)
def test_a_pair_that_is_none_is_refused(
    given: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "own.csv", str(tmp_path), "--read", given]) == 2
    assert reason in capsys.readouterr().err


def test_convert_takes_an_own_layout(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(OWN)
    layout = ["--read", "columns={stamp: time}", "where={publisher_id: 39}", "time_unit=ms"]
    source, store = str(tmp_path / "own.csv"), tmp_path / "store"
    assert main(["convert", source, str(store), *layout]) == 0
    assert [path.name for path in store.glob("symbol=XYZ/*")] == ["date=2025-04-03"]
