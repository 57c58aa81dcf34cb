"""Training: every setting has an effect, nothing is overwritten unasked, and what goes wrong is one line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import agents
from agents import checkpoint
from recipes.runs.folder import RunFolder
from recipes.runs.lifecycle import claim
from recipes.settings import overrides, schema

RUN = "runs/iql/test/pendulum-v0/seed0"

# Settings ------------------------------------------------------------------------------------------------------------

# what no file of a run shows is printed
PROBE = """
import agents, agents.checkpoint
load, save = agents.load_dataset, agents.checkpoint.CheckpointFolder.save
borrow = agents.EvaluationEnv.borrow
def probed_load(*args, **options):
    dataset = load(*args, **options)
    print("probe mapped", "rows.f32" in open("/proc/self/maps").read())
    return dataset
def probed_save(self, agent, **options):
    print("probe saved", agent.num_updates)
    save(self, agent, **options)
def probed_borrow(self, count):
    print("probe envs", count)
    return borrow(self, count)
agents.load_dataset, agents.checkpoint.CheckpointFolder.save = probed_load, probed_save
agents.EvaluationEnv.borrow = probed_borrow
"""


@dataclass(frozen=True)
class Trial:
    """A run with the probes, in a folder of its own."""

    folder: Path
    finished: Any
    read_log: Callable[[Path], list[dict[str, str]]]

    @property
    def run(self) -> Path:
        return next(self.folder.glob("**/run.json")).parent

    def metrics(self) -> list[dict[str, str]]:
        return self.read_log(self.run / "metrics.csv")

    def steps(self, name: str) -> list[int]:
        return [int(row["step"]) for row in self.read_log(self.run / f"{name}.csv")]

    def length(self) -> str:
        return self.read_log(self.run / "evaluations.csv")[0]["eval/length"]

    def probed(self, name: str) -> list[str]:
        return [line.split()[-1] for line in self.finished.out.splitlines() if line.startswith(f"probe {name} ")]

    def files(self) -> set[str]:
        return {path.name for path in self.run.iterdir()}

    def info(self) -> dict[str, Any]:
        return json.loads((self.run / "run.json").read_text())

    def table(self) -> str:
        return next(line for line in self.finished.out.splitlines() if line.startswith("random policy"))


# what to write, what to look at, and what is seen usually and then; None: anything that differs
EFFECTS: dict[str, tuple[str, Callable[[Trial], Any], Any, Any]] = {
    "algorithm": ("algorithm=iql_corl", Trial.metrics, None, None),
    "dataset": ("dataset=test/other-v0", Trial.metrics, None, None),
    "seed": ("seed=1", Trial.metrics, None, None),
    "batch_size": ("batch_size=15", Trial.metrics, None, None),
    "gradient_steps": ("gradient_steps=10", lambda t: t.steps("metrics"), [5, 10, 15, 20], [5, 10]),
    "eval_every": ("eval_every=8", lambda t: t.steps("evaluations"), [10, 20], [8, 16, 20]),
    "log_every": ("log_every=8", lambda t: t.steps("metrics"), [5, 10, 15, 20], [8, 16]),
    "checkpoint_every": (
        "checkpoint_every=6",
        lambda t: t.probed("saved"),
        ["10", "20"],
        ["6", "10", "12", "18", "20"],
    ),
    "num_eval_episodes": ("num_eval_episodes=3", lambda t: t.table().split()[2], "2", "3"),
    "num_eval_envs": ("num_eval_envs=2", lambda t: set(t.probed("envs")), {"1"}, {"1", "2"}),
    "divergence_alarm": ("divergence_alarm=false", lambda t: "train/qvalue_position" in t.metrics()[0], True, False),
    "device": ("device=cuda:99", lambda t: t.finished.code, 0, 2),
    "compile": ("compile=trace", lambda t: t.info()["compile"], "off", "trace"),
    "precision": ("precision=bfloat16", Trial.metrics, None, None),
    "rewards.scale": ("rewards.scale=return_range", Trial.metrics, None, None),
    "rewards.shift": ("rewards.shift=-1", Trial.metrics, None, None),
    "n_step": ("n_step=3", Trial.metrics, None, None),
    "matmul_precision": ("matmul_precision=high", lambda t: t.info()["matmul_precision"], None, None),
    "storage": ("storage=memmap", lambda t: t.probed("mapped"), ["False"], ["True"]),
    "eval_env": ("eval_env=Pendulum-v1", Trial.length, "25.0", "200.0"),
    "max_episode_steps": ("max_episode_steps=7", Trial.length, "25.0", "7.0"),
    "logger": ("logger=csv", lambda t: "csv" in t.files(), False, True),
    "run_dir": ("run_dir=here", lambda t: str(t.run.relative_to(t.folder)), RUN, "here"),
}
SHOWN_BY_TESTS_OF_THEIR_OWN = {
    "action_bounds": "test_actions_outside_the_bounds_are_refused_unless_they_are_to_be_clipped",
    "clip_actions": "test_actions_outside_the_bounds_are_refused_unless_they_are_to_be_clipped",
    "estimate_every": "test_estimation.py",
    "eval_videos": "test_videos.py",
    "keep_videos": "test_videos.py",
    "observations.include": "test_families.py",
    "observations.exclude": "test_families.py",
    "online_steps": "test_both_phases.py",
    "overwrite": "test_a_run_is_overwritten_only_when_that_is_said",
    "resume": "test_resume.py",
    "seeds": "test_seeds.py",
    "stack": "test_seeds.py",
    "trust_env": "test_hostile_files.py",
    "validation": "test_validation.py",
    "wandb.project": "test_loggers.py",
    "wandb.entity": "test_loggers.py",
    "wandb.mode": "test_loggers.py",
    "wandb.group": "test_loggers.py",
    "wandb.tags": "test_loggers.py",
    "wandb.job_type": "test_loggers.py",
    "wandb.timeout": "test_wandb_logger.py",
    "wandb.upload_timeout": "test_wandb_logger.py",
    "wandb.artifacts": "test_artifacts.py",
}


@pytest.fixture(scope="module")
def trial(quick_train, read_log, tmp_path_factory) -> Callable[..., Trial]:
    def run(*overrides: str) -> Trial:
        folder = tmp_path_factory.mktemp("trial")
        return Trial(folder, quick_train(*overrides, cwd=folder, before=PROBE), read_log)

    return run


@pytest.fixture(scope="module")
def usual_trial(trial) -> Trial:
    return trial()


@pytest.mark.parametrize("setting", EFFECTS)
def test_a_setting_has_an_effect(setting, trial, usual_trial) -> None:
    override, look, before, after = EFFECTS[setting]
    changed = trial(override)
    if before is None:
        assert changed.finished.code == 0
        assert look(changed) != look(usual_trial)
    else:
        assert (look(usual_trial), look(changed)) == (before, after)


def test_every_setting_is_among_those_with_an_effect() -> None:
    keys = {*overrides.key_names(schema.TrainConfig())} - {"observations", "rewards", "wandb"}  # which hold others
    assert EFFECTS.keys() | SHOWN_BY_TESTS_OF_THEIR_OWN.keys() == keys
    tests = {*globals(), *(path.name for path in Path(__file__).parents[1].rglob("*.py"))}
    assert tests.issuperset(SHOWN_BY_TESTS_OF_THEIR_OWN.values())


def test_what_is_for_speed_alone_changes_no_number(trial, usual_trial) -> None:
    faster = trial("num_eval_envs=2", "storage=memmap", "checkpoint_every=7")
    assert faster.metrics() == usual_trial.metrics()
    assert faster.read_log(faster.run / "evaluations.csv") == usual_trial.read_log(usual_trial.run / "evaluations.csv")


def test_actions_outside_the_bounds_are_refused_unless_they_are_to_be_clipped(train, tmp_path) -> None:
    outside = ("dataset=test/outside-v0", "gradient_steps=5")
    assert "action_bounds=data takes the data's own bounds, clip_actions=true cuts" in train(*outside).refusal()
    assert os.listdir(tmp_path) == []
    assert train(*outside, "clip_actions=true").code == 0
    assert train(*outside, "action_bounds=data", "overwrite=true").code == 0


# The run's folder ----------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_settings_versions_logs_plot_and_checkpoints(train, tmp_path) -> None:
    finished = train("algorithm.expectile=0.9", plot=True, GOMP_SPINCOUNT="7")
    assert finished.code == 0, finished.err
    folder = tmp_path / RUN
    assert {path.name for path in folder.iterdir()} - {".lock"} == {
        *("config.yaml", "run.json", "metrics.csv", "evaluations.csv", "returns.png", "training.png", "checkpoints")
    }
    settings = OmegaConf.load(folder / "config.yaml")
    assert OmegaConf.to_container(settings, resolve=False) == OmegaConf.to_container(settings, resolve=True)
    assert settings.algorithm.expectile == 0.9 and settings.algorithm.actor_optimizer.decay_steps == 20
    assert settings.run_dir == RUN and settings.seed == 0
    info = json.loads((folder / "run.json").read_text())
    assert info["algorithm"] == "iql" and info["versions"]["torch"] == importlib.metadata.version("torch")
    assert {"python", "torch", "torchrl", "minari", "gymnasium", "gymnasium-robotics", "mujoco"} < info[
        "versions"
    ].keys()
    assert info["dataset_fingerprint"] == agents.load_dataset("test/pendulum-v0").fingerprint
    assert info["gomp_spincount"] == "7"
    assert info["cost"]["device"] == "cpu" and info["cost"]["parameters"] > 100 and info["cost"]["minutes"] > 0
    assert "eval/return" in info["random"] and info["wandb_url"] is None
    assert (folder / "returns.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    saved = {path.name: checkpoint.load(path).num_updates for path in (folder / "checkpoints").iterdir()}
    assert saved["last.safetensors"] == 20 and saved["previous.safetensors"] == 10 and len(saved) == 3


def test_the_logs_begin_with_the_step_and_have_one_row_per_point(usual) -> None:
    for name, prefixes, steps in (("metrics", ("train/", "time/"), "5 10 15 20"), ("evaluations", ("eval/",), "10 20")):
        header, *rows = (usual / f"{name}.csv").read_text().splitlines()
        step, *keys = header.split(",")
        assert step == "step" and all(key.startswith(prefixes) for key in keys) and len(set(keys)) == len(keys)
        assert [row.split(",")[0] for row in rows] == steps.split()
        assert all(float(value) == float(value) for row in rows for value in row.split(","))  # nan would differ


def test_the_end_shows_a_table_and_where_everything_is(train, tmp_path) -> None:
    out = train("algorithm.expectile=0.8").out.splitlines()
    header, _, iql, random, dataset = next(out[i : i + 5] for i, line in enumerate(out) if line.startswith("policy  "))
    assert header.split() == ["policy", "episodes", "return", "d4rl", "score", "minari", "score", "success"]
    assert iql.split()[:2] == ["iql", "2"] and random.split()[:3] == ["random", "policy", "2"]
    assert dataset.split()[:5] == ["mean", "of", "the", "dataset", "8"]
    shown = dict(line.split(maxsplit=1) for line in out[-3:])
    assert shown.keys() == {"policy:", "metrics:", "evaluations:"}  # and plot, which these tests leave out
    assert all((tmp_path / path).is_file() for path in shown.values())


def test_the_last_checkpoint_is_the_policy_of_the_last_evaluation(usual, read_log) -> None:
    policy = agents.load_policy(usual / "checkpoints" / "last.safetensors")
    with agents.load_dataset("test/pendulum-v0").make_env() as env:
        result = agents.evaluate(policy, env, 2)
    assert read_log(usual / "evaluations.csv")[-1]["eval/return"] == str(result.returns.mean())


def test_another_algorithm_trains_in_its_own_folder(train, tmp_path, read_log) -> None:
    assert train(algorithm="bc").code == 0
    (row, *_) = read_log(tmp_path / "runs/bc/test/pendulum-v0/seed0/metrics.csv")
    assert "train/loss_bc" in row and "train/loss_qvalue" not in row


def test_an_algorithm_gets_the_transitions_that_it_asks_for(train, tmp_path, read_log) -> None:
    def losses(algorithm: str, name: str, *overrides: str) -> list[str]:
        run = train(f"run_dir={algorithm}", "overwrite=true", *overrides, algorithm=algorithm)
        assert run.code == 0, run.err
        return [row[name] for row in read_log(tmp_path / algorithm / "metrics.csv")]

    of_all = losses("bc", "train/loss_bc")
    assert losses("bc_top", "train/loss_bc", "algorithm.best_episodes=1") == of_all
    assert losses("bc_top", "train/loss_bc", "algorithm.best_episodes=0.5") != of_all
    assert losses("rebrac", "train/next_action_distance")


@pytest.mark.parametrize("name", [name for name, known in agents.ALGORITHMS.items() if known.actions == "discrete"])
def test_discrete_actions_are_trained_on_and_evaluated(name, train, evaluate, tmp_path, read_csv) -> None:
    trained = train("dataset=test/cartpole-v0", algorithm=name, plot=True)
    assert trained.code == 0, trained.err
    folder = tmp_path / f"runs/{name}/test/cartpole-v0/seed0"
    assert (folder / "returns.png").is_file()
    evaluated = evaluate(f"checkpoint={folder}", "num_episodes=2", "num_envs=1")
    assert evaluated.code == 0, evaluated.err
    returns = [float(row["return"]) for row in read_csv(folder / "evaluation" / "episodes.csv")]
    assert sum(returns) / 2 == float(read_csv(folder / "evaluations.csv")[-1]["eval/return"]) >= 8.0


def test_several_seeds_train_one_after_the_other_in_folders_of_their_own(train, tmp_path, usual, read_log) -> None:
    finished = train("-m", "seed=0,1")
    assert finished.code == 0, finished.err
    assert os.listdir(tmp_path) == ["runs"]
    folders = sorted((tmp_path / "runs/iql/test/pendulum-v0").iterdir())
    assert [folder.name for folder in folders] == ["seed0", "seed1"]
    assert read_log(folders[0] / "metrics.csv") == read_log(usual / "metrics.csv")
    assert read_log(folders[0] / "metrics.csv") != read_log(folders[1] / "metrics.csv")


@pytest.mark.slow
def test_the_script_runs_as_it_is_typed(tmp_path, environment, usual, read_log) -> None:
    repository = Path(agents.__file__).parents[1]
    settings = ["resume=run", "logger=none"]
    shutil.copytree(usual, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "evaluations.csv").unlink()
    command = [sys.executable, str(repository / "recipes" / "train.py"), *settings]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "PYTHONPATH": str(repository)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert read_log(tmp_path / "run" / "metrics.csv") == read_log(usual / "metrics.csv")


INHERITED = """
import os, subprocess, sys
{before}
import recipes
shown = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
exec(shown, {{}})
sys.stdout.flush()
subprocess.run([sys.executable, "-c", shown], check=True)
"""


@pytest.mark.parametrize(
    ("before", "variables", "spincount"),
    [
        ("", {}, "30000"),
        ("", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("", {"OMP_WAIT_POLICY": "active"}, "None"),
        ("import types; sys.modules['torch'] = types.ModuleType('torch')", {}, "None"),  # it has looked already
    ],
)
def test_torchs_threads_spin_briefly_unless_the_user_has_a_say(before, variables, spincount) -> None:
    """In processes of runs that are made together too."""
    own = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", INHERITED.format(before=before)]
    done = subprocess.run(command, env={**own, **variables}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [spincount, spincount]


# A run that is there already -----------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_overwritten_only_when_that_is_said(run, train, read_log) -> None:
    before = contents(run)
    message = train("algorithm.expectile=0.9").refusal()
    assert f"resume={RUN}" in message and "overwrite=true" in message
    assert contents(run) == before
    (run / "notes.txt").touch()
    assert train("algorithm.expectile=0.9", "overwrite=true").code == 0
    assert OmegaConf.load(run / "config.yaml").algorithm.expectile == 0.9
    assert not (run / "notes.txt").exists()
    assert [path.name for path in run.parent.iterdir()] == ["seed0"]


def test_a_run_at_which_another_process_is_at_work_is_not_overwritten(run, train) -> None:
    before = contents(run)
    lock = claim(RunFolder(run))
    assert "another process is at work" in train("overwrite=true").refusal()
    lock.release()
    assert contents(run) == before


NO_NETWORK = "import socket\ndef no_network(*_): raise OSError\nsocket.getaddrinfo = no_network\n"


def test_a_link_to_a_folder_stays_one_when_its_run_is_overwritten(run, train, tmp_path) -> None:
    run.rename(tmp_path / "elsewhere")
    run.symlink_to(tmp_path / "elsewhere")
    assert train("algorithm.expectile=0.9", "overwrite=true").code == 0
    assert OmegaConf.load(tmp_path / "elsewhere" / "config.yaml").algorithm.expectile == 0.9
    assert run.is_symlink() and sorted(os.listdir(tmp_path)) == ["elsewhere", "runs"]


def test_a_run_goes_into_the_current_folder_but_is_not_overwritten_from_inside(train, tmp_path) -> None:
    assert train("run_dir=.", "gradient_steps=5").code == 0
    old = contents(tmp_path)
    assert "change to another folder first" in train("run_dir=.", "overwrite=true").refusal()
    assert contents(tmp_path) == old


W_AND_B_REFUSES = """
import wandb
def init(**_): raise wandb.errors.CommError("no such entity")
wandb.init = init
"""
FULL = "import errno, os\ndef full(*_): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"


@pytest.mark.parametrize(
    ("overrides", "before", "expected"),
    [
        (["dataset=test/unknown-v0"], NO_NETWORK, "is not in"),
        (["device=cuda:99"], "", "CUDA devices"),
        (["algorithm.expectile=2"], "", "expectile must lie in"),
        (["batch_size=0"], "", "at least 1"),
        (["eval_env=CartPole-v1"], "", "pass one that fits"),
        (["logger=tensorboard"], "import torchrl.record.loggers.tensorboard as t; t._has_tb = False", "pip install"),
        (["logger=wandb"], W_AND_B_REFUSES, "W&B refused the run (no such entity)"),
        (
            ["algorithm.expectile=0.9"],
            FULL + "import agents.files as f; f.open = lambda path, mode: full() if 'w' in mode else open(path, mode)",
            "free some space",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_overwriting_deletes_nothing_before_all_else_is_known_to_work(overrides, before, expected, run, train) -> None:
    old = contents(run)
    where = [f"run_dir={RUN}", "overwrite=true"]
    assert expected in train(*overrides, *where, before=before).refusal()
    assert contents(run) == old
    assert [path.name for path in run.parent.iterdir()] == ["seed0"]


def test_a_folder_with_something_else_is_refused(train, tmp_path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    (tmp_path / "thesis" / "config.yaml").touch()  # many have one
    for overwrite in ("false", "true"):
        message = train("run_dir=thesis", f"overwrite={overwrite}").refusal()
        assert message == "thesis holds something that is not a run; choose another run_dir"
    assert (tmp_path / "thesis" / "chapter.tex").exists()
    assert "thesis/chapter.tex/run" in train("run_dir=thesis/chapter.tex/run").refusal()


# What goes wrong on the way ------------------------------------------------------------------------------------------


# after the random policy's 3 episodes of 25 steps and those of the first evaluation
BREAKS = """
import itertools
from gymnasium.envs.classic_control import PendulumEnv
count, step = itertools.count(), PendulumEnv.step
def breaking(self, action):
    if next(count) >= 150:
        raise RuntimeError("out of order")
    return step(self, action)
