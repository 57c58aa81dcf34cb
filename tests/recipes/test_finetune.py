"""Online after offline, as a user does it: both phases in one run, exactly resumed, and mistakes in one line."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from agents import checkpoint
from recipes import export
from recipes.runs.folder import RunFolder
from recipes.runs.online import Online
from recipes.runs.switch import with_limits
from recipes.settings.finetuning import FinetuneConfig
from tests.recipes.kills import AFTER_A_ROW, IN_A_STEP, KILL

Recipe = Callable[..., Any]
OFFLINE = "runs/iql/test/pendulum-v0/seed0"
ONLINE = f"{OFFLINE}/online"
QUICK = ("online_steps=60", "eval_every=20", "log_every=10", "device=cpu", "compile=off", "logger=none")
NO_PLOT = "from recipes.runs import plots; plots.Plots.draw = lambda *_, **__: None\n"


@pytest.fixture
def finetune(run: Path, run_recipe: Recipe, tmp_path: Path) -> Recipe:
    """The recipe on a quick offline run in the test's own folder, with quick settings."""

    def call(*overrides: str, checkpoint: str = OFFLINE, before: str = "", plot: bool = False) -> Any:
        before = before if plot else NO_PLOT + before
        return run_recipe("finetune", f"checkpoint={checkpoint}", *QUICK, *overrides, before=before, cwd=tmp_path)

    return call


@pytest.fixture
def resume(run_recipe: Recipe, tmp_path: Path) -> Recipe:
    return functools.partial(run_recipe, "finetune", f"resume={ONLINE}", before=NO_PLOT, cwd=tmp_path)


@pytest.fixture(scope="module")
def never_stopped(usual: Path, run_recipe: Recipe, tmp_path_factory: Any) -> Path:
    """Folder of a run that nobody stopped; not to be changed."""
    folder = tmp_path_factory.mktemp("never_stopped")
    shutil.copytree(usual, folder / OFFLINE)
    finished = run_recipe("finetune", f"checkpoint={OFFLINE}", *QUICK, cwd=folder)
    assert finished.code == 0, finished.err
    assert "online: minari score" in finished.out and "before" in finished.out
    assert "batch_size" not in finished.err, "TorchRL does not warn that the data's part of a batch is smaller"
    return folder / ONLINE


def test_both_phases_are_in_one_run(never_stopped, usual, read_csv) -> None:
    rows = read_csv(never_stopped / "evaluations.csv")
    assert [(row["step"], row["env_step"], row["phase"]) for row in rows] == [
        ("10", "0", "0"), ("20", "0", "0"), ("40", "20", "1"), ("60", "40", "1"), ("80", "60", "1"),
    ]  # fmt: skip
    for ours, before in zip(rows, read_csv(usual / "evaluations.csv")):
        assert ours["eval/return"] == before["eval/return"], "at the switch, the policy is that of the run before"
    metrics = read_csv(never_stopped / "metrics.csv")
    assert [int(row["step"]) for row in metrics] == [5, 10, 15, 20, 30, 40, 50, 60, 70, 80]
    assert [row["online/env_step"] for row in metrics[3:6]] == ["", "10.0", "20.0"]
    assert float(metrics[-1]["online/offline_share"]) == pytest.approx(200 / 260), "as if all were in one buffer"
    assert (never_stopped / "returns.png").stat().st_size > 1000
    assert checkpoint.load(never_stopped / "checkpoints" / "last.safetensors").extra["online"]["env_step"] == 60


IN_AN_UPDATE = """
from agents.training.agent import Agent
update = Agent.update
def dying_update(self, batch):
    if self.num_updates == {update}: die()
    return update(self, batch)
Agent.update = dying_update
"""
MOMENTS = {
    "before anything is evaluated": AFTER_A_ROW.format(name="evaluations.csv", step=20),
    "before the second checkpoint": IN_A_STEP.format(step=7),
    "in an episode": IN_A_STEP.format(step=33),
    "in an update": IN_AN_UPDATE.format(update=55),
    "between an evaluation and its checkpoint": AFTER_A_ROW.format(name="evaluations.csv", step=60),
    "at the last step": IN_A_STEP.format(step=60),
}
FAST = ("in an episode",)


def contents(folder: Path, read_log: Callable[[Path], Any]) -> dict[str, Any]:
    """All of a run that must not depend on whether it was stopped."""
    files = ("checkpoints/last.safetensors", "checkpoints/best.safetensors", "experience.f32")
    logs = ("metrics.csv", "evaluations.csv")
    return {n: (folder / n).read_bytes() for n in files} | {n: read_log(folder / n) for n in logs}


