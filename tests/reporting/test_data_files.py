"""docs/data.md lists every data file of the reports, and `docs/data_files.py --check` finds the changed ones."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from data_files import ListedFile, listed_files, main, users_of_data

from research_lib.config import data_files as found_in_data
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting import Project, RunConfig, chosen_runs

HEADER = "| file | bytes | SHA-256 | source | licence |\n|---|---:|---|---|---|\n"
CONTENT = {"desk/one.csv": b"1,2\n", "desk/two.csv": b"3,4,5\n"}


def _row(name: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"| `{name}` | {len(content):,} | `{digest}` | own | not stated |\n"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that lists two files, both of which are in RESEARCH_DATA."""
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path / "data"))
    for name, content in CONTENT.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    rows = "".join(_row(name, content) for name, content in CONTENT.items())
    path = tmp_path / "data.md"
    path.write_text(f"# Data\n\n| another | table |\n|---|---|\n\n{HEADER}{rows}\nMore.\n")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """This project's notebooks with one configuration, which uses the first file."""
    _configure(tmp_path, "desk/one.csv")
    return dataclasses.replace(Project(), configurations=tmp_path / "configs")


def _configure(folder: Path, name: str) -> None:
    (folder / "configs").mkdir(exist_ok=True)
    content = f'title: own\nsections: [transient]\ntransient: {{data_file_name: "{name}"}}\n'
    (folder / "configs" / "own.yml").write_text(content)


def _change(page: Path, how: str) -> None:
    file = page.parent / "data" / "desk" / "two.csv"
    if how == "absent":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "changed":
        file.write_bytes(b"3,4,6\n")


@pytest.mark.parametrize(
    ("how", "said", "code", "strict_code"),
    [
        ("right", "ok", 0, 0),
        ("changed", "SHA-256 differs", 1, 1),
        ("truncated", "size differs", 1, 1),
        ("absent", "absent", 0, 1),
    ],
)
def test_each_file_is_right_absent_or_named_as_different(
    how: str, said: str, code: int, strict_code: int,
    page: Path, project: Project, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    _change(page, how)
    assert main(["--check", "--table", str(page)], project) == code
    one, two, last = capsys.readouterr().out.splitlines()
    assert (one, two) == ("desk/one.csv: ok", f"desk/two.csv: {said}")
    counts = "2 ok" if how == "right" else f"1 ok, 1 {said}"
    assert last == f"2 files in {page.parent / 'data'}: {counts}"
    assert main(["--check", "--strict", "--table", str(page)], project) == strict_code


def test_without_check_sizes_presence_and_users_are_listed(
    page: Path, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    _change(page, "absent")
    assert main(["--table", str(page)], project) == 0
    one, two, last = capsys.readouterr().out.splitlines()
    assert one == "desk/one.csv: here, 4 bytes, used by own"
    assert two == "desk/two.csv: absent, 6 bytes, used by no configuration"
    assert last.endswith(": 1 here, 1 absent")


@pytest.mark.parametrize(
    "name", ["desk/three.csv", "desk/t*.csv", "elsewhere/*.csv", "desk"], ids=str
)
def test_what_a_configuration_uses_and_the_table_lacks_is_named(
    name: str, page: Path, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "desk" / "three.csv").write_bytes(b"6\n")
    _configure(tmp_path, name)
    assert main(["--check", "--table", str(page)], project) == 0
    unlisted = "elsewhere/*.csv" if name.startswith("else") else "desk/three.csv"
    assert f"{unlisted}: not listed, used by own" in capsys.readouterr().out.splitlines()
    assert main(["--check", "--strict", "--table", str(page)], project) == 1


def test_a_file_read_along_with_a_listed_one_must_be_listed_too(
    page: Path, project: Project, tmp_path: Path
) -> None:
    for name in ("xyz_20250403_quote.zip", "xyz_20250403_trade.zip"):
        (tmp_path / "data" / "desk" / name).write_bytes(b"PK")
    _configure(tmp_path, "desk/xyz_*_quote.zip")
    page.write_text(HEADER + _row("desk/xyz_20250403_quote.zip", b"PK"))
    users = users_of_data(listed_files(page), chosen_runs([], None, project))
    assert users == {f"desk/xyz_20250403_{kind}.zip": ["own"] for kind in ("quote", "trade")}


def test_the_committed_table_lists_every_file_that_a_configuration_uses() -> None:
    """Names and patterns of all configurations; with the data, also what is read along with them."""
    files = listed_files()
    users = users_of_data(files, chosen_runs([], None, Project()))
    unlisted = sorted(users.keys() - {file.name for file in files})
    assert not unlisted, f"add to the table of docs/data.md: {unlisted}"
    unused = sorted({file.name for file in files} - users.keys())
    assert not unused, f"no configuration uses {unused}: take them out of docs/data.md"
    assert len({file.name for file in files}) == len(files)


def test_both_files_of_a_pair_and_the_factor_files_are_in_the_committed_table() -> None:
    for run, kinds in {"goog": ("message", "orderbook"), "bac": ("quote", "trade")}.items():
        names = users_of_data(listed_files(), [RunConfig.load(run)])
        assert len(names) == {"goog": 2, "bac": 8}[run]
        assert all(any(kind in name for name in names) for kind in kinds)
    names = list(users_of_data(listed_files(), [RunConfig.load("portfolio_us")]))
    assert sum(name.endswith("_factor_file.csv") for name in names) == 4


def test_the_data_that_are_here_are_those_of_the_committed_table() -> None:
    found = {file.name: file.state() for file in listed_files() if found_in_data(file.name)}
    if not found:
        pytest.skip("no data file of docs/data.md is in RESEARCH_DATA")
    assert set(found.values()) == {"ok"}, found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# Data\n", "has no table with the columns file, bytes, SHA-256, source, licence"),
        (HEADER + "| a.csv | many | x | own | own |\n", "'a.csv | many | x | own | own' needs"),
        (HEADER + f"| a.csv | 3 | {'0' * 64} | own |\n", "needs a size in bytes"),
        (HEADER + f"| a.csv | 3 | {'0' * 64} | own |  |\n", "a source and a licence"),
    ],
)
def test_a_page_without_a_whole_table_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(ValidationError, match=reason.replace("|", r"\|")):
        listed_files(tmp_path / "page.md")
    with pytest.raises(MissingDataError, match=r"absent\.md does not exist"):
        listed_files(tmp_path / "absent.md")


def test_a_listed_file_is_looked_for_below_research_data(page: Path) -> None:
    assert listed_files(page)[1].path == page.parent / "data" / "desk" / "two.csv"
    assert ListedFile("absent.csv", 1, "0" * 64, "own", "own").state() == "absent"