PendulumEnv.step = breaking
"""


def test_an_environment_that_breaks_later_costs_no_update_and_no_evaluation(
    train, train_as_is, tmp_path, read_log
) -> None:
    message = train("num_eval_episodes=3", before=BREAKS).refusal()
    assert "the environment Pendulum-v1 for dataset 'test/pendulum-v0' failed at a step" in message
    assert "RuntimeError: out of order; name one that works by eval_env=ID" in message
    assert checkpoint.load(tmp_path / RUN / "checkpoints" / "last.safetensors").num_updates == 20
    assert [row["step"] for row in read_log(tmp_path / RUN / "evaluations.csv")] == ["10"]
    assert train_as_is(f"resume={RUN}").code == 0
    train("num_eval_episodes=3", "run_dir=whole")
    assert read_log(tmp_path / RUN / "evaluations.csv") == read_log(tmp_path / "whole" / "evaluations.csv")
    resumed, whole = (checkpoint.load(tmp_path / run / "checkpoints" / "best.safetensors") for run in (RUN, "whole"))
    assert resumed.metadata == whole.metadata


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(train, tmp_path, read_wandb) -> None:
    broken = """
from agents.training.agent import Agent
update = Agent.update
def poisoned(self, batch):
    if self.num_updates == 12: batch["next", "reward"][3] = float("inf")
    return update(self, batch)
