"""Evaluating a checkpoint: the numbers are those of ``agents.evaluate``, and every setting has an effect."""

from __future__ import annotations

import copy
import csv
import functools
import json
import os
import pickle
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import agents
from agents import checkpoint
from agents.seal import WITHOUT_CHECKSUM
from recipes.evaluate import evaluation_env, read_checkpoint
from recipes.settings import overrides, schema
from tests.recipes.conftest import NO_PLOT

RUN = "runs/iql/test/pendulum-v0/seed0"

# no film is made, and the workers are counted
PROBE = """
import agents, socket
borrow = agents.EvaluationEnv.borrow
def probed(self, count):
    print("probe envs", count)
    return borrow(self, count)
agents.EvaluationEnv.borrow = probed
def record_video(policy, env, path, *, seed):
    path.write_bytes(b"film of seed %d" % seed)
    return path
agents.record_video = record_video
from gymnasium.envs.classic_control import PendulumEnv
import numpy
PendulumEnv.render = lambda self: numpy.zeros((40, 60, 3), numpy.uint8)  # the real one needs a package
def no_network(*_, **__):
    print("NETWORK")
    raise OSError
socket.getaddrinfo = no_network
"""


@dataclass(frozen=True)
class Trial:
    """An evaluation of the usual run's copy in a folder of its own."""

    folder: Path
    finished: Any

    @property
    def output(self) -> Path:
        return next(self.folder.glob("**/episodes.csv")).parent

    def episodes(self) -> list[dict[str, str]]:
        with open(self.output / "episodes.csv", newline="") as file:
            return [*csv.DictReader(file)]

    def column(self, name: str) -> list[str]:
        return [row[name] for row in self.episodes()]

    def policy(self) -> str:
        return next(line for line in self.finished.out.splitlines() if line.startswith("iql")).split("  ")[0]

    def envs(self) -> set[str]:
        return set(re.findall(r"^probe envs (\d+)$", self.finished.out, re.MULTILINE))

    def videos(self) -> set[str]:
        return {path.name for path in self.output.glob("videos/*")}

    def files(self) -> set[str]:
        return {path.name for path in self.output.iterdir()}


PREVIOUS = f"checkpoint={RUN}/checkpoints/previous.safetensors"
# what to write, what to look at, and what is seen usually and then
EFFECTS: dict[str, tuple[str, Callable[[Trial], Any], Any, Any]] = {
    "checkpoint": (PREVIOUS, Trial.policy, "iql at step 20", "iql at step 10"),
    "num_episodes": ("num_episodes=2", lambda t: len(t.episodes()), 3, 2),
    "num_envs": ("num_envs=2", Trial.envs, {"1"}, {"1", "2"}),
    "seed": ("seed=7", lambda t: t.column("seed"), ["0", "1", "2"], ["7", "8", "9"]),
    "video": ("video=true", lambda t: "episode.mp4" in t.files(), False, True),
    "eval_videos": ("eval_videos=true", Trial.videos, set(), {f"step-20-{n}.mp4" for n in ("worst", "median", "best")}),
    "eval_env": ("eval_env=Pendulum-v1", lambda t: set(t.column("length")), {"25"}, {"200"}),
    "max_episode_steps": ("max_episode_steps=40", lambda t: set(t.column("length")), {"25"}, {"40"}),
    "output": ("output=here", lambda t: str(t.output.relative_to(t.folder)), f"{RUN}/evaluation", "here"),
    "logger": ("logger=wandb", lambda t: "wandb" in t.files(), False, True),
}
SETTINGS_OF_WANDB = {f"wandb.{name}" for name in ("project", "entity", "mode", "group", "tags", "job_type")}
SHOWN_FOR_TRAINING = {f"wandb.{name}" for name in ("timeout", "upload_timeout", "artifacts")}


