"""One source of truth for the environment, and for the layout."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from research_lib.config import PROJECT_ROOT

DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def _declared() -> dict[str, Requirement]:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def _locked() -> dict[str, list[Requirement]]:
    locked: dict[str, list[Requirement]] = {}
    for line in (PROJECT_ROOT / "requirements.lock").read_text().splitlines():
        requirement = Requirement(line)
        locked.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return locked


def test_environment_yml_says_the_same_as_pyproject() -> None:
    conda = yaml.safe_load((PROJECT_ROOT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = (line["pip"] for line in conda if isinstance(line, dict))
    assert (
        by_pip.pop() == "--editable ."
    )  # nothing else that is no requirement: pip refuses it there
    lines = [line for line in [*conda, *by_pip] if isinstance(line, str)]
    packages = {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    assert str(packages.pop("python").specifier) == project["requires-python"]
    packages.pop("pip")
    assert {name: str(r.specifier) for name, r in packages.items()} == {
        name: str(r.specifier) for name, r in _declared().items()
    }


def test_the_lock_pins_every_package_within_its_bounds() -> None:
    locked = _locked()
    for name, requirement in _declared().items():
        assert name in locked, f"{name} is not locked; run make lock"
        for pin in locked[name]:
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            assert Version(specifier.version) in requirement.specifier, (
                f"{pin} breaks {requirement}"
            )


def test_the_users_packages_are_all_there() -> None:
    wanted = {
        "jupyterlab",
        "papermill",
        "nbval",
        "numpy",
        "pandas",
        "scipy",
        "cvxpy",
        "seaborn",
        "matplotlib",
        "statsmodels",
    }
    assert wanted <= set(_declared())


def test_no_address_in_the_environment_files() -> None:
    for name in ("pyproject.toml", "environment.yml", "requirements.lock", "Makefile", ".ci/run"):
        text = (PROJECT_ROOT / name).read_text()
        assert "://" not in text, name
        assert "index-url" not in text, name


def test_every_part_of_the_library_has_its_place_in_the_import_rules() -> None:
    """`make imports` holds the order itself; a part not listed there could import anything."""
    rules = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (one for one in rules["contracts"] if one["type"] == "layers")
    parts = {path.name.removesuffix(".py") for path in (PROJECT_ROOT / "research_lib").iterdir()}
    assert set(contract["layers"]) == parts - {"__init__", "__init__.pyi", "__pycache__"}
    assert contract["containers"] == [rules["root_package"]]


def _modules() -> list[Path]:
    return sorted((PROJECT_ROOT / "research_lib").rglob("*.py"))


@pytest.mark.parametrize("path", _modules(), ids=lambda p: p.relative_to(PROJECT_ROOT).as_posix())
def test_modules_and_functions_stay_short_and_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 700
    tree = ast.parse(text)
    code = _code_lines(text, tree)

    def size(node: ast.FunctionDef) -> int:
        return len(code & set(range(node.lineno, (node.end_lineno or 0) + 1)))

    for node in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        assert size(node) <= 60, f"{node.name} has {size(node)} lines of code"
    classes = [
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for node in [
        child
        for parent in (tree, *classes)
        for child in parent.body
        if isinstance(child, ast.FunctionDef)
    ]:
        documented = ast.get_docstring(node) or node.name.startswith("_") or size(node) <= 4
        assert documented, f"{node.name} is public without a docstring"


def _code_lines(text: str, tree: ast.AST) -> set[int]:
    """Numbers of the lines that hold code: no comments, no docstrings, no blank lines."""
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank and token.string:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


PUBLIC = {"__main__", "checks", "config", "errors", "health", "monitoring", "wording"}
FOLDERS = {
    "evaluation",
    "execution",
    "impact",
    "live",
    "market",
    "reporting",
    "studies",
    "transient",
}


@pytest.mark.parametrize(
    "path",
    sorted((PROJECT_ROOT / "tests").rglob("*.py")),
    ids=lambda p: p.relative_to(PROJECT_ROOT).as_posix(),
)
def test_tests_speak_to_what_the_folders_export(path: Path) -> None:
    """So that files can move below the folders without a change to any test."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [str(node.module)]
            assert not (
                modules[0].startswith("research_lib")
                and any(a.name.startswith("_") for a in node.names)
            )
        else:
            continue
        for module in modules:
            parts = module.split(".")
            if parts[0] == "research_lib" and len(parts) > 1:
                # A study is one file, which its notebook imports by its name.
                deepest = 3 if parts[1] == "studies" else 2
                assert len(parts) <= deepest, f"line {node.lineno} imports from {module}"
                assert parts[1] in PUBLIC | FOLDERS, f"line {node.lineno} imports from {module}"


HEAVY = (
    "arch",
    "cvxpy",
    "dask",
    "exchange_calendars",
    "matplotlib",
    "papermill",
    "pyarrow.csv",
    "pyarrow.parquet",
    "scipy.signal",
    "scipy.stats",
    "seaborn",
    "sklearn",
    "statsmodels",
)  # fmt: skip -- pandas loads pyarrow itself


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", ["market", "impact", "transient", "execution", "evaluation", "impact_model"]
)
def test_importing_a_folder_loads_nothing_heavy(folder: str) -> None:
    """What takes a second to load is loaded by the function that uses it."""
    code = f"import sys, research_lib.{folder}; print(*({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
