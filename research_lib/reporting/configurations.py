"""The configurations of runs: which notebooks, over which data, with which parameters."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research_lib.checks import nearest, refuse_unknown
from research_lib.config import PROJECT_ROOT, Record, data_file, read_yaml
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting.parameters import (
    Project,
    check_parameters,
    check_together,
    effective_parameters,
    real_data_of,
)

DEFAULT_SECTIONS = ("modeling", "strategy")
NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}"
)  # of a file and a folder: no separator, no dot, no option
RESERVED = ("html",)  # folders of their own among the reports
TITLE = re.compile(r"[^<>|`\\]{1,200}")  # it stands in tables and pages


@dataclass(frozen=True)
class RunConfig(Record):
    """One configuration: what it is, and the parameters of each notebook it runs.

    Attributes
    ----------
    name : str
        Name of its file and of its report folder.
    title : str
    parameters : mapping of section to mapping
        What papermill injects into the notebook of that section.
    effective : mapping of section to mapping
        The same with the notebook's defaults for what is not given.
    source : str
        The file it came from, below the project's folder where it is there.
    """

    name: str
    title: str
    parameters: dict[str, dict[str, Any]]
    effective: dict[str, dict[str, Any]]
    source: str = ""

    @classmethod
    def load(cls, name: str, project: Project | None = None) -> RunConfig:
        """Read and check <configurations>/<name>.yml, as `from_content` describes it."""
        project = project or Project()
        names = configuration_names(project)
        if name not in names:
            raise ValidationError(f"configuration {name!r} is unknown{nearest(name, names)}")
        path = project.configurations / f"{name}.yml"
        return cls.from_content(name, read_yaml(path), project, path)

    @classmethod
    def from_content(
        cls, name: str, content: Mapping[str, Any], project: Project, source: Path
    ) -> RunConfig:
        """Check one configuration before anything runs.

        Parameters
        ----------
        name : str
            Letters, digits, "_" and "-", at most 80: it becomes a folder.
        content : mapping
            `title`; `sections`, the notebooks to run (modeling and strategy where not given);
            parameters by section; and `shared` ones, which go to each of the run's sections
            that declares them.
        project : Project
        source : Path
            The file that it stands in.

        Raises
        ------
        ValidationError
            Naming the configuration, the key or parameter, its value, and what it may be.
        """
        if not NAME.fullmatch(name) or name.lower() in RESERVED:
            raise ValidationError(
                f"{name[:80]!r} is no name of a configuration: letters, digits, _ and -, at most 80"
            )
        try:
            title, given = _title(content), _given(content, project)
            declared = {section: project.declared(section) for section in given}
            _share(_mapping(content, "shared"), given, declared)
            for section, values in given.items():
                check_parameters(section, values, declared[section])
            effective = {
                key: effective_parameters(key, values, declared[key])
                for key, values in given.items()
            }
            for section, values in effective.items():
                check_together(section, values)
        except ValidationError as error:
            raise ValidationError(f"{_where(name, source)}: {error}") from error
        return cls(name, title, given, effective, below_project(source))

    @property
    def rerun(self) -> str:
        """The command that makes this report again."""
        grid = "" if Path(self.source).stem == self.name else f"--grid {shlex.quote(self.source)} "
        return f"python -m research_lib report {grid}{self.name}"

    def identity(self) -> dict[str, Any]:
        """What a manifest says of it."""
        own = {"name": self.name, "title": self.title, "source": self.source, "rerun": self.rerun}
        return {**own, "parameters": self.effective}

    @property
    def data(self) -> list[str]:
        """Files below RESEARCH_DATA that its notebooks read."""
        return list(
            dict.fromkeys(
                file for section in self.parameters for file in self.section_data(section)
            )
        )

    def section_data(self, section: str) -> list[str]:
        """Files below RESEARCH_DATA that one of its notebooks reads."""
        return real_data_of(self.effective[section])

    def missing_data(self) -> str:
        """Why its data cannot be read, or an empty text."""
        try:
            for file in self.data:
                data_file(file)
        except MissingDataError as error:
            return str(error)
        return ""


def configuration_names(project: Project | None = None) -> list[str]:
    """Names of the configurations, the embedded default first."""
    names = sorted(path.stem for path in (project or Project()).configurations.glob("*.yml"))
    return sorted(names, key=lambda name: name != "default")


def chosen_runs(names: Sequence[str], grid: str | None, project: Project) -> list[RunConfig]:
    """The runs that are asked for: of a grid file or of the configurations; all of them without names.

    Raises
    ------
    ValidationError
        Unknown name; misspelt, mistyped or impossible parameter, before anything runs.
    """
    if not grid:
        return [RunConfig.load(name, project) for name in names or configuration_names(project)]
    from research_lib.reporting.grids import load_grid

    runs = {run.name: run for run in load_grid(grid, project)}
    refuse_unknown(names, runs, "run of the grid")
    return [runs[name] for name in names or runs]


def below_project(path: Path) -> str:
    """A path as people write it: below the project's folder where it is there."""
    return (
        path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path
    ).as_posix()


def _where(name: str, source: Path) -> str:
    return source.name if source.stem == name else f"{source.name}: {name}"


def _title(content: Mapping[str, Any]) -> str:
    title = content.get("title")
    if not isinstance(title, str):
        raise ValidationError(f"title must be a text, got {title!r:.80}")
    if not TITLE.fullmatch(title) or not title.isprintable():
        raise ValidationError(
            "title must be one line of at most 200 characters without < > | ` and backslash"
        )
    return title


def _given(content: Mapping[str, Any], project: Project) -> dict[str, dict[str, Any]]:
    """Parameters of each of the run's sections, in the order of a report."""
    refuse_unknown(content, ["title", "sections", "shared", *project.sections], "key")
    sections = content.get(
        "sections", [name for name in DEFAULT_SECTIONS if name in project.sections]
    )
    if not isinstance(sections, list) or not sections:
        raise ValidationError(f"sections must be a list of notebooks to run, got {sections!r:.80}")
    refuse_unknown(sections, project.sections, "section")
    for section in project.sections:
        if content.get(section) and section not in sections:
            raise ValidationError(
                f"{section} has parameters but is not among sections; add it there or remove it"
            )
    return {name: dict(_mapping(content, name)) for name in project.sections if name in sections}


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise ValidationError(f"{key} must map parameters to values, got {value!r:.80}")
    return value


def _share(
    shared: Mapping[str, Any],
    given: Mapping[str, dict[str, Any]],
    declared: Mapping[str, Mapping[str, Any]],
) -> None:
    """Give each shared parameter to every section that declares it; a section's own value stands."""
    refuse_unknown(
        shared, {name for names in declared.values() for name in names}, "shared: parameter"
    )
    for section, values in given.items():
        own = {name: value for name, value in shared.items() if name in declared[section]}
        values.update({**own, **values})
