"""Where things are, and who may import whom."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agents

REPOSITORY = Path(__file__).parents[1]
# the way of the data: a room may import those before it, and nothing of those after it
ROOMS = {
    "agents": (
        "faces", "errors", "files", "seal", "cores", "environments", "data", "networks", "objectives", "training",
        "algorithms",
        "adam", "agent",  # where version 0.1 had two modules of training, for scripts that import them from there
        "evaluation", "online", "metrics", "checkpoint", "deployment",
    ),
    "recipes": ("settings", "reporting", "tracking", "runs", "many", "dataset_card"),
}  # fmt: skip
SCRIPTS = (
    "train",
    "finetune",
    "evaluate",
    "compare",
    "sweep",
    "inspect_dataset",
    "import_data",
    "dashboard",
    "estimate",
    "select_policy",
    "export",
    "serve",
)
FRAMEWORKS = ("hydra", "omegaconf", "wandb", "recipes")  # of which the library knows nothing
LONGEST = 400  # lines of a file that a reader can hold in the head
FILES = sorted(path.relative_to(REPOSITORY).as_posix() for top in ROOMS for path in (REPOSITORY / top).rglob("*.py"))
MODULES = {file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): file for file in FILES}


def room_of(module: str) -> str | None:
    """The room that a module of the project is in; None for a script and for the list of public names."""
    top, *rest = module.split(".")
    return rest[0] if rest and rest[0] in ROOMS.get(top, ()) else None


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module or name that is imported, inside functions too, with dots; relative ones begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


def imports_at_once(tree: ast.Module) -> Iterator[str]:
    """Those that happen when the module itself is imported."""
    for statement in tree.body:
        if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)) and "TYPE_CHECKING" not in ast.dump(statement):
            yield from imports(statement)


def parse(file: str) -> ast.Module:
    return ast.parse((REPOSITORY / file).read_text())


def module_of(name: str) -> str | None:
    """The module of the project that an imported name is, or is in."""
    return next((each for each in (name, name.rpartition(".")[0]) if each in MODULES), None)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_way_of_the_data(module) -> None:
    top, room = module.split(".")[0], room_of(module)
    for name in imports(parse(MODULES[module])):
        first, *rest = name.split(".")
        assert first, f"{module} imports {name} relatively"
        assert first != top or rest, f"{module} imports the list of public names"
        if top == "agents":
            assert first not in FRAMEWORKS, f"{module} imports {name}"
        if first == top and room is not None:
            assert room_of(name) is not None, f"{module} imports {name}, which is in no room"
            order = ROOMS[top]
            assert order.index(room_of(name)) <= order.index(room), f"{module} imports {name}, which comes later"


def test_nothing_imports_itself_in_a_circle() -> None:
    graph = {
        module: {found for name in imports_at_once(parse(file)) if (found := module_of(name)) not in (None, module)}
        for module, file in MODULES.items()
    }
    while leaves := {module for module, targets in graph.items() if not targets & graph.keys()}:
        graph = {module: targets for module, targets in graph.items() if module not in leaves}
    assert graph == {}


def test_every_file_is_in_a_room() -> None:
    for module in MODULES:
        top, *rest = module.split(".")
        alone = not rest or (top == "recipes" and rest[0] in (*SCRIPTS, "__main__"))
        assert alone or room_of(module), f"{module} is in no room"
    assert {(top, room) for top, rooms in ROOMS.items() for room in rooms} == {
        (module.split(".")[0], room) for module in MODULES if (room := room_of(module))
    }


def test_no_import_escapes_the_check() -> None:
    source = "import a.b, c as d\ndef f():\n    from e.f import g as h, i\n    from . import j\n    from ..k import l"
    assert sorted(imports(ast.parse(source))) == ["..j", "..k.l", "a.b", "c", "e.f.g", "e.f.i"]
    assert sorted(imports_at_once(ast.parse(source))) == ["a.b", "c"]


def test_nothing_in_recipes_is_named_like_a_module_of_python() -> None:
    """A script's folder comes first on the path: a ``select.py`` there would break ``subprocess``."""
    assert [path for path in (REPOSITORY / "recipes").rglob("*") if path.stem in sys.stdlib_module_names] == []


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_what_it_is_for_and_is_short_enough_to_be_read(file) -> None:
    assert ast.get_docstring(parse(file))
    assert len((REPOSITORY / file).read_text().splitlines()) <= LONGEST


def test_few_files_lie_flat() -> None:
    assert len([*(REPOSITORY / "recipes").glob("*.py")]) <= 14


def test_tests_are_where_the_code_is() -> None:
    for top in ROOMS:
        folders = {path.parent.relative_to(REPOSITORY / "tests") for path in (REPOSITORY / "tests" / top).rglob("*.py")}
        assert [folder for folder in folders if not (REPOSITORY / folder).is_dir()] == []


def test_each_algorithm_is_one_file() -> None:
    files = {Path(file).stem for file in FILES if file.startswith("agents/algorithms/")}
    assert files - {"__init__", "registry", "common"} == set(agents.ALGORITHMS)
    for name, config in agents.ALGORITHMS.items():
        assert config.__module__ == f"agents.algorithms.{name}"


def test_public_names_exist_and_are_sorted() -> None:
    assert agents.__all__ == sorted(set(agents.__all__))
    assert [name for name in agents.__all__ if not hasattr(agents, name)] == []


# what settings and help may import
LIGHT = """
import sys
import agents
configs = [getattr(agents, name)() for name in agents.__all__ if name.endswith("Config")]
assert len(configs) > 20 and agents.ALGORITHMS
from recipes.settings import schema
from recipes.settings.command_line import help_text
assert "algorithm.expectile=0.7" in help_text("train")
print(*sys.modules.keys() & {"torch", "tensordict", "torchrl", "gymnasium", "minari", "mujoco"})
"""


def test_settings_and_help_load_none_of_the_frameworks() -> None:
    environment = {**os.environ, "MUJOCO_GL": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("\n", "", 0)


# what all public names do without: they are for runs, their figures, their dashboards and their compiled updates
NAMES = """
import sys
import agents
assert len([getattr(agents, name) for name in agents.__all__]) > 40
later = {"gymnasium_robotics", "h5py", "imageio", "matplotlib", "pandas", "torch._inductor.compile_fx", "wandb"}
print(*sys.modules.keys() & later)
"""


@pytest.mark.slow
def test_the_library_loads_what_is_for_runs_when_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", NAMES], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


def test_a_face_has_the_names_that_editors_and_type_checkers_see() -> None:
    assert "IQLConfig" in dir(agents) and agents.IQLConfig is vars(agents)["IQLConfig"]
    faces = [
        module for module, file in MODULES.items() if "resolve_lazily(__name__)" in (REPOSITORY / file).read_text()
    ]
    assert len(faces) > 5
    for face in map(importlib.import_module, faces):
        for name in face.__all__:
            assert getattr(face, name) is not None
    with pytest.raises(AttributeError, match="module 'agents' has no attribute 'IlqConfig'"):
        agents.IlqConfig  # noqa: B018


def test_nothing_is_called_utils() -> None:
    shunned = {"utils", "util", "helpers", "helper", "misc"}
    for folder in ("agents", "recipes", "tests", "benchmarks"):
        assert [path for path in (REPOSITORY / folder).rglob("*") if path.stem in shunned] == []
