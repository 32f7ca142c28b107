"""The data files of the reports as docs/data.md lists them: who uses them, and are they unchanged?

The Markdown table of that page is the only place where names, sizes, hashes, sources and licences
stand; this command reads it.
"""

import argparse
import fnmatch
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from research_lib.config import PROJECT_ROOT, Record, data_folder
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.readers.pairs import names_beside
from research_lib.reporting import Project, RunConfig, chosen_runs
from research_lib.reporting.manifest import file_hash, files_read

OPTIONS = {
    "--check": "compare sizes and SHA-256; exits with 1 if one differs",
    "--strict": "exit with 1 also if one is absent or not listed",
}
PAGE = PROJECT_ROOT / "docs" / "data.md"
HEADER = ["file", "bytes", "SHA-256", "source", "licence"]


@dataclass(frozen=True)
class ListedFile(Record):
    """One row of the table.

    Attributes
    ----------
    name : str
        Below RESEARCH_DATA.
    n_bytes : int
    sha256 : str
    source, licence : str
        As far as they are known, else "not stated".
    """

    name: str
    n_bytes: int
    sha256: str
    source: str
    licence: str

    @property
    def path(self) -> Path:
        """Where it is looked for."""
        return data_folder() / self.name

    def state(self) -> str:
        """ "ok", "absent", "size differs" or "SHA-256 differs"."""
        if not self.path.is_file():
            return "absent"
        if self.path.stat().st_size != self.n_bytes:
            return "size differs"
        return "ok" if file_hash(self.path) == self.sha256 else "SHA-256 differs"


def listed_files(page: str | Path = PAGE) -> list[ListedFile]:
    """The rows of a page's table of data files, in its order.

    Parameters
    ----------
    page : path, optional
        Markdown with one table whose columns are file, bytes, SHA-256, source, licence.

    Raises
    ------
    MissingDataError
        A page that does not exist.
    ValidationError
        A page without the table, or a row that is not complete, with its text.
    """
    if not Path(page).is_file():
        raise MissingDataError(f"{page} does not exist; it lists the data files of the reports")
    lines = Path(page).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    if HEADER not in rows:
        raise ValidationError(f"{page} has no table with the columns {', '.join(HEADER)}")
    found: list[ListedFile] = []
    for row in takewhile(bool, rows[rows.index(HEADER) + 2 :]):  # below the header's rule
        size = row[1].replace(",", "") if len(row) == len(HEADER) else ""
        if not (size.isdecimal() and len(row[2]) == 64 and row[3] and row[4]):
            due = "needs a size in bytes, 64 digits of SHA-256, a source and a licence"
            raise ValidationError(f"{page}: row {' | '.join(row)[:120]!r} {due}")
        found.append(ListedFile(row[0], int(size), row[2], row[3], row[4]))
    return found


def users_of_data(files: Iterable[ListedFile], runs: Iterable[RunConfig]) -> dict[str, list[str]]:
    """Names of the configurations that use each file, by its name below RESEARCH_DATA.

    A file is used where a configuration names it, by a pattern or a folder too, and where it is
    read along with one that is named. What a configuration names and the table does not list has
    its own key at the end, also where it is found in RESEARCH_DATA only.
    ['message', 'orderbook']
    """
    names = [file.name for file in files]
    users: dict[str, list[str]] = {}
    for run in runs:
        wanted = {one for section in run.effective for one in run.section_data(section)}
        for name in set().union(*(_meant(one, names) for one in wanted)):
            users.setdefault(name, []).append(run.name)
    unlisted = sorted(users.keys() - set(names))
    return {name: users[name] for name in [*names, *unlisted] if name in users}


def _meant(wanted: str, names: list[str]) -> set[str]:
    """Files that a name or pattern stands for and those read along, listed or here; else itself."""
    listed = {one for one in names if fnmatch.fnmatchcase(one, wanted)}
    listed |= {one for one in names if PurePosixPath(wanted) in PurePosixPath(one).parents}
    beside = {str(path) for one in listed for path in names_beside(PurePosixPath(one))}
    return {*listed, *beside.intersection(names), *files_read([wanted])} or {wanted}


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Print each file, who uses it and whether it is here; 1 if one is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, line in OPTIONS.items():
        parser.add_argument(name, action="store_true", help=line)
    parser.add_argument("--table", metavar="FILE", default=PAGE, help="another page with a table")
    options = parser.parse_args(arguments)
    files = listed_files(options.table)
    users = users_of_data(files, chosen_runs([], None, project or Project()))
    counts: Counter[str] = Counter()
    for file in files:
        state = file.state() if options.check else "here" if file.path.is_file() else "absent"
        counts[state] += 1
        used = ", ".join(users.pop(file.name, ["no configuration"]))
        more = "" if options.check else f", {file.n_bytes:,} bytes, used by {used}"
        print(f"{file.name}: {state}{more}")
    for name, using in users.items():
        counts["not listed"] += 1
        print(f"{name}: not listed, used by {', '.join(using)}")
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    print(f"{len(files)} files in {data_folder()}: {said}")
    differ = any(state.endswith("differs") for state in counts)
    return int(differ or (options.strict and bool({"absent", "not listed"} & counts.keys())))


if __name__ == "__main__":
    sys.exit(main())