@pytest.fixture(scope="module")
def trial(run_recipe, usual, tmp_path_factory) -> Callable[..., Trial]:
    def run(*overrides: str, before: str = NO_PLOT) -> Trial:
        folder = tmp_path_factory.mktemp("trial")
        shutil.copytree(usual, folder / RUN)
        given = {setting.split("=")[0]: setting for setting in (f"checkpoint={RUN}", "num_episodes=3", "num_envs=1")}
        given |= {setting.split("=")[0]: setting for setting in ("wandb.mode=offline", *overrides)}
        finished = run_recipe("evaluate", *given.values(), cwd=folder, before=before + PROBE)
        assert finished.code == 0, finished.err
        return Trial(folder, finished)

    return run


@pytest.fixture(scope="module")
def usual_trial(trial) -> Trial:
    return trial(before="")


@pytest.mark.parametrize("setting", EFFECTS)
def test_a_setting_has_an_effect(setting, trial, usual_trial) -> None:
    override, look, before, after = EFFECTS[setting]
    assert (look(usual_trial), look(trial(override))) == (before, after)


def test_every_setting_is_among_those_with_an_effect() -> None:
    others = {"trust_env", "policy", "trust_policy"}  # test_hostile_files.py, test_export.py, test_serve.py
    elsewhere = SETTINGS_OF_WANDB | SHOWN_FOR_TRAINING | others
    assert EFFECTS.keys() | elsewhere == {*overrides.key_names(schema.EvaluateConfig())} - {"wandb"}


def test_the_settings_of_wandb_and_the_evaluation_reach_wandb(trial, read_wandb, usual) -> None:
    chosen = ("wandb.project=grasp", "wandb.entity=lab", "wandb.group=first", "wandb.tags=[a,b]", "wandb.mode=auto")
    chosen += ("wandb.job_type=again",)
    done = trial("logger=wandb", "video=true", *chosen)
    records = read_wandb(done.output)
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert [run[name] for name in ("project", "entity", "run_group", "job_type")] == ["grasp", "lab", "first", "again"]
    assert (
        run["tags"] == ["a", "b", "test/pendulum-v0", "iql", "pendulum"]
        and run["display_name"] == "iql/test/pendulum-v0"
    )
    settings = run["config"]["update"]
    assert settings["algorithm"]["expectile"] == 0.7 and settings["algorithm_name"] == "iql" and settings["step"] == 20
    assert settings["num_episodes"] == 3 and settings["dataset"] == "test/pendulum-v0"
    assert not {"checkpoint", "output"} & settings.keys() and str(done.folder) not in str(settings)
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    logged = {key.split(".")[0]: value for item in items for key, value in item.items()}
    assert logged["eval/return"] == np.mean([float(value) for value in done.column("return")])
    assert {"eval/video", "eval/episodes", "eval/returns", "eval/minari_score"} < logged.keys()
    assert logged["eval/step"] == 20
    assert "NETWORK" not in done.finished.out
    assert "W&B: offline; upload by: wandb sync" in done.finished.out


def test_the_numbers_are_those_of_evaluate_called_directly(usual_trial) -> None:
    policy = agents.load_policy(usual_trial.folder / RUN / "checkpoints" / "last.safetensors")
    with agents.load_dataset("test/pendulum-v0").make_env() as env:
        result = agents.evaluate(policy, env, 3)
    assert usual_trial.column("return") == [str(value) for value in result.returns]
    assert usual_trial.column("minari_score") == [str(value) for value in result.scores["minari"]]
    assert usual_trial.column("length") == ["25"] * 3


def test_the_number_of_workers_changes_no_number(trial, usual_trial) -> None:
    assert trial("num_envs=3").episodes() == usual_trial.episodes()


def test_it_prints_a_table_and_where_the_files_are(usual_trial) -> None:
    lines = usual_trial.finished.out.splitlines()
    assert any(line.startswith("random policy ") for line in lines)
    shown = dict(line.split(maxsplit=1) for line in lines[-2:])
    assert shown == {"scores:": f"{RUN}/evaluation/episodes.csv", "plot:": f"{RUN}/evaluation/returns.png"}
    assert (usual_trial.output / "returns.png").read_bytes().startswith(b"\x89PNG")