Agent.update = poisoned
"""
    message = train("logger=wandb", before=broken).refusal()
    assert message.startswith("loss_qvalue = inf at step 13") and "next.reward in [" in message
    assert checkpoint.load(tmp_path / RUN / "checkpoints" / "last.safetensors").num_updates == 10
    agents.load_policy(tmp_path / RUN / "checkpoints" / "last.safetensors")
    assert read_wandb(tmp_path / RUN)[-1]["exit"]["exit_code"] == 1


def test_an_absurd_learning_rate_is_one_line(train) -> None:
    assert "lower the learning rate" in train("algorithm.critic_optimizer.lr=1e30").refusal()


FULL_WHEN = {
    "a checkpoint is written": """
import agents.files, builtins
def open(path, mode):
    if "last.staged" in str(path) and os.path.exists(os.path.join(os.path.dirname(path), "last.safetensors")): full()
    return builtins.open(path, mode)
agents.files.open = open
""",
    "a row is written": """
import builtins
from recipes.runs import metrics_log
def open(path, mode="r", **options):
    if str(path).endswith("metrics.csv") and mode == "a" and len(builtins.open(path).readlines()) > 3: full()
    return builtins.open(path, mode, **options)
metrics_log.open = open
""",
    "a logger writes": """
from recipes.tracking import loggers
log = loggers.log_scalars
def log_scalars(logger, scalars, step):
    if step == 15: full()
    log(logger, scalars, step)
