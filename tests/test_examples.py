"""Every example in the docstring of an exported name runs, and nearly every name has one."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import matplotlib
import pytest

from research_lib.config import PROJECT_ROOT

LIBRARY = PROJECT_ROOT / "research_lib"
FOLDERS = ["research_lib", *sorted(
    ".".join(path.parent.relative_to(PROJECT_ROOT).parts)
    for path in LIBRARY.rglob("*/__init__.py")
)]  # fmt: skip
SLOW = {"health_check"}  # starts Jupyter, and tries every solver
LEAST_SHARE = 0.8


def _public() -> dict[str, Any]:
    """Exported classes and functions of the library and its folders, by their qualified name."""
    found = {}
    for folder in FOLDERS:
        module = importlib.import_module(folder)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value)):
                found[f"{value.__module__}.{name}"] = value
    return found


PUBLIC = _public()


def _examples(name: str) -> list[doctest.DocTest]:
    """Of a name and, where it is a class, of its methods."""
    value = PUBLIC[name]
    module = inspect.getmodule(value)
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = finder.find(value, name, module=module, globs=dict(vars(module)))
    return [one for one in found if one.examples]


WITH_EXAMPLES = [
    pytest.param(name, marks=pytest.mark.slow if name.split(".")[-1] in SLOW else ())
    for name in sorted(PUBLIC)
    if _examples(name)
]


@pytest.fixture(autouse=True)
def _no_window(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    matplotlib.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_example_runs(name: str) -> None:
    lines: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    for example in _examples(name):
        runner.run(example, out=lines.append)
    assert not runner.failures, "".join(lines)


def test_nearly_every_exported_name_has_an_example() -> None:
    """Counted as the structure check does: by the words of `__all__` and of the docstrings."""
    exported: set[str] = set()
    shown: set[str] = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name == "__init__.py":
            names = re.search(r"__all__\s*(?::[^=]+)?=\s*[\[(](.*?)[\])]", text, re.DOTALL)
            exported.update(re.findall(r"[\"'](\w+)[\"']", names.group(1)) if names else [])
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                shown |= {node.name} if ">>>" in (ast.get_docstring(node) or "") else set()
    exported |= {name.split(".")[-1] for name in PUBLIC}  # of folders that compute their __all__
    public = {name for name in exported if not name.isupper() and not name.startswith("_")}
    lacking = sorted(public - shown)
    share = 1 - len(lacking) / len(public)
    assert share >= LEAST_SHARE, f"{share:.0%} of {len(public)} names; without: {lacking}"