def test_scores_of_a_file_of_the_users_own_go_to_the_current_folder_and_not_beside_it(
    usual, evaluate, tmp_path
) -> None:
    (tmp_path / "taken").mkdir()
    shutil.copy(usual / "checkpoints" / "best.safetensors", tmp_path / "taken" / "policy.safetensors")
    done = evaluate("checkpoint=taken/policy.safetensors", "num_episodes=1")
    assert done.code == 0 and "scores: evaluation/policy/episodes.csv" in done.out
    assert os.listdir(tmp_path / "taken") == ["policy.safetensors"]
    assert {*os.listdir(tmp_path / "evaluation" / "policy")} == {"episodes.csv", "returns.png"}


def test_scores_of_another_environment_are_not_on_the_datasets_scale(trial, usual_trial) -> None:
    assert "minari_score" in usual_trial.episodes()[0]
    same, longer = ("eval_env=gymnasium:Pendulum-v1", "max_episode_steps=25"), ("max_episode_steps=26",)
    assert "minari_score" in trial(*same).episodes()[0]  # the same as in training
    assert "minari_score" not in trial(*longer).episodes()[0]
    other = "gymnasium.envs.classic_control.pendulum:PendulumEnv"
    register = f"import gymnasium\ngymnasium.register('Other-v0', {other!r}, max_episode_steps=5)\n"
    scores = trial("eval_env=Other-v0", before=register).episodes()[0]
    assert "minari_score" not in scores and scores["length"] == "5"


# What cannot be evaluated --------------------------------------------------------------------------------------------


def test_a_truncated_last_checkpoint_names_the_one_before(run, evaluate) -> None:
    last = run / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    message = evaluate(f"checkpoint={RUN}").refusal()
    assert "last.safetensors is damaged, truncated" in message
    assert f"checkpoint={RUN}/checkpoints/previous.safetensors" in message
    assert evaluate(PREVIOUS, "num_episodes=1").code == 0


def write_foreign(kind: str, path: Path) -> None:
    if kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "empty":
        path.touch()
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"policy": 1}))
    elif kind == "torch":
        torch.save({"policy": torch.zeros(3)}, path)
    else:
        save_file({"policy": torch.zeros(3)}, path)


