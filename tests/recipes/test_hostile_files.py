"""Datasets and checkpoints that name code instead of an environment: one line, and nothing of it runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

import agents
from agents.seal import WITHOUT_CHECKSUM
from tests.recipes.conftest import DATASET, RUN

HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a command": (
        {"id": "X-v0", "entry_point": "subprocess:Popen", "kwargs": {"args": ["touch", "RAN"]}},
        "registered",
    ),
    "another entry point": ({"entry_point": "subprocess:Popen", "kwargs": {"args": ["touch", "RAN"]}}, "subprocess"),
    "a shell": ({"entry_point": "os:system", "kwargs": {"command": "touch RAN"}}, "os:system"),
    "a module": ({"entry_point": "evil:Env"}, "evil:Env"),
    "a module in the id": ({"id": "evil:Pendulum-v1"}, "has a module imported"),
    "a wrapper": ({"additional_wrappers": [{"name": "w", "entry_point": "evil:w", "kwargs": {}}]}, "wrappers"),
    "a path": ({"kwargs": {"g": "RAN"}}, "looks like a path"),
    "a nested path": ({"kwargs": {"g": [{"a": "RAN"}]}}, "looks like a path"),
    "a file": ({"kwargs": {"xml_file": "mine"}}, "'xml_file'"),
    "an argument of make": ({"kwargs": {"vector_entry_point": "evil"}}, "something to call"),
    "settings of my own": ({"id": "Mine-v0", "entry_point": "mine:Env", "kwargs": {"g": 1.0}}, "known packages"),
    "an unknown id": ({"id": "Unknown-v0"}, "not registered"),
    "an unknown setting": ({"kwargs": {"no_such": 1}}, "cannot make the environment Pendulum-v1"),
}
# a module of the user's own that is registered, and one that a file may not have imported
BEFORE = (
    "import sys, gymnasium\nsys.path.insert(0, {!r})\ngymnasium.register('Mine-v0', 'mine:Env', max_episode_steps=25)\n"
)


@pytest.fixture
def before(tmp_path: Path) -> str:
    base = "from gymnasium.envs.classic_control.pendulum import PendulumEnv as Env\n"
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n{base}")
    (tmp_path / "mine.py").write_text(base)
    return BEFORE.format(str(tmp_path))


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """The spec of the usual runs with other fields, as a file has it; RAN is the path of the marker."""

    def write(changes: dict[str, Any]) -> str:
        usual = json.loads(gym.make("Pendulum-v1", max_episode_steps=25).spec.to_json())
        return json.dumps({**usual, **changes}).replace("RAN", str(tmp_path / "ran"))

    return write


@pytest.fixture
def dataset(environment, tmp_path, monkeypatch) -> Callable[[str], dict[str, str]]:
    """Makes a store whose dataset names such an environment; the variables with which a recipe finds it."""

    def write(text: str, **others: str) -> dict[str, str]:
        folder = shutil.copytree(Path(environment["MINARI_DATASETS_PATH"], DATASET), tmp_path / "store" / DATASET)
        file = folder / "data" / "metadata.json"
        metadata = {**json.loads(file.read_text()), "env_spec": text, **others}
        file.write_text(json.dumps(metadata))
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
        return {"MINARI_DATASETS_PATH": str(tmp_path / "store")}

    return write


def rewrite(file: Path, text: str) -> None:
    """Give a checkpoint another environment."""
    with safe_open(file, framework="pt") as opened:
        header, tensors = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}
    metadata = json.loads(header["metadata"])
    metadata["extra"]["eval_env"] = text
    save_file(tensors, file, metadata={"format": WITHOUT_CHECKSUM, "metadata": json.dumps(metadata)})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_dataset_runs_nothing(name, spec, dataset, train, before, tmp_path) -> None:
    changes, problem = HOSTILE[name]
    variables = dataset(spec(changes))
    message = train(before=before, **variables).refusal()
    assert problem in message
    assert not (tmp_path / "ran").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_checkpoint_runs_nothing(name, spec, run, evaluate, before, tmp_path) -> None:
    changes, problem = HOSTILE[name]
    rewrite(run / "checkpoints" / "last.safetensors", spec(changes))
    message = evaluate(f"checkpoint={RUN}", "num_episodes=1", before=before).refusal()
    assert problem in message
    assert not (tmp_path / "ran").exists()


def test_the_environment_of_an_evaluation_counts_as_that_of_the_data(spec, dataset, train, before, tmp_path) -> None:
    variables = dataset(spec({}), eval_env_spec=spec(HOSTILE["a command"][0]))
    assert "not registered" in train(before=before, **variables).refusal()
    assert not (tmp_path / "ran").exists()


def test_facts_of_a_hostile_dataset_are_read_and_nothing_runs(spec, dataset, run_recipe, tmp_path) -> None:
    variables = dataset(spec(HOSTILE["a command"][0]))
    opened = agents.load_dataset(DATASET)
    assert opened.env_spec.id == "X-v0" and opened.names_another_env("Pendulum-v1")
    assert "d4rl" not in opened.statistics.scores
    with pytest.raises(agents.DataError, match="X-v0.*not registered here"):
        opened.make_env()
    shown = run_recipe("inspect_dataset", f"dataset={DATASET}", cwd=tmp_path, **variables)
    assert shown.code == 0 and "X-v0" in shown.out
    assert not (tmp_path / "ran").exists()
    assert minari.list_local_datasets().keys() == {DATASET}


def test_another_environment_may_be_named_for_a_hostile_file(spec, run, dataset, train, evaluate, tmp_path) -> None:
    rewrite(run / "checkpoints" / "last.safetensors", spec(HOSTILE["a command"][0]))
    assert evaluate(f"checkpoint={RUN}", "num_episodes=1", "eval_env=Pendulum-v1").code == 0
    variables = dataset(spec(HOSTILE["a command"][0]))
    assert train("eval_env=Pendulum-v1", "run_dir=there", **variables).code == 0
    assert not (tmp_path / "ran").exists()


def test_trust_calls_what_a_file_names_and_says_so(spec, dataset, run, train, evaluate, before, tmp_path) -> None:
    text = spec({"id": "Evil-v0", "entry_point": "evil:Env", "kwargs": {"g": 9.0}})
    variables = dataset(text)
    rewrite(run / "checkpoints" / "last.safetensors", text)
    for recipe, *overrides in ((train, "run_dir=there"), (evaluate, f"checkpoint={RUN}", "num_episodes=1")):
        finished = recipe(*overrides, "trust_env=true", before=before, **variables)
        assert finished.code == 0, finished.err
        (line,) = [line for line in finished.err.splitlines() if line.startswith("trust_env: ")]
        assert "'Evil-v0'" in line and "'evil:Env' is called with {'g': 9.0}" in line
        assert (tmp_path / "ran").exists()
        (tmp_path / "ran").unlink()


def test_a_command_that_is_trusted_runs(spec, run, evaluate, tmp_path) -> None:
    rewrite(run / "checkpoints" / "last.safetensors", spec(HOSTILE["a shell"][0]))
    message = evaluate(f"checkpoint={RUN}", "num_episodes=1", "trust_env=true").refusal()
    assert message.startswith("cannot make the environment") and (tmp_path / "ran").exists()


def test_trust_is_typed_and_never_read_from_a_run(spec, dataset, train, before, tmp_path) -> None:
    variables = dataset(spec({"id": "Evil-v0", "entry_point": "evil:Env"}))
    options = {"before": before, **variables}
    assert train("trust_env=true", "run_dir=there", **options).code == 0
    (tmp_path / "ran").unlink()
    assert "trust_env: true" in (tmp_path / "there" / "config.yaml").read_text()
    assert "not registered" in train("resume=there", **options).refusal()
    assert not (tmp_path / "ran").exists()
    assert train("resume=there", "trust_env=true", **options).code == 0


def test_a_module_to_import_is_typed_and_never_read_from_a_run(run, train_as_is, run_recipe, before, tmp_path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("eval_env: null", "eval_env: evil:Pendulum-v1"))
    resumed = train_as_is(f"resume={RUN}", before=before)
    online = run_recipe("finetune", f"checkpoint={RUN}", "logger=none", before=before, cwd=tmp_path)
    for message in (resumed.refusal(), online.refusal()):
        assert "has a module imported" in message and "add eval_env=evil:Pendulum-v1" in message
    assert not (tmp_path / "ran").exists()
    assert train_as_is(f"resume={RUN}", "eval_env=evil:Pendulum-v1", before=before).code == 0


def test_a_registered_environment_of_mine_is_evaluated_as_it_was_trained(train, evaluate, before, tmp_path) -> None:
    assert train("eval_env=Mine-v0", before=before).code == 0
    finished = evaluate(f"checkpoint={RUN}", "num_episodes=1", before=before)
    assert finished.code == 0, finished.err
    assert (tmp_path / RUN / "evaluation" / "episodes.csv").read_text().endswith(",25\n")
    assert "eval_env=ID" in evaluate(f"checkpoint={RUN}", "num_episodes=1").refusal()
