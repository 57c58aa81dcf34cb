"""Where things are, and who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import agents

REPOSITORY = Path(__file__).parents[1]
LIBRARY = REPOSITORY / "agents"
# the way of the data: each part may import those before it, and nothing of those after it
ORDER = (
    "errors", "headless", "envs", "reward_sign", "demos", "source", "conversion", "inspection", "data", "networks",
    "sequences", "diffusion", "search", "inference", "objectives", "compilation", "adam", "agent", "values", "stack",
    "graphs", "algorithms", "evaluation", "metrics", "statistics", "checkpoint",
)  # fmt: skip
OUTSIDE = ("hydra", "omegaconf", "wandb", "recipes", *(path.stem for path in (REPOSITORY / "recipes").glob("*.py")))
FILES = sorted(path.relative_to(REPOSITORY).as_posix() for path in LIBRARY.rglob("*.py"))


def part_of(file: str) -> str | None:
    """The part that a file of the library belongs to; None for the list of public names."""
    part = Path(file).relative_to("agents").with_suffix("").parts[0]
    return None if part == "__init__" else part


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module or name that is imported, inside functions too, with dots; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


def parse(file: str) -> ast.Module:
    return ast.parse((REPOSITORY / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_imports_follow_the_way_of_the_data(file) -> None:
    part = part_of(file)
    assert part is None or part in ORDER, f"{file} has no place in the order"
    for name in imports(parse(file)):
        top, *rest = name.split(".")
        assert top, f"{file} imports {name} relatively"
        assert top not in OUTSIDE, f"{file} imports {name}"
        if top == "agents" and part is not None:
            assert rest, f"{file} imports the list of public names"
            assert ORDER.index(rest[0]) <= ORDER.index(part), f"{file} imports {name}, which comes later"


def test_every_part_of_the_order_exists() -> None:
    assert {part_of(file) for file in FILES} - {None} == set(ORDER)


def test_no_import_escapes_the_check() -> None:
    source = "import a.b, c as d\ndef f():\n    from e.f import g as h, i\n    from . import j\n    from ..k import l"
    assert sorted(imports(ast.parse(source))) == ["..j", "..k.l", "a.b", "c", "e.f.g", "e.f.i"]


def test_each_algorithm_is_one_file() -> None:
    files = {Path(file).stem for file in FILES if part_of(file) == "algorithms"} - {"__init__"}
    assert files == set(agents.ALGORITHMS)
    for name, config in agents.ALGORITHMS.items():
        assert config.__module__ == f"agents.algorithms.{name}"


def test_public_names_exist_and_are_sorted() -> None:
    assert agents.__all__ == sorted(set(agents.__all__))
    assert [name for name in agents.__all__ if not hasattr(agents, name)] == []


def test_the_list_of_public_names_holds_nothing_else() -> None:
    docstring, *statements = parse("agents/__init__.py").body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(statement, (ast.ImportFrom, ast.Assign)) for statement in statements)
    imported = [name.name for node in statements if isinstance(node, ast.ImportFrom) for name in node.names]
    assert sorted(imported) == agents.__all__


@pytest.mark.parametrize("file", FILES)
def test_every_module_says_what_it_is_for(file) -> None:
    assert ast.get_docstring(parse(file))


def test_nothing_is_called_utils() -> None:
    shunned = {"utils", "util", "helpers", "helper", "common", "misc"}
    for folder in ("agents", "recipes", "tests", "benchmarks"):
        assert [path for path in (REPOSITORY / folder).rglob("*") if path.stem in shunned] == []
