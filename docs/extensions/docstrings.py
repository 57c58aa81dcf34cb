"""Sphinx extension: what autodoc does not read in this project's docstrings and classes.

The fields of a dataclass are documented by the comments beside them, which ``--help`` prints too; autodoc would take
``#:`` comments alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from sphinx.util.inspect import stringify_signature

from recipes.settings.help import field_comments
from recipes.settings.overrides import own_first


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-signature", mend_signature)
    app.connect("autodoc-process-docstring", add_fields)
    app.connect("autodoc-process-docstring", separate_sources)
    return {"parallel_read_safe": True}


def mend_signature(app: Any, what: str, name: str, obj: Any, *_: Any) -> tuple[str, None] | None:
    """A dataclass's call says no more than its fields, which follow; that of a loss module is its metaclass's."""
    if what != "class":
        return None
    if dataclasses.is_dataclass(obj):
        return "", None
    if type(obj) is type or "__init__" not in vars(obj):
        return None
    signature = inspect.signature(obj.__init__)
    parameters = [*signature.parameters.values()][1:]
    return stringify_signature(
        signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    ), None


def add_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what != "class" or not dataclasses.is_dataclass(obj):
        return
    comments, _ = field_comments(obj)
    for field in own_first(obj):
        default = _default(field)
        lines += ["", f".. py:attribute:: {field.name}", f"   :type: {field.type}"]
        lines += [f"   :value: {default}"] * (default is not None)
        lines += ["", "   " + re.sub(r"([*`|_])", r"\\\1", comments.get(field.name, ""))]  # plain text, no markup


def separate_sources(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What stands in brackets behind an equation, far to its right, is no part of it."""
    for number, line in reversed([*enumerate(lines)]):
        if equation := re.fullmatch(r"( *)(\.\. math:: .*\S) {4,}(\(.+\))", line):
            indent, directive, source = equation.groups()
            lines[number : number + 1] = [indent + directive, "", indent + source]


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default_factory is not dataclasses.MISSING:
        return _call(field.default_factory())
    return None if field.default in (dataclasses.MISSING, "???") else repr(field.default)


def _call(value: Any) -> str:
    """A config as the shortest call that makes it."""
    if not dataclasses.is_dataclass(value):
        return repr(value)
    own, plain = vars(value), vars(type(value)())
    changed = [f"{name}={_call(own[name])}" for name in own if own[name] != plain[name]]
    return f"{type(value).__name__}({', '.join(changed)})"