loggers.log_scalars = log_scalars
""",
}


@pytest.mark.parametrize("when", FULL_WHEN)
def test_a_full_disk_is_one_line_and_costs_nothing_that_was_saved(
    when, train, train_as_is, tmp_path, usual, read_log
) -> None:
    assert "No space left on device" in train(before=FULL + FULL_WHEN[when]).refusal()
    agents.load_policy(tmp_path / RUN / "checkpoints" / "last.safetensors")
    assert checkpoint.load(tmp_path / RUN / "checkpoints" / "last.safetensors").num_updates == 10
    assert train_as_is(f"resume={RUN}").code == 0
    assert read_log(tmp_path / RUN / "metrics.csv") == read_log(usual / "metrics.csv")


def test_a_bug_is_not_passed_off_as_a_mistake_of_the_users(train) -> None:
    finished = train(before="import agents\ndef load(*_, **__): raise ValueError('bug')\nagents.load_dataset = load")
    assert finished.code == 1 and "Traceback" in finished.err and "ValueError: bug" in finished.err


# Data without all that one could wish --------------------------------------------------------------------------------


def test_without_an_environment_a_run_warns_once_and_trains_without_evaluation(train, tmp_path) -> None:
    finished = train("dataset=test/no-env-v0")
    assert finished.code == 0
    (warning,) = [line for line in finished.err.splitlines() if "warning" in line]
    assert "nothing is evaluated" in warning and "eval_env=ID" in warning
    folder = tmp_path / "runs/iql/test/no-env-v0/seed0"
    assert (folder / "evaluations.csv").read_text() == ""
    assert checkpoint.load(folder / "checkpoints" / "last.safetensors").num_updates == 20
    assert "random policy" not in finished.out and "mean of the dataset: return" in finished.out
    assert "the policy was not evaluated" in finished.out and "next:" in finished.out
    assert f"offline-agents estimate checkpoint={folder.relative_to(tmp_path)} " in finished.out
    assert f"agents.load_policy('{folder.relative_to(tmp_path)}/checkpoints/last.safetensors')" in finished.out


def test_a_named_environment_makes_it_evaluate(train, tmp_path, read_log) -> None:
    finished = train("dataset=test/no-env-v0", "eval_env=Pendulum-v1")
    assert finished.code == 0 and "warning" not in finished.err
    folder = tmp_path / "runs/iql/test/no-env-v0/seed0"
    assert [row["step"] for row in read_log(folder / "evaluations.csv")] == ["10", "20"]
    assert "mean of the dataset" in finished.out and json.loads((folder / "run.json").read_text())["data"]


def test_returns_of_another_environment_stand_beside_no_mean_of_the_dataset(train, tmp_path) -> None:
    pendulum = "gymnasium.envs.classic_control.pendulum:PendulumEnv"
    register = f"import gymnasium\ngymnasium.register('Other-v0', {pendulum!r}, max_episode_steps=5)\n"
    finished = train("eval_env=Other-v0", before=register)
    assert finished.code == 0 and "mean of the dataset" not in finished.out
    assert json.loads((tmp_path / RUN / "run.json").read_text())["data"] is None


def test_an_environment_that_no_checkpoint_could_name_is_refused_at_once(train, tmp_path) -> None:
    pendulum = "from gymnasium.envs.classic_control.pendulum import PendulumEnv"
    register = f"import gymnasium\n{pendulum}\ngymnasium.register('Mine-v0', PendulumEnv, max_episode_steps=5)\n"
    message = train("eval_env=Mine-v0", before=register).refusal()
    assert "'Mine-v0'" in message and "entry_point='module:Class'" in message
    assert not (tmp_path / RUN).exists()
