"""Settings: defaults, limits, and refusals that name the remedy."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from research_lib.config import (
    ModelConfig,
    OptimizerConfig,
    SolverType,
    data_file,
    data_folder,
    read_yaml,
)
from research_lib.errors import MissingDataError, ValidationError
from research_lib.impact import LinearImpact


def test_defaults_are_the_contracts() -> None:
    model, optimizer = ModelConfig(), OptimizerConfig()
    assert {name: model[name] for name in model.keys()} == {
        "base_price": 100.0, "volatility_factor": 0.5, "spread_factor": 0.01, "volume_decay": 0.1,
        "min_observations": 5, "max_trade_size": 1e6, "min_trade_size": 100.0,
        "numerical_tolerance": 1e-8,
        "batch_size": 1000, "memory_limit_mb": 1000, "progress_logging": True,
        "parallel_processing": False,
    }  # fmt: skip
    assert {name: optimizer[name] for name in optimizer.keys()} == {
        "default_solver": SolverType.CVXPY, "max_iterations": 1000, "tolerance": 1e-8,
        "min_trade_size": 0.0,
        "max_allocation_ratio": 0.3, "timeout_seconds": 300, "validate_inputs": True,
        "validate_outputs": True,
    }  # fmt: skip
    assert [solver.name for solver in SolverType] == ["AUTO", "ANALYTICAL", "SCIPY", "CVXPY"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_price": 0}, "base_price must be above 0, got 0"),
        ({"base_price": "100"}, "base_price must be a number, got '100'"),
        ({"base_price": float("nan")}, "base_price must be a number and finite, got nan"),
        ({"base_price": True}, "base_price must be a number, got True"),
        ({"min_observations": 2.5}, "min_observations must be an integer and finite, got 2.5"),
        ({"min_observations": 0}, "min_observations must be at least 1, got 0"),
        ({"volatility_factor": 11}, "volatility_factor must be at most 10, got 11"),
        ({"progress_logging": 1}, "progress_logging must be true or false, got 1"),
        ({"min_trade_size": 10, "max_trade_size": 5}, "max_trade_size must be at least 10, got 5"),
    ],
)
def test_model_settings_outside_their_limits_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_allocation_ratio": 1.5}, "max_allocation_ratio must be at most 1, got 1.5"),
        ({"max_allocation_ratio": 0}, "max_allocation_ratio must be above 0, got 0"),
        (
            {"default_solver": "gurobi"},
            "solver 'gurobi' is unknown; choose from auto, analytical, scipy, cvxpy",
        ),
        ({"timeout_seconds": -1}, "timeout_seconds must be above 0, got -1"),
    ],
)
def test_optimizer_settings_outside_their_limits_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        OptimizerConfig(**settings)


def test_unknown_keys_are_refused_with_the_nearest_valid_one() -> None:
    with pytest.raises(
        ValidationError,
        match="ModelConfig setting 'volatilty_factor' is unknown; did you mean 'volatility_factor'",
    ):
        ModelConfig.from_dict({"volatilty_factor": 0.3})
    with pytest.raises(
        ValidationError,
        match="OptimizerConfig setting 'zzz' is unknown; choose from default_solver",
    ):
        OptimizerConfig.from_dict({"zzz": 1})


def test_a_misspelt_setting_given_by_keyword_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        ValidationError, match=r"'base_prise' is unknown; did you mean 'base_price'"
    ):
        ModelConfig(base_prise=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match=r"'timeout' is unknown; did you mean 'timeout_sec"):
        dataclasses.replace(OptimizerConfig(), timeout=5)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match=r"LinearImpact setting 'betta' .* mean 'beta'"):
        LinearImpact(betta=1e-5)  # type: ignore[call-arg]


def test_settings_survive_pickle_and_copy() -> None:
    config = ModelConfig(base_price=7.0, min_observations=3)
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("010000", 10000), ("-007", -7), ("1_000", 1000), ("+5", 5),
        ("1e5", 1e5), ("2.5E-3", 0.0025), ("09.50", 9.5), (".5", 0.5), ("-.inf", -math.inf),
        ("1:30", "1:30"), ("09:30", "09:30"), ("12:00:00", "12:00:00"), ("0x1F", "0x1F"),
        ("1.2.3", "1.2.3"), ("ON", "ON"), ("no", "no"), ("true", True), ("False", False), ("~",
        None),
    ],
)  # fmt: skip
def test_yaml_holds_numbers_as_people_write_them(
    tmp_path: Path, written: str, value: object
) -> None:
    path = tmp_path / "numbers.yml"
    path.write_text(f"given: {written}\n")
    found = read_yaml(path)["given"]
    assert found == value
    assert type(found) is type(value)


def test_yaml_not_in_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yml"
    path.write_bytes("name: Zürich\n".encode("latin-1"))
    with pytest.raises(ValidationError, match=r"latin.yml is not valid YAML: .*invalid start byte"):
        read_yaml(path)


def test_settings_load_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "settings.yml"
    path.write_text("default_solver: analytical\nmax_iterations: 50\n")
    assert OptimizerConfig.from_dict(read_yaml(path)) == OptimizerConfig(
        SolverType.ANALYTICAL, max_iterations=50
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not valid YAML"),
        ("- 1\n- 2\n", "must hold a mapping"),
        ("!!python/object:os.system {}", "is not valid YAML"),
    ],
)
def test_damaged_or_hostile_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(ValidationError, match=message):
        read_yaml(path)
    with pytest.raises(MissingDataError, match=r"none.yml does not exist"):
        read_yaml(tmp_path / "none.yml")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        ModelConfig().base_price = 5  # type: ignore[misc]


def test_real_data_is_looked_for_where_research_data_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.csv").write_text("x")
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    assert data_file("here.csv") == tmp_path / "here.csv"
    with pytest.raises(
        MissingDataError, match=rf"data file gone.csv is not in {tmp_path}; set RESEARCH_DATA"
    ):
        data_file("gone.csv")
    monkeypatch.setenv("RESEARCH_DATA", "")
    assert data_folder().name == "data"
    assert os.environ["RESEARCH_DATA"] == ""


def test_settings_from_what_is_no_mapping_are_refused() -> None:
    with pytest.raises(ValidationError, match="ModelConfig needs a mapping of settings, got None"):
        ModelConfig.from_dict(None)