@pytest.mark.parametrize("kind", ["text", "empty", "pickle", "torch", "safetensors"])
def test_a_foreign_file_is_one_line(kind, evaluate, tmp_path) -> None:
    write_foreign(kind, tmp_path / "file")
    assert re.match(r"file is (damaged, truncated or )?not a checkpoint", evaluate("checkpoint=file").refusal())
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_without_a_checkpoint_is_one_line(evaluate, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert evaluate("checkpoint=empty").refusal() == "no checkpoint at empty/checkpoints/last.safetensors"


def test_a_checkpoint_saved_from_python_says_how_to_evaluate_it(evaluate, tmp_path) -> None:
    dataset = agents.load_dataset("test/pendulum-v0")
    settings = agents.BCConfig(actor=agents.ActorConfig(hidden_sizes=[8]))
    checkpoint.save(tmp_path / "mine", settings.build(dataset.specs), config=settings, specs=dataset.specs)
    message = evaluate("checkpoint=mine").refusal()
    assert "was not written by recipes/train.py" in message and "agents.load_policy(path)" in message


def test_an_environment_of_other_shapes_is_one_line(run, evaluate) -> None:
    message = evaluate(f"checkpoint={RUN}", "eval_env=CartPole-v1").refusal()
    assert "'CartPole-v1' has observations in" in message and "pass one that fits as eval_env=ID" in message
    assert not (run / "evaluation").exists()


def test_without_an_environment_one_has_to_be_named(train, evaluate) -> None:
    assert train("dataset=test/no-env-v0", "run_dir=run", "gradient_steps=5").code == 0
    assert "names no environment; name one by eval_env=ID" in evaluate("checkpoint=run").refusal()
    done = evaluate("checkpoint=run", "eval_env=Pendulum-v1", "num_episodes=1")
    assert done.code == 0 and "minari score" in done.out


def test_what_cannot_be_written_or_filmed_is_refused_before_the_evaluation(run, evaluate, tmp_path) -> None:
    (tmp_path / "file").touch()
    never = "import agents\ndef never(*_, **__): raise AssertionError('evaluated')\nagents.evaluate = never"
    message = evaluate(f"checkpoint={RUN}", "output=file/below", before=never).refusal()
    assert message.startswith("cannot write to file/below: ") and message.endswith("name another place by output=...")
    dark = (
        "from recipes import evaluate\ndef dark(env): raise agents.AgentsError('no OpenGL')\n"
        "evaluate.check_rendering = dark"
    )
    for film in ("video", "eval_videos"):
        assert evaluate(f"checkpoint={RUN}", f"{film}=true", before=f"{never}\n{dark}").refusal() == "no OpenGL"
    assert not (run / "evaluation").exists()


def test_a_film_that_cannot_be_made_leaves_the_scores(run, evaluate) -> None:
    dark = "def dark(*_, **__): raise agents.AgentsError('no OpenGL here; install one')"
    before = f"import agents\nfrom recipes import evaluate\n{dark}\nagents.record_video = dark\n"
    before += "evaluate.check_rendering = lambda env: None"
    logged = ("logger=wandb", "wandb.mode=offline")
    finished = evaluate(f"checkpoint={RUN}", "num_episodes=1", "video=true", *logged, before=before)
    assert [*(run / "evaluation" / "wandb").glob("offline-run-*")]
    assert finished.refusal() == "no OpenGL here; install one"
    assert "random policy" in finished.out and (run / "evaluation" / "episodes.csv").exists()


# Damaged metadata of a checkpoint without a checksum ------------------------------------------------------------------

UNREAD = {("extra", name) for name in ("versions", "devices", "best_return", "is_best")}  # by evaluations
NOT_OF_ITS_KIND = {str: 3, bool: "x", int: "x", float: "x", list: 3, dict: [1], type(None): [{}]}
ABSENT = object()
NEW = ("spaces", "reward_scale")  # which files of before have not: vectors, and rewards as they are


def entries(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """The way to each entry of nested dictionaries and lists."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, name)
        yield from entries(value, (*path, name))


def with_entry(tree: Any, path: tuple, value: Any) -> Any:
    tree = at = copy.deepcopy(tree)
    for name in path[:-1]:
        at = at[name]
    if value is ABSENT:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return tree


@pytest.mark.parametrize("step", [pytest.param(11, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_an_entry_that_is_missing_or_of_another_kind_is_one_line(usual, tmp_path, step) -> None:
    with safe_open(usual / "checkpoints" / "last.safetensors", framework="pt") as opened:
        whole = json.loads(opened.metadata()["metadata"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    file = tmp_path / "last.safetensors"

    def use(path: tuple, value: Any) -> str:
        """What is said about such an entry: an error or, of a setting that is not there, a warning."""
        metadata = json.dumps(with_entry(whole, path, value))
        save_file(tensors, file, metadata={"format": WITHOUT_CHECKSUM, "metadata": metadata})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                stored = read_checkpoint(str(file))
                stored.build_agent()
                evaluation_env(schema.EvaluateConfig(checkpoint=str(file)), stored).close()
            except agents.errors.AgentsError as error:
                return str(error)
        return "\n".join(str(warning.message) for warning in caught)

    paths = [path for path in entries(whole) if path[:2] not in UNREAD]
    for path in paths[::step]:
        kind = type(functools.reduce(lambda tree, name: tree[name], path, whole))
        said = use(path, NOT_OF_ITS_KIND[kind])
        assert said.count("\n") == 0 and "safetensors" in said, path
        if isinstance(path[-1], str) and path[0] != "spaces" and path[-1] not in NEW:
            said = use(path, ABSENT)
            assert said.count("\n") == 0 and "safetensors" in said, path
