"""What a run may choose: notebooks and their parameters, configurations, and grids of these."""

import ast
import functools
import itertools
import math
import re
import shlex
from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import pydantic

from research_lib.checks import nearest, refuse_unknown
from research_lib.config import PROJECT_ROOT, Json, ModelConfig, OptimizerConfig, Record, read_yaml
from research_lib.errors import ValidationError
from research_lib.impact.estimation import MODEL_TYPES
from research_lib.market import QualityPolicy, Session
from research_lib.market.presets import PRESETS
from research_lib.market.readers.tabular import Options

# A section of a report is an executed notebook; its page is <section>_summary.md.
NOTEBOOKS = {
    "modeling": "impact_modeling.ipynb", "strategy": "trade_allocation_strategy.ipynb",
    "robustness": "strategy_robustness.ipynb", "portfolio": "portfolio_execution.ipynb",
    "transient": "transient_impact.ipynb", "tca": "execution_tca.ipynb",
    "forecast": "liquidity_forecast.ipynb", "passive": "passive_execution.ipynb",
    "methodology": "methodology.ipynb",
}  # fmt: skip
USUAL = ("modeling", "strategy", "robustness")  # of a configuration that names no sections
PRESET_NAMES = tuple(PRESETS)
# The types that a notebook may declare: `total_shares: float = 20000.0  # the order, shares`.
TYPES: dict[str, Any] = {one.__name__: one for one in (int, float, str, bool, dict)}
TYPES |= {str(one): one for one in (list[int], list[float], list[str])}
EXACT = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)
# Of a file and a folder: no separator, no dot, no option.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
# One line, and it stands in tables and pages.
TITLE = pydantic.Field(pattern=r"^[^<>|`\\\x00-\x1f]{1,200}$")
MAX_RUNS = 10_000  # of a grid
Parameters = dict[str, Any]
Labelled = Sequence[tuple[str, Parameters]]  # labels, each with the parameters it stands for


def _settings(record: type[Record]) -> Any:
    """A mapping that a class of settings takes."""

    def check(value: Parameters) -> Parameters:
        record.from_dict(value)
        return value

    return Annotated[dict, pydantic.AfterValidator(check)]


def _below_data(value: str) -> str:
    """Refuse what could be outside RESEARCH_DATA."""
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or not value.isprintable():
        raise ValidationError(f"{value!r:.80} must be a path below RESEARCH_DATA")
    return value


DATA_FILE = Annotated[str, pydantic.AfterValidator(_below_data)]
# What parameters of these names may be beside it, whatever their notebook.
KINDS: dict[str, Any] = {
    "side": Literal["buy", "sell"], "objective": Literal["cost", "impact"],
    "model_type": Literal[MODEL_TYPES], "preset_name": Literal[PRESET_NAMES],
    "prior_presets": list[Literal[PRESET_NAMES]],  # type: ignore[valid-type]
    "total_shares": pydantic.PositiveFloat, "size_multiples": list[pydantic.PositiveFloat],
    "n_intervals": pydantic.PositiveInt, "fit_days": pydantic.NonNegativeInt,
    "n_seeds": pydantic.NonNegativeInt, "daily_volume": pydantic.NonNegativeFloat,
    "urgency": pydantic.NonNegativeFloat, "latency_seconds": pydantic.NonNegativeFloat,
    "model_settings": _settings(ModelConfig), "optimizer_settings": _settings(OptimizerConfig),
    "session_settings": _settings(Session), "quality_settings": _settings(QualityPolicy),
    "read_settings": _settings(Options),
}  # fmt: skip


