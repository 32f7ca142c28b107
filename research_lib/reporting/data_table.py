"""The data files of the reports as docs/data.md lists them: who uses them, and are they unchanged?

The Markdown table of that page is the only place where names, sizes, hashes, sources and licences
stand; this module reads it.
"""

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from research_lib.config import PROJECT_ROOT, Record, data_files, data_folder, spellable
from research_lib.errors import MissingDataError, ValidationError
from research_lib.market.readers.pairs import names_beside
from research_lib.reporting.manifest import file_hash
from research_lib.reporting.parameters import RunConfig

PAGE = PROJECT_ROOT / "docs" / "data.md"
HEADER = ["file", "bytes", "SHA-256", "source", "licence"]
OK, ABSENT, WRONG_SIZE, WRONG_HASH = "ok", "absent", "size differs", "SHA-256 differs"


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

    Examples
    --------
    >>> ListedFile("desk/quotes.csv", 12, "0" * 64, "own recording", "own").path.name
    'quotes.csv'
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
            return ABSENT
        if self.path.stat().st_size != self.n_bytes:
            return WRONG_SIZE
        return OK if file_hash(self.path) == self.sha256 else WRONG_HASH


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

    Examples
    --------
    >>> {file.name.split("/")[0] for file in listed_files()} >= {"lobster", "lean_us_equity"}
    True
    """
    if not spellable(page, "page").is_file():
        raise MissingDataError(f"{page} does not exist; it lists the data files of the reports")
    lines = Path(page).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    if HEADER not in rows:
        raise ValidationError(f"{page} has no table with the columns {', '.join(HEADER)}")
    found: list[ListedFile] = []
    for row in rows[rows.index(HEADER) + 2 :]:  # below the header's rule
        if not row:
            break
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

    Examples
    --------
    >>> run = RunConfig.load("goog")
    >>> [name.split("_")[-2] for name in users_of_data(listed_files(), [run])]
    ['message', 'orderbook']
    """
    names = [file.name for file in files]
    users: dict[str, list[str]] = {}
    for run in runs:
        wanted = {one for section in run.effective for one in run.section_data(section)}
        used = {name for one in wanted for name in _meant(one, names)}
        for name in used:
            users.setdefault(name, []).append(run.name)
    places = {name: place for place, name in enumerate(names)}
    return dict(sorted(users.items(), key=lambda item: (places.get(item[0], len(names)), item[0])))


def _meant(wanted: str, names: list[str]) -> Iterator[str]:
    """Listed files that a name or pattern stands for, files that are here, or itself if neither."""
    listed = [one for one in names if fnmatch.fnmatchcase(one, wanted)]
    listed += [one for one in names if PurePosixPath(wanted) in PurePosixPath(one).parents]
    here = data_files(wanted)
    yield from {*listed, *here} or {wanted}
    beside = {str(path) for one in listed for path in names_beside(PurePosixPath(one))}
    yield from beside.intersection(names)
    found = {data_folder() / path for one in here for path in names_beside(PurePosixPath(one))}
    yield from (path.relative_to(data_folder()).as_posix() for path in found if path.is_file())
