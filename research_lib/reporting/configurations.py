"""The configurations of runs, and grids of them: which notebooks, data and parameters."""

from __future__ import annotations

import copy
import itertools
import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from research_lib.checks import nearest, refuse_unknown
from research_lib.config import PROJECT_ROOT, Record, data_file, data_folder, read_yaml
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting.parameters import (
    SETTINGS,
    Project,
    check_parameters,
    check_path,
    check_together,
    effective_parameters,
    real_data_of,
)

DEFAULT_SECTIONS = ("modeling", "strategy")
# Of a file and a folder: no separator, no dot, no option.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
RESERVED = ("html",)  # folders of their own among the reports
TITLE = re.compile(r"[^<>|`\\]{1,200}")  # it stands in tables and pages
MAX_RUNS = 10_000  # of a grid
Axis = list[tuple[str, dict[str, Any]]]  # labels, each with the parameters it stands for


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

    Examples
    --------
    >>> run = RunConfig.load("default")
    >>> run.rerun, run.data
    ('python -m research_lib report default', [])
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
            effective = {}
            for section, values in given.items():
                check_parameters(section, values, declared[section])
                effective[section] = effective_parameters(section, values, declared[section])
                check_together(section, effective[section])
        except ValidationError as error:
            where = source.name if source.stem == name else f"{source.name}: {name}"
            raise ValidationError(f"{where}: {error}") from error
        inside = source.is_relative_to(PROJECT_ROOT)
        written = source.relative_to(PROJECT_ROOT) if inside else source
        return cls(name, title, given, effective, written.as_posix())

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
        files = (file for section in self.parameters for file in self.section_data(section))
        return list(dict.fromkeys(files))

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
    """Names of the configurations, the embedded default first.

    Examples
    --------
    >>> configuration_names()[0]
    'default'
    """
    names = sorted(path.stem for path in (project or Project()).configurations.glob("*.yml"))
    return sorted(names, key=lambda name: name != "default")


def chosen_runs(names: Sequence[str], grid: str | None, project: Project) -> list[RunConfig]:
    """The runs that are asked for, of a grid file or of the configurations; all without names.

    Raises
    ------
    ValidationError
        Unknown name; misspelt, mistyped or impossible parameter, before anything runs.

    Examples
    --------
    >>> [run.title for run in chosen_runs(["default"], None, Project())]
    ['embedded synthetic thin stock, sixty days of minutes']
    """
    if not grid:
        return [RunConfig.load(name, project) for name in names or configuration_names(project)]
    runs = {run.name: run for run in load_grid(grid, project)}
    refuse_unknown(names, runs, "run of the grid")
    return [runs[name] for name in names or runs]


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
    usual = [name for name in DEFAULT_SECTIONS if name in project.sections]
    sections = content.get("sections", usual)
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
    """Give a shared parameter to each section that declares it; a section's own value stands."""
    known = {name for names in declared.values() for name in names}
    refuse_unknown(shared, known, "shared: parameter")
    for section, values in given.items():
        own = {name: value for name, value in shared.items() if name in declared[section]}
        values.update({**own, **values})


def load_grid(path: str | Path, project: Project | None = None) -> list[RunConfig]:
    """The configurations of a grid file, checked, in the order of its axes.

    The file is a configuration (`title`, `sections`, `shared` and sections' parameters) with
    `axes`: each maps a parameter, or a setting such as `optimizer_settings.default_solver`, to a
    list of values, or any name, such as `symbol`, to a mapping of labels to parameters, or
    `data_file_name` to `{every: PATTERN}`: all files and folders that the pattern finds below
    RESEARCH_DATA now, in the order of their names, each labelled by what its stars stand for;
    those that begin with . or _ are left out. A run is named <file>-<label>-<label>..., so the
    same file and data always give the same names.

    Raises
    ------
    ValidationError
        Naming the file, the axis and what it may be; a pattern that finds nothing; more than
        10,000 runs; two runs of one name.

    Examples
    --------
    >>> len(load_grid(PROJECT_ROOT / "notebooks" / "grids" / "small.yml"))
    24
    """
    project, file = project or Project(), Path(path).resolve()
    content = read_yaml(file)
    try:
        axes = _axes(content.pop("axes", None))
        runs = [_run(file, content, chosen, project) for chosen in itertools.product(*axes)]
    except ValidationError as error:
        known = str(error).startswith(file.name)
        raise error if known else ValidationError(f"{file.name}: {error}") from error
    twice = [name for name, number in Counter(run.name for run in runs).items() if number > 1]
    if twice:
        raise ValidationError(
            f"{file.name}: {len(twice)} names stand for several runs, such as {twice[0]}; "
            "label the axes"
        )
    return runs


