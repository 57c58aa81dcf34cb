"""``train online_steps=``: both phases by one command, as by two, and gone on with by the same one."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from agents import checkpoint
from recipes.runs import both_phases
from recipes.runs.folder import RunFolder
from recipes.runs.resume import read_settings
from tests.recipes.kills import AFTER_A_ROW, IN_A_STEP, KILL

Recipe = Callable[..., Any]
RUN = "runs/iql/test/pendulum-v0/seed0"
ALIKE = ("device=cpu", "compile=off", "logger=none")
FILES = ("checkpoints/last.safetensors", "checkpoints/best.safetensors")
NO_PLOT = "from recipes.runs import plots; plots.Plots.draw = lambda *_, **__: None\n"


@pytest.fixture(scope="module")
def one_after_the_other(usual: Path, run_recipe: Recipe, tmp_path_factory: Any) -> Path:
    """Folder of a run that went online by a command of its own; not to be changed."""
    folder = tmp_path_factory.mktemp("two_commands")
    shutil.copytree(usual, folder / RUN)
    finished = run_recipe("finetune", f"checkpoint={RUN}", "online_steps=30", *ALIKE, before=NO_PLOT, cwd=folder)
    assert finished.code == 0, finished.err
    return folder / RUN


@pytest.fixture
def contents(read_log: Callable[[Path], Any]) -> Callable[[Path], dict[str, Any]]:
    """All of a run of both phases that must not depend on how it was made."""

    def read(run: Path) -> dict[str, Any]:
        files = (*FILES, *(f"online/{name}" for name in FILES), "online/experience.f32")
        logs = [f"{place}{name}.csv" for place in ("", "online/") for name in ("metrics", "evaluations")]
        return {name: (run / name).read_bytes() for name in files} | {name: read_log(run / name) for name in logs}

    return read


def test_one_command_gives_the_numbers_of_two(train, tmp_path, one_after_the_other, contents) -> None:
    finished = train("online_steps=30")
    assert finished.code == 0, finished.err
    assert "online: minari score" in finished.out
    assert contents(tmp_path / RUN) == contents(one_after_the_other)
    settings = [yaml.safe_load((tmp_path / RUN / name).read_text()) for name in ("config.yaml", "online/config.yaml")]
    assert [each["online_steps"] for each in settings] == [30, None]


def test_a_run_whose_last_evaluation_failed_has_not_ended(one_after_the_other, monkeypatch) -> None:
    run = RunFolder(one_after_the_other)
    config = dataclasses.replace(OmegaConf.to_object(read_settings(run)), online_steps=30)
    assert both_phases.has_ended_online(run, config)

    def load(path: Path) -> checkpoint.Checkpoint:
        last = checkpoint.load(path)
        last.extra["online"]["evaluated_at"] = 20
        return last

    monkeypatch.setattr(both_phases, "load", load)
    assert not both_phases.has_ended_online(run, config)


MOMENTS = {
    "before the switch": AFTER_A_ROW.format(name="metrics.csv", step=15),
    "online": IN_A_STEP.format(step=17),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_with_both(moment, train, run_recipe, tmp_path, one_after_the_other, contents) -> None:
    assert train("online_steps=30", before=KILL + MOMENTS[moment]).code == -9
    resume = functools.partial(run_recipe, "train", f"resume={RUN}", "logger=none", before=NO_PLOT, cwd=tmp_path)
    resumed = resume()
    assert resumed.code == 0, resumed.err
    assert contents(tmp_path / RUN) == contents(one_after_the_other)
    if moment == "online":
        assert (
            "gradient_steps must stay 20, after which it went online, got 30" in resume("gradient_steps=30").refusal()
        )
        assert "gradient_steps must stay 20" in resume("gradient_steps=10").refusal()
        again = resume("online_steps=40")
        assert again.code == 0, again.err
        last = checkpoint.load(tmp_path / RUN / "online" / "checkpoints" / "last.safetensors")
        assert last.extra["online"]["env_step"] == 40


STOP = """
import os, signal
from agents.online import collection
step = collection.Collection.step
def interrupted_step(self):
    step(self)
    if self.env_step == 7: os.kill(os.getpid(), signal.SIGINT)
