"""Packages whose names load their module at first use, so that the import is quick.

The stub beside a package, `__init__.pyi`, lists the names for type checkers, editors and this
module alike (SPEC 1 of Scientific Python).
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Lazy = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def names_of_stub(package: str, file: str) -> Lazy:
    """`__getattr__`, `__dir__` and `__all__` of the package whose `__init__.py` is `file`."""
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: str(node.module) for node in imports for alias in node.names}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    names = sorted(modules)
    return load, lambda: names, names