@pytest.mark.parametrize("moment", [pytest.param(m, marks=[pytest.mark.slow] * (m not in FAST)) for m in MOMENTS])
def test_a_killed_run_goes_on_to_the_same_bytes(moment, finetune, resume, tmp_path, never_stopped, read_log) -> None:
    assert finetune(before=KILL + MOMENTS[moment]).code == -9
    resumed = resume()
    assert resumed.code == 0, resumed.err
    assert contents(tmp_path / ONLINE, read_log) == contents(never_stopped, read_log)


FAILING = """
import os
from gymnasium.envs.classic_control import PendulumEnv
from agents.online import collection
step, steps = collection._step, iter(range(10**6))
def failing_step(env, action):
    if next(steps) == 34 and not os.path.exists("mended"): raise_from(env)
    return step(env, action)
def raise_from(env):
    PendulumEnv.step = lambda *_: 1 / 0
    env.step(env.action_space.sample())
collection._step = failing_step
"""


@pytest.mark.slow
def test_an_environment_that_fails_saves_the_run_and_says_where(finetune, resume, tmp_path, never_stopped, read_log):
    failed = finetune(before=FAILING)
    assert failed.code == 1 and "Traceback" not in failed.err
    (line,) = [line for line in failed.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: at environment step 35: the environment Pendulum-v1")
    assert "failed at a step: ZeroDivisionError" in line and f"resume={ONLINE}" in line
    assert checkpoint.load(tmp_path / ONLINE / "checkpoints" / "last.safetensors").extra["online"]["env_step"] == 34
    assert resume().code == 0
    assert contents(tmp_path / ONLINE, read_log) == contents(never_stopped, read_log)


SHUT = """
from agents.errors import DataError
from agents.online import collection
reset, resets = collection.Collection._reset, iter(range(10**6))
def failing_reset(self, e):
    if next(resets) == 1: raise DataError("the door is shut")
    return reset(self, e)
collection.Collection._reset = failing_reset
"""


@pytest.mark.slow
def test_a_reset_that_fails_costs_no_update(finetune, resume, tmp_path, never_stopped, read_log) -> None:
    failed = finetune(before=SHUT)
    assert failed.code == 1 and "the door is shut" in failed.err
    assert resume().code == 0
    assert contents(tmp_path / ONLINE, read_log) == contents(never_stopped, read_log)


SHARES = ("offline_share=0.5", "final_offline_share=0")
KINDS = {  # algorithm until the switch, settings of it, settings after it
    "indices that are drawn": ("discrete_iql", (), ("compile=trace", *SHARES)),
    "indices by value, some at random": ("discrete_cql", (), ("random_share=0.2", *SHARES)),
    "a next action in each batch": ("rebrac", ("n_step=3", "rewards.scale=0.1"), ("max_action_change=0.1", *SHARES)),
    "returns in each batch": ("cal_ql", (), ("num_envs=3", "logger=wandb", "wandb.mode=offline")),
    "another method": ("iql", ("rewards.shift=1",), ("method=wsrl", "num_warm_up_steps=15")),
    "from scratch": ("iql", (), ("method=rlpd", "from_scratch=true", "num_random_steps=40", "updates_per_step=0.5")),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_agent_goes_on_and_is_resumed(kind, quick_train, run_recipe, read_log, tmp_path) -> None:
    algorithm, before, after = KINDS[kind]
    data = "test/cartpole-v0" if algorithm.startswith("discrete") else "test/pendulum-v0"
    assert quick_train(f"dataset={data}", "run_dir=run", *before, algorithm=algorithm, cwd=tmp_path).code == 0
    settings = (*QUICK, "num_envs=2", "checkpoint=run", *after)
    whole = run_recipe("finetune", *settings, "run_dir=whole", before=NO_PLOT, cwd=tmp_path)
    assert whole.code == 0, whole.err
    killed = NO_PLOT + KILL + IN_A_STEP.format(step=54)
    assert run_recipe("finetune", *settings, "run_dir=killed", before=killed, cwd=tmp_path).code == -9
    assert run_recipe("finetune", "resume=killed", before=NO_PLOT, cwd=tmp_path).code == 0
    assert contents(tmp_path / "killed", read_log) == contents(tmp_path / "whole", read_log)


@pytest.mark.slow
def test_a_finished_run_makes_more_steps(finetune, resume, tmp_path, never_stopped, read_csv) -> None:
    shutil.copytree(never_stopped, tmp_path / ONLINE)
    assert "online_steps must be at least 60" in resume("online_steps=40").refusal()
    longer = resume("online_steps=80")
    assert longer.code == 0, longer.err
    rows = read_csv(tmp_path / ONLINE / "evaluations.csv")
    assert rows[:-1] == read_csv(never_stopped / "evaluations.csv") and rows[-1]["env_step"] == "80"
    experience = (tmp_path / ONLINE / "experience.f32").read_bytes()
    assert experience.startswith((never_stopped / "experience.f32").read_bytes()) and len(experience) == 80 * 40
    again = resume()
    assert again.code == 0 and (tmp_path / ONLINE / "experience.f32").read_bytes() == experience
    last = tmp_path / ONLINE / "checkpoints" / "last.safetensors"
    assert checkpoint.load(last).extra["online"]["fades_over"] == 60, "what fades keeps its length"
    for name in ("last", "previous"):
        last.with_stem(name).unlink()
    assert "put its checkpoints/ back" in resume().refusal()
    assert (tmp_path / ONLINE / "experience.f32").read_bytes() == experience


WORSE = """
import agents, dataclasses
evaluate, calls = agents.evaluate, iter(range(10**6))
def worse(policy, env, *rest, **options):
    result = evaluate(policy, env, *rest, **options)
    return dataclasses.replace(result, returns=result.returns - 10.0 * next(calls))
agents.evaluate = worse
"""


@pytest.mark.slow
def test_a_policy_that_has_fallen_is_given_back(finetune, resume, tmp_path, read_csv) -> None:
    stopped = finetune("stop_below=0", before=WORSE)
    assert stopped.code == 0, stopped.err
    assert "stopped: the return fell more than stop_below=0 below" in stopped.err
    rows = read_csv(tmp_path / ONLINE / "evaluations.csv")
    assert float(rows[-1]["eval/return"]) < float(rows[1]["eval/return"])
    folder = tmp_path / ONLINE / "checkpoints"
    last, offline = (checkpoint.load(folder / f"{name}.safetensors") for name in ("last", "offline"))
    assert last.num_updates > offline.num_updates and last.extra["online"]["stopped"]
    assert "has ended, as its return fell more than stop_below=0 below" in resume("online_steps=80").refusal()
    networks = [name for name in offline.tensors if "actor_network_params" in name and name.startswith("loss_module")]
    assert networks and all(last.tensors[name].equal(offline.tensors[name]) for name in networks)


@pytest.mark.slow
def test_limits_stay_with_the_policy(finetune, run_recipe, tmp_path, read_csv) -> None:
    assert finetune("action_limits=[-0.5,0.3]", "max_action_change=0.1").code == 0
    where = {
        "before": "from recipes.runs import figures; figures.plot_episodes = lambda *_, **__: None",
        "cwd": tmp_path,
    }
    evaluated = run_recipe("evaluate", f"checkpoint={ONLINE}", "num_episodes=2", "num_envs=1", **where)
    assert evaluated.code == 0, evaluated.err
    returns = [float(row["return"]) for row in read_csv(tmp_path / ONLINE / "evaluation" / "episodes.csv")]
    last = read_csv(tmp_path / ONLINE / "evaluations.csv")[-1]
    assert float(last["eval/return"]) == pytest.approx(sum(returns) / 2, rel=1e-6)
    further = run_recipe("finetune", f"checkpoint={ONLINE}", *QUICK, before=NO_PLOT, cwd=tmp_path)
    assert further.code == 0, further.err
    actions = np.fromfile(tmp_path / ONLINE / "online" / "experience.f32", np.float32).reshape(60, -1)[:, 3]
    assert actions.min() >= -0.5 and actions.max() <= np.float32(0.3)
    assert abs(np.diff(actions[:20])).max() <= 0.4001, "a tenth of what Pendulum's actions can be"
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    exported = run_recipe(
        "export", f"checkpoint={ONLINE}", "num_envs=1", "num_episodes=2", "num_observations=50", **where
    )
    assert exported.code == 0, exported.err
    assert "max_action_change=0.1 held where the policy learned, and the file does not know it" in exported.err
    contract = json.loads((tmp_path / ONLINE / "policy.json").read_text())["action"]
    assert (contract["low"], contract["high"]) == ([-0.5], [pytest.approx(0.3)])


def test_a_policy_goes_on_inside_its_limits_unless_others_are_typed() -> None:
    limits = (torch.tensor([-0.5]), torch.tensor([0.25]))
    config = with_limits(FinetuneConfig(checkpoint="run"), limits, 0.1)
    assert config.action_limits == [[-0.5], [0.25]] and config.max_action_change == 0.1
    typed = FinetuneConfig(checkpoint="run", action_limits=[-1.0, 1.0], max_action_change=1.0)
    assert with_limits(typed, limits, 0.1) == typed
    assert with_limits(typed, None, None) == typed


NO_RESULT = """
import agents
evaluate, calls = agents.evaluate, iter(range(10**6))
def none(*args, **options):
    if next(calls) == 2: raise agents.DataError("the lamp is out")
    return evaluate(*args, **options)
agents.evaluate = none
"""  # after those of the random policy and at the switch


@pytest.mark.slow
def test_a_fall_is_noticed_where_an_evaluation_is_made_again(finetune, run_recipe, tmp_path) -> None:
    assert finetune("stop_below=0", before=NO_RESULT).code == 1
    much_worse = NO_PLOT + WORSE.replace("10.0", "1e4")
    stopped = run_recipe("finetune", f"resume={ONLINE}", before=much_worse, cwd=tmp_path)
    assert stopped.code == 0 and "stopped: the return fell" in stopped.err
    note = checkpoint.load(tmp_path / ONLINE / "checkpoints" / "last.safetensors").extra["online"]
    assert note["stopped"] and note["env_step"] == 20


@pytest.mark.slow
def test_a_policy_that_searches_is_refused_and_leaves_nothing(quick_train, run_recipe, tmp_path) -> None:
    searching = ("dataset=test/pendulum-v0", "run_dir=run", "algorithm.extraction.kind=argmax")
    assert quick_train(*searching, algorithm="iql", cwd=tmp_path).code == 0
    assert "cannot explore here" in run_recipe("finetune", "checkpoint=run", *QUICK, cwd=tmp_path).refusal()
    assert not (tmp_path / "run" / "online").exists()


def test_a_dashboard_says_how_a_run_goes_on_online(tmp_path) -> None:
    config = FinetuneConfig(checkpoint="run", online_steps=7, noise=0.3)
    settings = Online(RunFolder(tmp_path), config, TensorDict(), first_step=0, seed=0).settings
    assert settings["online_steps"] == 7 and settings["noise"] == 0.3 and settings["num_envs"] == 1
    assert not {"checkpoint", "run_dir", "resume", "wandb", "seed"} & {*settings}


@pytest.mark.parametrize(("mean", "fallen"), [(80.1, False), (79.9, True), (float("nan"), True)])
def test_a_return_below_the_margin_and_one_that_is_no_number_are_a_fall(mean, fallen, tmp_path) -> None:
    config = FinetuneConfig(checkpoint="run", stop_below=20.0)
    online = Online(RunFolder(tmp_path), config, TensorDict(), first_step=0, seed=0)
    result: Any = SimpleNamespace(returns=np.array([mean]))
    assert not online.has_fallen(result), "the first one is what others are compared with"
    online.first_return = 100.0
    assert online.has_fallen(result) == fallen


def test_the_score_of_a_policy_that_was_given_back_is_its_own(tmp_path) -> None:
    run = RunFolder(tmp_path)
    for file in (run.config_file, run.info_file):
        file.touch()
    run.evaluations_file.write_text("step,eval/return,env_step,phase\n20,5.0,0,0\n40,1.0,20,1\n")
    scores = []
    for stopped in (False, True):
        last: Any = SimpleNamespace(num_updates=40, extra={"online": {"stopped": stopped}})
        scores.append((export._last_score(run, last) or {})["eval/return"])
    assert scores == [1.0, 5.0]


REFUSALS = {
    "online_steps=0": "online_steps must be at least 1, got 0",
    "online_steps=10 num_warm_up_steps=10": "online_steps=10 leaves no update after num_warm_up_steps=10",
    "checkpoint=nowhere": "no checkpoint at nowhere",
    "offline_share=2": "offline_share must lie in [0, 1], got 2",
    "offline_share=half": "offline_share must be a share in [0, 1] or pooled, got 'half'",
    "method=ilq": "unknown method 'ilq'; choose from",
    "method=discrete_iql": "discrete_iql learns from discrete actions, the data have continuous ones",
    "method=bc": "BC learns nothing from what it does itself; choose from",
    "eval_env=CartPole-v1": "environment 'CartPole-v1' has observations in",
    "eval_env=nowhere-v0": "nowhere-v0",
    "action_limits=[3,4]": "no action lies inside the limits",
    "online_steps=1000000000000": "GiB, 40 bytes a step, and the disk of",
    "resume=.": ". holds no run of offline-agents finetune",
    f"run_dir={OFFLINE} overwrite=true": "run_dir must be another folder than that of the run before",
}


@pytest.mark.parametrize("settings", REFUSALS)
def test_mistakes_are_one_line_and_leave_nothing(settings, finetune, tmp_path) -> None:
    refusal = finetune(*settings.split()).refusal()
    assert REFUSALS[settings] in refusal
    assert not (tmp_path / ONLINE).exists()