collection.Collection.step = interrupted_step
"""


@pytest.mark.slow
def test_a_finished_run_goes_online_too_and_one_that_is_stopped_says_how_it_goes_on(
    run, run_recipe, tmp_path, one_after_the_other, contents
) -> None:
    resume = functools.partial(run_recipe, "train", f"resume={RUN}", "logger=none", cwd=tmp_path)
    stopped = resume("online_steps=30", before=NO_PLOT + STOP)
    assert stopped.code == 130 and stopped.out.strip().endswith(f"resume={RUN}")
    assert resume(before=NO_PLOT).code == 0, "it has noted that it goes online"
    assert contents(run) == contents(one_after_the_other)


@pytest.mark.slow
def test_a_comparison_shows_what_came_of_it_and_makes_what_is_missing(run_recipe, forked, tmp_path) -> None:
    quick = (
        "datasets=test/pendulum-v0", "gradient_steps=20", "eval_every=10", "num_eval_episodes=2", "batch_size=16",
        "compile=off", "matmul_precision=highest", "seeds=0,1", "output=out",
    )  # fmt: skip
    compare = functools.partial(run_recipe, "compare", "algorithms=iql,awac,bc", *quick, before=forked, cwd=tmp_path)
    assert compare().code == 0
    finished = compare("online_steps=20")
    assert finished.code == 0, finished.err + finished.out
    assert "6 runs, of which 2 are finished already" in finished.out, "what only clones does not go on"
    header, *rows = json.loads((tmp_path / "out" / "results.json").read_text())["online"]
    assert header[:3] == ["dataset", "algorithm", "runs"]
    assert [row[:3] for row in rows] == [["test/pendulum-v0", name, "2"] for name in ("iql", "awac")]
    assert "## Online" in (tmp_path / "out" / "results.md").read_text()
    assert "6 runs, of which 6 are finished already" in compare("online_steps=20").out


@pytest.mark.slow
def test_what_another_command_began_there_in_another_way_is_left_alone(run, run_recipe, tmp_path) -> None:
    began = run_recipe(
        "finetune", f"checkpoint={RUN}", "online_steps=10", "noise=0.3", *ALIKE, before=NO_PLOT, cwd=tmp_path
    )
    assert began.code == 0, began.err
    before = (run / "online" / FILES[0]).read_bytes()
    refusal = run_recipe("train", f"resume={RUN}", "online_steps=20", "logger=none", cwd=tmp_path).refusal()
    assert "has other settings: noise is 0.3 there, None here; offline-agents finetune resume=" in refusal
    assert (run / "online" / FILES[0]).read_bytes() == before


REFUSALS = {
    "algorithm=bc online_steps=20": "BC learns nothing from what it does itself; choose from",
    "dataset=test/no-env-v0 online_steps=20": "test/no-env-v0 names no environment to act in; name one by eval_env=ID",
    "algorithm=wsrl online_steps=20": "online_steps=20 leaves no update after num_warm_up_steps=5000",
    "algorithm.extraction.kind=argmax online_steps=20": "cannot explore here",
}


LATE = ("algorithm.extraction.kind=argmax online_steps=20",)


@pytest.mark.parametrize("settings", [pytest.param(s, marks=[pytest.mark.slow] * (s in LATE)) for s in REFUSALS])
def test_what_cannot_go_online_is_refused_before_anything_is_learned(settings, train_as_is, tmp_path) -> None:
    given = settings.split()
    defaults = [each for each in ("dataset=test/pendulum-v0", *ALIKE) if each.split("=")[0] not in settings]
    assert REFUSALS[settings] in train_as_is(*defaults, *given).refusal()
    assert not (tmp_path / "runs").exists()
