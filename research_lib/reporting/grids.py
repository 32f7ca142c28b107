"""Grids: one file that stands for a configuration of every combination of its axes."""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research_lib.checks import refuse_unknown
from research_lib.config import data_folder, read_yaml
from research_lib.errors import MissingDataError, ValidationError
from research_lib.reporting.configurations import RunConfig
from research_lib.reporting.parameters import SETTINGS, Project, check_path

LARGEST_GRID = 10_000


def load_grid(path: str | Path, project: Project | None = None) -> list[RunConfig]:
    """The configurations of a grid file, checked, in the order of its axes.

    The file is a configuration (`title`, `sections`, `shared` and sections' parameters) with
    `axes`: each maps a parameter, or a setting such as `optimizer_settings.default_solver`, to a
    list of values, or any name, such as `symbol`, to a mapping of labels to parameters, or
    `data_file_name` to `{every: PATTERN}`: all files and folders that the pattern finds below
    RESEARCH_DATA now, in the order of their names, each labelled by what its stars stand for; those that begin
    with . or _ are left out. A run is named <file>-<label>-<label>..., so the same file and data always give the
    same names.

    Raises
    ------
    ValidationError
        Naming the file, the axis and what it may be; a pattern that finds nothing; more than 10,000 runs; two
        runs of one name.
    """
    project, file = project or Project(), Path(path).resolve()
    content = read_yaml(file)
    try:
        axes = _axes(content.pop("axes", None))
        runs = [
            _run(file, content, combination, project) for combination in itertools.product(*axes)
        ]
    except ValidationError as error:
        raise (
            error if str(error).startswith(file.name) else ValidationError(f"{file.name}: {error}")
        ) from error
    twice = [name for name, number in Counter(run.name for run in runs).items() if number > 1]
    if twice:
        raise ValidationError(
            f"{file.name}: {len(twice)} names stand for several runs, such as {twice[0]}; label the axes"
        )
    return runs


def _axes(axes: Any) -> list[list[tuple[str, dict[str, Any]]]]:
    """Of each axis its labels, each with the parameters it stands for."""
    if not isinstance(axes, dict) or not axes:
        raise ValidationError("axes must map each axis to its values")
    labelled = {str(axis): _axis(str(axis), values) for axis, values in axes.items()}
    size = math.prod(map(len, labelled.values()))
    if size > LARGEST_GRID:
        counts = ", ".join(f"{len(values):,} of {axis}" for axis, values in labelled.items())
        raise ValidationError(
            f"the axes make {size:,} runs ({counts}), at most {LARGEST_GRID:,}; narrow one, or split the grid in files"
        )
    return list(labelled.values())


def _axis(axis: str, values: Any) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(values, dict) and list(values) == ["every"] and isinstance(values["every"], str):
        return _found(axis, values["every"])
    if isinstance(values, dict) and values:
        for label, parameters in values.items():
            if not isinstance(parameters, dict):
                raise ValidationError(f"axis {axis}: {label!r:.80} must map parameters to values")
        return [(_label(label), parameters) for label, parameters in values.items()]
    if (
        isinstance(values, list)
        and values
        and all(isinstance(value, (str, int, float, bool)) for value in values)
    ):
        return [(_label(value), _nested(axis, value)) for value in values]
    raise ValidationError(f"axis {axis} must be a list of values, or map labels to parameters")


def _found(axis: str, pattern: str) -> list[tuple[str, dict[str, Any]]]:
    """What a pattern finds below RESEARCH_DATA, which it cannot leave, under the parts that its stars stand for."""
    check_path("axis", axis, pattern)
    if (
        axis != "data_file_name"
        or set("?[]") & set(pattern)
        or "**" in pattern
        or "*" not in pattern
    ):
        raise ValidationError(
            f"axis {axis}: every {pattern!r:.80} must be a pattern of data_file_name with * and no ?, [] or **"
        )
    folder = data_folder()
    below = [path.relative_to(folder) for path in sorted(folder.glob(pattern))]
    names = [
        path.as_posix()
        for path in below
        if not any(part.startswith((".", "_")) for part in path.parts)
    ]
    if not names:
        raise MissingDataError(
            f"axis {axis}: nothing in {folder} matches {pattern} (what begins with . or _ is passed over); check it, "
            "or set RESEARCH_DATA"
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


def _nested(axis: str, value: Any) -> dict[str, Any]:
    group, _, setting = axis.partition(".")
    if not setting:
        return {axis: value}
    refuse_unknown([group], SETTINGS, "settings")
    return {group: {setting: value}}


def _run(
    file: Path,
    content: Mapping[str, Any],
    combination: tuple[tuple[str, dict[str, Any]], ...],
    project: Project,
) -> RunConfig:
    merged = copy.deepcopy(dict(content))
    shared = merged.setdefault("shared", {})
    labels = [label for label, _ in combination]
    for _, parameters in combination:
        for name, value in parameters.items():
            if any(
                isinstance(merged.get(section), dict) and name in merged[section]
                for section in project.sections
            ):
                raise ValidationError(
                    f"{name} is on an axis and in a section, which would win; remove one"
                )
            shared[name] = {**shared.get(name, {}), **value} if isinstance(value, dict) else value
    merged["title"] = f"{content.get('title')}: {', '.join(labels)}"
    return RunConfig.from_content("-".join([file.stem, *labels]), merged, project, file)
