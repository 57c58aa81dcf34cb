"""The API reference: it has every public name, once."""

import ast
import re
from collections import Counter
from pathlib import Path

import agents
from recipes.settings.schema import RECIPES

ROOT = Path(__file__).parents[2]
DIRECTIVE = re.compile(r"^\.\. (?:auto(?:class|function|exception)|py:data):: (\S+)", re.MULTILINE)


def public_names() -> set[str]:
    """The names of all faces, without their rooms: one that two of them have is the same thing."""
    faces = [ROOT / "agents/__init__.py", *ROOT.glob("agents/*/__init__.py")]
    nodes = [node for face in faces for node in ast.walk(ast.parse(face.read_text()))]
    return {alias.asname for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}


def test_every_public_name_stands_in_the_reference_once() -> None:
    pages = [page.read_text() for page in ROOT.glob("docs/reference/*.rst")]
    documented = Counter(name.rpartition(".")[2] for page in pages for name in DIRECTIVE.findall(page))
    assert set(agents.__all__) <= public_names()
    assert {name: documented[name] for name in public_names()} == dict.fromkeys(public_names(), 1)


def test_the_settings_of_every_recipe_stand_in_the_reference() -> None:
    documented = DIRECTIVE.findall((ROOT / "docs/reference/recipes.rst").read_text())
    assert {f"{config.__module__}.{config.__name__}" for config in RECIPES.values()} <= {*documented}
