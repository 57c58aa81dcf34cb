"""The public names of a package, imported when they are first used: whoever asks for a config loads no torch."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from typing import Any


def resolve_lazily(package: str) -> None:
    """Give a package the names that its ``__init__.py`` imports ``if TYPE_CHECKING:``, where editors find them too."""
    module = sys.modules[package]
    homes = _typed_imports(inspect.getsource(module))

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(module, name, value)  # there from now on
        return value

    vars(module).update(__getattr__=__getattr__, __dir__=lambda: sorted({*vars(module), *homes}), __all__=sorted(homes))


def _typed_imports(source: str) -> dict[str, str]:
    """The module of each name that is imported for type checkers alone."""
    blocks = (node.body for node in ast.parse(source).body if isinstance(node, ast.If))
    imports = [node for block in blocks for node in block if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