def _axes(axes: Any) -> list[Axis]:
    if not isinstance(axes, dict) or not axes:
        raise ValidationError("axes must map each axis to its values")
    labelled = {str(axis): _axis(str(axis), values) for axis, values in axes.items()}
    size = math.prod(map(len, labelled.values()))
    if size > MAX_RUNS:
        counts = ", ".join(f"{len(values):,} of {axis}" for axis, values in labelled.items())
        raise ValidationError(
            f"the axes make {size:,} runs ({counts}), at most {MAX_RUNS:,}; "
            "narrow one, or split the grid in files"
        )
    return list(labelled.values())


def _axis(axis: str, values: Any) -> Axis:
    if isinstance(values, dict) and list(values) == ["every"] and isinstance(values["every"], str):
        return _found(axis, values["every"])
    if isinstance(values, dict) and values:
        for label, parameters in values.items():
            if not isinstance(parameters, dict):
                raise ValidationError(f"axis {axis}: {label!r:.80} must map parameters to values")
        return [(_label(label), parameters) for label, parameters in values.items()]
    scalars = isinstance(values, list) and all(isinstance(one, str | int | float) for one in values)
    if not values or not scalars:
        raise ValidationError(f"axis {axis} must be a list of values, or map labels to parameters")
    group, _, setting = axis.partition(".")
    if not setting:
        return [(_label(value), {axis: value}) for value in values]
    refuse_unknown([group], [*SETTINGS, "read_settings"], "settings")
    return [(_label(value), {group: {setting: value}}) for value in values]


def _found(axis: str, pattern: str) -> Axis:
    """What a pattern finds below RESEARCH_DATA, which it cannot leave, by what its stars are."""
    check_path(pattern)
    odd_pattern = set("?[]") & set(pattern) or "**" in pattern or "*" not in pattern
    if axis != "data_file_name" or odd_pattern:
        raise ValidationError(
            f"axis {axis}: every {pattern!r:.80} must be a pattern of data_file_name with * "
            "and no ?, [] or **"
        )
    folder = data_folder()
    below = [path.relative_to(folder) for path in sorted(folder.glob(pattern))]
    hidden = (".", "_")
    names = [one.as_posix() for one in below if not any(p.startswith(hidden) for p in one.parts)]
    if not names:
        raise MissingDataError(
            f"axis {axis}: nothing in {folder} matches {pattern} (what begins with . or _ is "
            "passed over); check it, or set RESEARCH_DATA"
        )
    odd = [name for name in names if set("*?[]") & set(name)]
    if odd:
        raise ValidationError(
            f"axis {axis}: {odd[0]!r:.80} has *, ?, [ or ] in its name; rename it"
        )
    stars = re.compile("([^/]*)".join(map(re.escape, Path(pattern).as_posix().split("*"))))
    labels = ["_".join(found.groups()) for found in map(stars.fullmatch, names) if found]
    return [(_label(label), {axis: name}) for label, name in zip(labels, names, strict=True)]


def _label(value: Any) -> str:
    """A value as part of a folder's name: 20000.0 is 20000, 0.05 is 0p05."""
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9_]+", "_", text.replace(".", "p").replace("+", "")).strip("_")[:40]


def _run(
    file: Path, content: Mapping[str, Any], chosen: Sequence[Any], project: Project
) -> RunConfig:
    merged = copy.deepcopy(dict(content))
    shared = merged["shared"] = dict(_mapping(merged, "shared"))
    labels = [label for label, _ in chosen]
    own = {name for section in project.sections for name in _mapping(merged, section)}
    for name, value in (pair for _, parameters in chosen for pair in parameters.items()):
        if name in own:
            raise ValidationError(
                f"{name} is on an axis and in a section, which would win; remove one"
            )
        settings = isinstance(value, dict)
        shared[name] = {**_mapping(shared, name), **value} if settings else value
    merged["title"] = f"{content.get('title')}: {', '.join(labels)}"
    return RunConfig.from_content("-".join([file.stem, *labels]), merged, project, file)
