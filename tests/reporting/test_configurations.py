"""Configurations: sections, shared parameters, grids; what is misspelt, mistyped or hostile is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from research_lib.__main__ import main
from research_lib.config import PROJECT_ROOT, read_yaml
from research_lib.errors import ValidationError
from research_lib.reporting import Project, RunConfig, chosen_runs, configuration_names, load_grid

SMALL: dict[str, Any] = {
    "title": "small case",
    "shared": {"n_days": 30, "n_intervals": 26},
    "strategy": {"total_shares": 2000.0, "optimizer_settings": {"max_allocation_ratio": 0.1}},
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "configs").mkdir()
    return Project(configurations=tmp_path / "configs", reports=tmp_path / "reports")


def _write(project: Project, name: str, **changes: Any) -> None:
    (project.configurations / f"{name}.yml").write_text(yaml.safe_dump({**SMALL, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"shared": {"n_interval": 10}},
            r"bad.yml: shared: parameter 'n_interval' is unknown; did you mean 'n_intervals'",
        ),
        (
            {"shared": {"n_intervals": "many"}},
            r"modeling: n_intervals: Input should be a valid integer, got 'many'",
        ),
        (
            {"shared": {"n_intervals": True}},
            r"n_intervals: Input should be a valid integer, got True",
        ),
        (
            {"strategy": {"total_shares": float("nan")}},
            r"total_shares: Input should be a finite number, got nan",
        ),
        (
            {"shared": {"data_file_name": "../secrets.csv"}},
            r"data_file_name: '../secrets.csv' must be a path below",
        ),
        (
            {"shared": {"data_file_name": "/etc/passwd"}},
            r"data_file_name: '/etc/passwd' must be a path below",
        ),
        ({"title": "<script>"}, r"title: String should match pattern .*, got '"),
        ({"title": "a\nb"}, r"title: String should match pattern .*, got '"),
        (
            {"sections": ["modelling"]},
            r"sections.0: Input should be 'modeling', .* or 'methodology', got 'modelling'",
        ),
        ({"sections": []}, r"sections: List should have at least 1 item .*, got \[\]"),
        ({"sections": ["modeling"]}, r"strategy has parameters but is not among sections"),
        (
            {"sections": ["modeling"], "strategy": {}, "shared": {"refit_days": 2}},
            r"'refit_days' is unknown",
        ),
        ({"shared": {"side": 1}}, r"side: Input should be 'buy' or 'sell', got 1"),
        (
            {"shared": {"trade_sizes": "ten"}},
            r"trade_sizes: Input should be a valid list, got 'ten'",
        ),
        ({"shared": [1]}, r"bad.yml: shared: Input should be a valid dictionary, got \[1\]"),
        ({"title": None}, r"bad.yml: title: Input should be a valid string, got None"),
        ({"shared": {"output_dir": "/tmp/x"}}, r"shared: parameter 'output_dir' is unknown"),
        (
            {"strategy": {"total_shares": "1; import os"}},
            r"strategy: total_shares: Input should be a valid number, got '1; import os'",
        ),
        ({"strategy": {"sed": 1}}, r"bad.yml: strategy: 'sed' is unknown; did you mean 'seed'"),
        (
            {"shared": {"session_settings": {"closes": "17:00"}}},
            r"Session setting 'closes' is unknown; did you mean 'close'",
        ),
        ({"shared": {"session_settings": {"close": "25:00"}}}, r"close"),
        (
            {"shared": {"quality_settings": {"crossed": "ignore"}}},
            r"policy for crossed: 'ignore' is unknown",
        ),
        (
            {"shared": {"read_settings": ["UTC"]}},
            r"read_settings: Input should be a valid dictionary",
        ),
        ({"stratgy": {}}, r"bad.yml: 'stratgy' is unknown; did you mean 'strategy'"),
        (
            {"shared": {"model_settings": {"volatilty": 1}}},
            r"ModelConfig setting 'volatilty' is unknown",
        ),
        ({"strategy": {"optimizer_settings": {"tolerence": 1}}}, r"did you mean 'tolerance'"),
    ],
)
def test_misspelt_and_mistyped_parameters_are_refused_before_anything_runs(
    project: Project, changes: dict[str, Any], message: str
) -> None:
    _write(project, "bad", **changes)
    with pytest.raises(ValidationError, match=message):
        RunConfig.load("bad", project)


def test_an_integer_is_good_where_a_float_is_declared() -> None:
    assert Project().parameters("strategy", {"total_shares": 5000})["total_shares"] == 5000


def test_unknown_configurations_are_refused_and_cannot_leave_the_folder() -> None:
    with pytest.raises(
        ValidationError, match="configuration 'defualt' is unknown; did you mean 'default'"
    ):
        RunConfig.load("defualt")
    with pytest.raises(ValidationError, match="is unknown"):
        RunConfig.load("../../etc/passwd")


def test_every_committed_configuration_is_sound() -> None:
    names = configuration_names()
    assert names[0] == "default"
    assert all(RunConfig.load(name).parameters for name in names)


def test_shared_parameters_go_to_the_sections_that_declare_them(project: Project) -> None:
    _write(project, "one", shared={"n_days": 30, "refit_days": 2, "test_fraction": 0.5})
    run = RunConfig.load("one", project)
    assert run.parameters["modeling"] == {"n_days": 30, "test_fraction": 0.5}
    assert run.parameters["strategy"] == {"n_days": 30, "refit_days": 2, **SMALL["strategy"]}
    assert run.effective["strategy"]["seed"] == 7


@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ("010000", "total_shares", 10000.0),
        ("1e5", "total_shares", 1e5),
        ("+2.5E+2", "total_shares", 250.0),
        ("1_000", "total_shares", 1000.0),
        ("007", "seed", 7),
        ("08", "seed", 8),
        ("1:30", "data_file_name", "1:30"),
        ("ON", "data_file_name", "ON"),
        ("no", "data_file_name", "no"),
        ("2024-02-30", "data_file_name", "2024-02-30"),
    ],
)
def test_numbers_and_words_are_read_as_people_write_them(
    project: Project, written: str, name: str, value: Any
) -> None:
    """YAML 1.1 reads 4096, a text, a text, 1000, 7, a text, 90, two truth values and no such day."""
    text = f"title: x\nsections: [strategy]\nstrategy: {{{name}: {written}}}\n"
    (project.configurations / "one.yml").write_text(text)
    read = RunConfig.load("one", project).parameters["strategy"][name]
    assert (read, type(read)) == (value, type(value))


def test_how_own_files_are_read_goes_to_the_notebooks_as_it_is_written(project: Project) -> None:
    reading = {"columns": {"best_bid": "bid_price_1"}, "where": {"venue": "ON"}, "symbol": "007"}
    _write(project, "own", shared={"data_file_name": "own.csv", "read_settings": reading})
    run = RunConfig.load("own", project)
    for section in ("modeling", "strategy"):
        assert run.parameters[section]["read_settings"] == reading


def test_a_truth_value_and_nothing_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("a: true\nb: null\nc:\nd: -.inf\ne: -0x10\n")
    read = read_yaml(tmp_path / "one.yml")
    assert read == {"a": True, "b": None, "c": None, "d": -math.inf, "e": "-0x10"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared": [1]}, "grid.yml: shared: Input should be a valid dictionary"),
        ({"strategy": [[1]]}, "grid.yml: strategy: Input should be a valid dictionary"),
    ],
)
def test_a_grid_of_another_shape_is_refused_in_one_line(
    project: Project, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        load_grid(_grid(project, **changes), project)


HOSTILE = {
    "a Python object": "title: !!python/object/apply:os.system ['touch {flag}']\n",
    "a Python name": "title: !!python/name:os.system\n",
    "an alias bomb": "title: x\nshared:\n  a: &a [1, 1]\n  b: &b [*a, *a]\n  c: &c [*b, *b]\n",
    "a key twice": "title: x\ntitle: y\n",
    "five thousand brackets": "title: " + "[" * 5000 + "\n",
    "five thousand digits": "title: " + "9" * 5000 + "\n",
    "two hundred thousand bytes": "title: " + "x" * 200_000 + "\n",
    "bytes that are no text": b"title: \xff\xfe\n",
    "code in a name": "title: x\nshared: {{'seed = 1; import os': 1}}\n",
    "code in a number": 'title: x\nshared: {{seed: \'1; __import__("os").system("touch {flag}")\'}}\n',
    "a folder above in a file": "title: x\nshared: {{data_file_name: ../../etc/passwd}}\n",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_configuration_is_refused_at_once_in_few_words(
    project: Project, content: str | bytes
) -> None:
    flag = project.configurations / "flag"
    raw = (
        content
        if isinstance(content, bytes)
        else content.replace("{flag}", str(flag)).replace("{{", "{").replace("}}", "}").encode()
    )
    (project.configurations / "bad.yml").write_bytes(raw)
    with pytest.raises(ValidationError) as refused:
        RunConfig.load("bad", project)
    assert len(str(refused.value)) < 500
    assert not flag.exists()


@pytest.mark.parametrize(
    "name", ["../up", "a/b", ".hidden", "-rf", "a b", "x" * 81, "", "a\nb", "a.b"]
)
def test_a_name_cannot_leave_the_reports_folder(project: Project, name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a configuration"):
        RunConfig.from_content(name, SMALL, project, Path("any.yml"))


def test_code_in_a_text_reaches_a_notebook_as_text(tmp_path: Path) -> None:
    """papermill writes values as source: a text with quotes and newlines must come out as it went in."""
    from papermill.translators import PythonTranslator

    text = """'\"); import os #\n\\' """
    names: dict[str, Any] = {}
    exec(PythonTranslator.codify({"data_file_name": text}), names)
    assert names["data_file_name"] == text


def _grid(project: Project, **changes: Any) -> Path:
    content = {
        "title": "grid",
        "axes": {"side": ["buy", "sell"], "total_shares": [100.0, 0.5]},
        **changes,
    }
    path = project.configurations.parent / "grid.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_grid_is_every_combination_under_a_safe_name(project: Project) -> None:
    runs = load_grid(_grid(project), project)
    assert [run.name for run in runs] == [
        "grid-buy-100",
        "grid-buy-0p5",
        "grid-sell-100",
        "grid-sell-0p5",
    ]
    assert runs[3].parameters["strategy"] == {"side": "sell", "total_shares": 0.5}
    assert runs[3].rerun.endswith("grid.yml grid-sell-0p5")
    assert [run.name for run in chosen_runs(["grid-sell-100"], str(_grid(project)), project)] == [
        "grid-sell-100"
    ]


def test_an_axis_may_be_labels_of_several_parameters(project: Project) -> None:
    symbols = {
        "frog": {"data_file_name": "frog.csv"},
        "syn/../thetic": {"preset_name": "deep_stock"},
    }
    shared = {"optimizer_settings": {"max_allocation_ratio": 0.1}}
    axes = {"symbol": symbols, "side": ["buy", "sell"]}
    runs = {run.name: run for run in load_grid(_grid(project, axes=axes, shared=shared), project)}
    assert list(runs) == [
        "grid-frog-buy",
        "grid-frog-sell",
        "grid-syn_pp_thetic-buy",
        "grid-syn_pp_thetic-sell",
    ]
    given = runs["grid-frog-sell"].parameters["strategy"]
    assert given == {**shared, "data_file_name": "frog.csv", "side": "sell"}
    assert runs["grid-frog-buy"].section_data("strategy") == ["frog.csv"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {}}, "axes must map each axis to its values"),
        ({"axes": {"side": "buy"}}, "axis side must be a list of values"),
        (
            {"axes": {"seed": list(range(101)), "n_days": list(range(1, 101))}},
            r"the axes make 10,100 runs, at most 10,000; split it",
        ),
        (
            {"axes": {"seed": [1, "two"]}},
            "grid.yml: grid-two: .*seed: Input should be a valid integer, got 'two'",
        ),
        ({"axes": {"side": ["buy", "buy"]}}, "grid-buy stands for several runs; label the axes"),
        ({"strategy": {"side": "buy"}}, "side is on an axis and in a section"),
        ({"axes": {"seed": [1, 2], "kind": {"a": {"seed": 7}}}}, "seed is on two axes; remove one"),
        ({"axes": {"symbol": {"a": 1}}}, "axis symbol must be .* map labels to parameters"),
    ],
)
def test_a_grid_that_says_nothing_sound_is_refused(
    project: Project, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        load_grid(_grid(project, **changes), project)


def test_the_committed_grids_and_the_cluster_s_hold(project: Project) -> None:
    sizes = {
        path.name: len(load_grid(path))
        for path in (PROJECT_ROOT / "notebooks" / "grids").glob("*.yml")
    }
    assert sizes["small.yml"] == 24
    assert load_grid(PROJECT_ROOT / "deploy" / "kubernetes" / "base" / "grid.yml")


def test_production_settings_are_those_promised() -> None:
    run = RunConfig.load("production")
    model = run.parameters["modeling"]["model_settings"]
    optimizer = run.parameters["strategy"]["optimizer_settings"]
    assert (model["memory_limit_mb"], model["progress_logging"]) == (4000, False)
    promised = {"timeout_seconds": 600, "max_iterations": 5000, "validate_outputs": True}
    assert promised.items() <= optimizer.items()


def test_the_command_line_refuses_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    for arguments, message in {
        ("report", "frgo"): "configuration 'frgo' is unknown; did you mean 'frog'?",
        ("report", "../default"): "configuration '../default' is unknown; did you mean 'default'?",
        ("report", "--jobs", "-1"): "--jobs must be at least 1, got -1",
        ("report", "--jobs", "0"): "--jobs must be at least 1, got 0",
        (
            "report",
            "--grid",
            str(tmp_path / "no.yml"),
        ): f"settings file {tmp_path / 'no.yml'} does not exist; check the path",
    }.items():
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"error: {message}\n"


def test_committed_reports_belong_to_committed_configurations() -> None:
    folders = {path.parent.name for path in (PROJECT_ROOT / "reports").glob("*/results.json")}
    assert folders <= set(configuration_names())


@pytest.mark.parametrize(
    ("section", "name", "value", "due"),
    [
        ("strategy", "side", "SELL", "side: Input should be 'buy' or 'sell', got 'SELL'"),
        ("strategy", "urgency", -0.5, "urgency: Input should be greater than or equal to 0"),
        ("robustness", "n_seeds", -1, "n_seeds: Input should be greater than or equal to 0"),
        ("robustness", "n_seeds", 2.5, "n_seeds: Input should be a valid integer"),
        ("strategy", "latency_seconds", -1.0, "latency_seconds: Input should be greater than or"),
        ("strategy", "prior_presets", "thin_stock", "prior_presets: Input should be a valid list"),
        ("strategy", "fee_per_share", "free", "fee_per_share: Input should be a valid number"),
        ("strategy", "risk_aversion", 1e-6, "'risk_aversion' is unknown"),
        ("strategy", "fit_days", -1, "fit_days: Input should be greater than or equal to 0"),
        ("strategy", "objective", "fun", "objective: Input should be 'cost' or 'impact'"),
        ("modeling", "model_type", "cubic", "model_type: Input should be 'linear'"),
        ("modeling", "total_shares", 0.0, "total_shares: Input should be greater than 0"),
        ("modeling", "n_intervals", 0, "n_intervals: Input should be greater than 0"),
    ],
)
def test_what_a_parameter_cannot_be_is_refused_before_a_run(
    section: str, name: str, value: object, due: str
) -> None:
    with pytest.raises(ValidationError, match=f"{section}: {due}"):
        Project().parameters(section, {name: value})