@dataclass(frozen=True)
class Project:
    """Where notebooks, configurations and reports are; this project's own by default.

    Attributes
    ----------
    notebooks, configurations, reports : Path
        Folders.
    sections : mapping of section to file name
        The notebooks that a configuration may run, in the order of a report.

    Examples
    --------
    >>> Project().parameters("modeling", {"seed": 8})["side"]
    'buy'
    >>> Project().parameters("modeling", {"sed": 8})
    Traceback (most recent call last):
    research_lib.errors.ValidationError: modeling: 'sed' is unknown; did you mean 'seed'?
    """

    notebooks: Path = PROJECT_ROOT / "notebooks"
    configurations: Path = PROJECT_ROOT / "notebooks" / "configs"
    reports: Path = PROJECT_ROOT / "reports"
    sections: Mapping[str, str] = field(default_factory=lambda: dict(NOTEBOOKS))

    def notebook(self, section: str) -> Path:
        """The notebook of a section."""
        return self.notebooks / self.sections[section]

    def parameters(self, section: str, given: Json) -> dict[str, Any]:
        """All parameters of a section: what is given, and the notebook's defaults.

        papermill itself only logs an unknown parameter and runs on with the defaults.

        Raises
        ------
        ValidationError
            A parameter that the notebook does not declare, or that is of another type than it
            declares; naming the section, the parameter, its value, and what it may be.
        """
        return validated(self.model(section), given, f"{section}: ")

    def model(self, section: str) -> type[pydantic.BaseModel]:
        """Of a section's parameters, as its notebook declares them."""
        path = self.notebook(section)
        return _model(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _model(path: Path, modified: int) -> type[pydantic.BaseModel]:
    """Of a notebook's parameters cell: each has its declared type and its default."""
    from papermill import inspect_notebook

    found = inspect_notebook(str(path))
    if not found:
        raise ValidationError(f"{path.name} has no cell tagged parameters; tag the one it needs")
    fields: Any = {}
    for name, one in found.items():
        if (declared := one["inferred_type_name"].replace(" ", "")) not in TYPES:
            what = f"parameter {name} is declared {declared!r}"
            raise ValidationError(f"{path.name}: {what}; write {name}: T = ..., T of {list(TYPES)}")
        kind = KINDS.get(name, TYPES[declared])
        if name.endswith(("_file_name", "_file_names")):
            kind = DATA_FILE if kind is str else list[DATA_FILE]
        fields[name] = (kind, ast.literal_eval(one["default"]))
    return pydantic.create_model("Parameters", __config__=EXACT, **fields)


def validated(model: type[pydantic.BaseModel], content: Json, what: str = "") -> Parameters:
    """The content, with the model's defaults for what is missing; `what` begins a refusal.

    The first of pydantic's findings is told in a line: where, what is due, and what was given.
    """
    try:
        return model.model_validate(dict(content)).model_dump()
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        why = f"{where}: {problem['msg']}, got {problem['input']!r:.80}"
        if problem["type"] == "extra_forbidden":
            why = f"{where!r:.80} is unknown{nearest(where, model.model_fields)}"
        elif problem["type"] == "value_error":
            why = f"{where}: {problem['ctx']['error']}"
        raise ValidationError(f"{what}{why}") from error


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
    live : mapping
        Settings of a live desk (`live.Settings`), which no report depends on.

    Examples
    --------
    >>> run = RunConfig.load("default")
    >>> run.rerun, run.section_data("strategy")
    ('python -m research_lib report default', [])
    """

    name: str
    title: str
    parameters: dict[str, Parameters]
    effective: dict[str, Parameters]
    source: str = ""
    live: Parameters = field(default_factory=dict)

    @classmethod
    def load(cls, name: str, project: Project | None = None) -> Self:
        """Read and check <configurations>/<name>.yml, as `from_content` describes it."""
        project = project or Project()
        refuse_unknown([name], configuration_names(project), "configuration")
        path = project.configurations / f"{name}.yml"
        return cls.from_content(name, read_yaml(path), project, path)

    @classmethod
    def from_content(cls, name: str, content: Json, project: Project, source: Path) -> Self:
        """Check one configuration before anything runs.

        Parameters
        ----------
        name : str
            Letters, digits, "_" and "-", at most 80: it becomes a folder.
        content : mapping
            `title`; `sections`, the notebooks to run (those of USUAL where not given);
            parameters by section; `shared` ones, which go to each of the run's sections that
            declares them; and `live`, settings of a live desk.
        project : Project
        source : Path
            The file that it stands in.

        Raises
        ------
        ValidationError
            Naming the configuration, the key or parameter, its value, and what it may be.
        """
        if not NAME.fullmatch(name):
            why = "is no name of a configuration: letters, digits, _ and -, at most 80"
            raise ValidationError(f"{name[:80]!r} {why}")
        try:
            known = validated(_file_model(tuple(project.sections)), content)
            given = _shared_out(known, project)
            effective = {one: project.parameters(one, values) for one, values in given.items()}
        except ValidationError as error:
            where = source.name if source.stem == name else f"{source.name}: {name}"
            raise ValidationError(f"{where}: {error}") from error
        if source.is_relative_to(PROJECT_ROOT):
            source = source.relative_to(PROJECT_ROOT)
        # 50000 of a float parameter is 50000.0, in the notebook as in its hash.
        typed = {one: {key: effective[one][key] for key in own} for one, own in given.items()}
        return cls(name, known["title"], typed, effective, source.as_posix(), known["live"] or {})

    @property
    def rerun(self) -> str:
        """The command that makes this report again."""
        grid = "" if Path(self.source).stem == self.name else f"--grid {shlex.quote(self.source)} "
        return f"python -m research_lib report {grid}{self.name}"

    def identity(self) -> dict[str, Any]:
        """What a manifest says of it."""
        own = {"name": self.name, "title": self.title, "source": self.source, "rerun": self.rerun}
        return {**own, "parameters": self.effective}

    def section_data(self, section: str) -> list[str]:
        """Files below RESEARCH_DATA that a notebook's data_file_name and *_file_names name."""
        values = self.effective[section]
        lists = [files for name, files in values.items() if name.endswith("_file_names")]
        return [name for name in [values.get("data_file_name"), *itertools.chain(*lists)] if name]


def configuration_names(project: Project | None = None) -> list[str]:
    """Names of the configurations, the embedded default first.

    Examples
    --------
    >>> configuration_names()[0]
    'default'
    """
    names = {path.stem for path in (project or Project()).configurations.glob("*.yml")}
    return sorted(names, key=lambda name: (name != "default", name))


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


@functools.cache
def _file_model(sections: tuple[str, ...]) -> type[pydantic.BaseModel]:
    """Of a configuration's file, or a grid's without its axes.

    What the parameters may be says each section's own model.
    """
    section: Any = Literal[sections]
    chosen = Annotated[list[section], pydantic.Field(min_length=1)]
    usual = [one for one in USUAL if one in sections]
    fields: dict[str, Any] = {"title": (Annotated[str, TITLE], ...), "sections": (chosen, usual)}
    fields |= dict.fromkeys(("shared", "live", *sections), (Parameters | None, None))
    return pydantic.create_model("Configuration", __config__=EXACT, **fields)


def _shared_out(known: Json, project: Project) -> dict[str, Parameters]:
    """Parameters of each of the run's sections: shared ones that it declares, and its own."""
    chosen, shared = known["sections"], known["shared"] or {}
    for section in project.sections:
        if known[section] and section not in chosen:
            raise ValidationError(f"{section} has parameters but is not among sections; add it")
    declared = {one: project.model(one).model_fields for one in project.sections if one in chosen}
    refuse_unknown(shared, dict(ChainMap(*declared.values())), "shared: parameter")
    common = {one: {k: v for k, v in shared.items() if k in declared[one]} for one in declared}
    return {one: common[one] | (known[one] or {}) for one in declared}


def load_grid(path: str | Path, project: Project | None = None) -> list[RunConfig]:
    """The configurations of a grid file, checked, in the order of its axes.

    The file is a configuration (`title`, `sections`, `shared` and sections' parameters) with
    `axes`: each maps a parameter to a list of values, or any name, such as `symbol`, to a mapping
    of labels to parameters. A run is named <file>-<label>-<label>..., so the same file always
    gives the same names.

    Raises
    ------
    ValidationError
        Naming the file, the axis and what it may be; more than 10,000 runs; two runs of one name.

    Examples
    --------
    >>> len(load_grid(PROJECT_ROOT / "notebooks" / "grids" / "small.yml"))
    24
    """
    project, file = project or Project(), Path(path).resolve()
    content = read_yaml(file)
    given = content.pop("axes", None)
    try:
        if not isinstance(given, dict) or not given:
            raise ValidationError("axes must map each axis to its values")
        axes = [_axis(str(axis), values) for axis, values in given.items()]
        if (size := math.prod(map(len, axes))) > MAX_RUNS:
            raise ValidationError(f"the axes make {size:,} runs, at most {MAX_RUNS:,}; split it")
        known = validated(_file_model(tuple(project.sections)), content)
        own = {name for section in project.sections for name in known[section] or {}}
        moved = [set().union(*(parameters for _, parameters in axis)) for axis in axes]
        for name, count in Counter(itertools.chain(*moved)).items():
            if count > 1 or name in own:
                where = "on two axes" if count > 1 else "on an axis and in a section"
                raise ValidationError(f"{name} is {where}; remove one")
    except ValidationError as error:
        raise ValidationError(f"{file.name}: {error}") from error
    runs: dict[str, RunConfig] = {}
    for chosen in itertools.product(*axes):
        labels, parameters = zip(*chosen, strict=True)
        if (name := "-".join([file.stem, *labels])) in runs:
            raise ValidationError(f"{file.name}: {name} stands for several runs; label the axes")
        shared = dict(ChainMap(*parameters, known["shared"] or {}))
        one = {**known, "shared": shared, "title": f"{known['title']}: {', '.join(labels)}"}
        runs[name] = RunConfig.from_content(name, one, project, file)
    return list(runs.values())


def _axis(axis: str, values: Any) -> Labelled:
    match values:
        case dict() if values and all(isinstance(one, dict) for one in values.values()):
            return [(_label(label), parameters) for label, parameters in values.items()]
        case [*_] if values and all(isinstance(one, str | int | float) for one in values):
            return [(_label(one), {axis: one}) for one in values]
    raise ValidationError(f"axis {axis} must be a list of values, or map labels to parameters")


def _label(value: Any) -> str:
    """A value as part of a folder's name: 20000.0 is 20000, 0.05 is 0p05."""
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^A-Za-z0-9_]+", "_", text.replace(".", "p").replace("+", "")).strip("_")[:40]
