"""Estimates while a run learns: what they are of, where they are written, and that they change nothing but what follows
them.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agents import checkpoint
from agents.evaluation.offline.estimate import ERROR_LEFT
from recipes.runs import estimation

RUN = "runs/iql/test/pendulum-v0/seed0"
ALONE = "runs/iql/test/no-env-v0/seed0"
WITHOUT = "dataset=test/no-env-v0"
SHORT = """
from agents.evaluation.offline.settings import FQEConfig
from agents.networks.configs import MLPConfig
from recipes.runs import estimation
tiny = FQEConfig(gradient_steps=3, num_members=3, qvalue=MLPConfig(hidden_sizes=[8]), compile="off")
estimation.quick_fit = lambda steps, gamma: tiny
"""
# the estimates that a run gets, one after the other; None: one that means nothing, and is the largest
TOLD = """
from dataclasses import replace
from agents.evaluation.offline.estimate import Trust
fit = estimation.fitted_q_evaluation
def told(policies, *arguments, **options):
    (value,), worth = fit(policies, *arguments, **options), WORTH[told.looks]
    told.looks += 1
    trust = Trust(error_left=0.9 if worth is None else 0.0)
    number = 8.0 if worth is None else worth
    known = {"value": number, "low": number - 0.5, "high": number + 0.5, "data_range": (-9.0, 9.0), "own_value": None}
    return [replace(value, trust=trust, **known)]
told.looks = FIRST
estimation.fitted_q_evaluation = told
estimation.outside_support = lambda *_, **__: 0.0
"""
NO_PLOT = "from recipes.runs import plots; plots.Plots.draw = lambda *_, **__: None\n"
EVERY = ("estimate_every=5", "gradient_steps=20")
FOLLOWING = (
    "validation=0.5",
    "algorithm.expectile_schedule.kind=validation",
    "algorithm.actor_optimizer.decay_steps=20",
)


def told(*worth: float | None, first: int = 0) -> str:
    return SHORT + f"WORTH, FIRST = {worth}, {first}\n" + TOLD


def tensors(path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path / "checkpoints/last.safetensors").tensors


def test_estimates_are_written_beside_what_they_do_not_change(train, tmp_path, read_log) -> None:
    done = train(*EVERY, "run_dir=with", before=SHORT)
    assert done.code == 0, done.err
    assert train("run_dir=without").code == 0
    with_them, without = tmp_path / "with", tmp_path / "without"
    rows = read_log(with_them / "evaluations.csv")
    assert [row["step"] for row in rows] == ["5", "10", "15", "20"]
    assert [bool(row["eval/return"]) for row in rows] == [False, True, False, True]
    for row, logged in zip(rows, read_log(with_them / "metrics.csv")):
        assert float(row["estimate/fqe_low"]) <= float(row["estimate/fqe"]) <= float(row["estimate/fqe_high"])
        mine, theirs = ({k: v for k, v in each.items() if k.startswith("estimate/")} for each in (row, logged))
        assert mine == theirs and {*mine} > {"estimate/own_value", "estimate/outside_support", "estimate/means_nothing"}
    plain = [{k: v for k, v in row.items() if not k.startswith("estimate/")} for row in rows if row["eval/return"]]
    assert plain == read_log(without / "evaluations.csv")
    assert "estimates every 5 updates from 8 episodes that it learns from, which flatters it" in done.out
    assert "\nestimate by the data alone: " in done.out and "step 5: estimate " in done.out
    learned, alone = tensors(with_them), tensors(without)
    assert all(torch.equal(learned[name], alone[name]) for name in alone)


def test_without_an_environment_the_best_is_the_one_of_the_largest_estimate_that_means_something(
    train, tmp_path
) -> None:
    done = train(WITHOUT, *EVERY, "validation=0.5", before=told(1.0, 3.0, None, 2.5))
    assert done.code == 0, done.err
    assert "estimates every 5 updates from 4 held-out episodes" in done.out
    assert "estimate 3 (2.5 to 3.5)\n" in done.out and "estimate 8 (7.5 to 8.5), means nothing" in done.out
    best, last = (checkpoint.load(tmp_path / ALONE / f"checkpoints/{name}.safetensors") for name in ("best", "last"))
    assert best.num_updates == 10 and last.num_updates == 20
    assert last.extra["best_estimate"] == 3.0 and last.extra["best_return"] is None
    assert not (tmp_path / ALONE / "returns.png").exists()


def test_an_expectile_that_follows_estimates_goes_on_after_a_resume(train, train_as_is, tmp_path, read_log) -> None:
    worth = (1.0, 3.0, 2.0, None, 5.0)
    whole = train(WITHOUT, *EVERY, *FOLLOWING, "run_dir=whole", before=told(*worth))
    assert whole.code == 0, whole.err
    half = train(WITHOUT, EVERY[0], "gradient_steps=13", *FOLLOWING, "run_dir=half", before=told(*worth))
    assert half.code == 0, half.err
    assert train_as_is("resume=half", "gradient_steps=20", before=NO_PLOT + told(*worth, first=2)).code == 0
    both = [tensors(tmp_path / name) for name in ("whole", "half")]
    assert all(torch.equal(both[1][name], tensor) for name, tensor in both[0].items())
    taken = [float(row["train/expectile"]) for row in read_log(tmp_path / "whole/metrics.csv")]
    assert taken == pytest.approx([0.7, 0.75, 0.8, 0.775])  # an update before its look, which comes after it
    assert both[0]["loss_module/expectile.expectile"].item() == pytest.approx(0.7875)


def test_seeds_in_one_process_have_an_estimate_each(train, tmp_path, read_log) -> None:
    assert train(*EVERY, "seeds=[0,1]", "stack=true", before=SHORT).code == 0
    both = [read_log(tmp_path / f"runs/iql/test/pendulum-v0/seed{seed}/evaluations.csv") for seed in (0, 1)]
    assert train(*EVERY, "run_dir=alone", before=SHORT).code == 0
    assert both[0] == read_log(tmp_path / "alone/evaluations.csv")
    assert both[0][0]["estimate/fqe"] != both[1][0]["estimate/fqe"]


@pytest.mark.parametrize(("gamma", "expected"), [(0.9, 4_000), (0.99, 4_000), (0.999, 29_943), (1.0, 40_000)])
def test_a_quick_fit_takes_as_many_updates_as_its_horizon(gamma, expected) -> None:
    endless: Any = SimpleNamespace(terminated=torch.zeros(8))
    config = estimation.quick_fit(endless, gamma)
    assert config.gradient_steps == expected
    assert gamma == 1.0 or gamma ** (expected * config.target_tau) <= ERROR_LEFT[1]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("estimate_every=0",), "estimate_every must be at least 1, got 0"),
        (("algorithm.expectile_schedule.kind=validation", "validation=0.5"), "add validation=0.2 estimate_every=2500"),
        (("algorithm.expectile_schedule.kind=validation", "estimate_every=5"), "follows the estimate on held-out"),
        (("estimate_every=5", "validation=0.1"), "validation=0.1 holds out a single episode"),
    ],
)
def test_estimates_that_cannot_be_are_refused_before_anything_is_written(train, tmp_path, typed, message) -> None:
    assert message in train(*typed, before=SHORT).refusal()
    assert not (tmp_path / RUN).exists()


def test_a_policy_that_no_log_can_value_is_refused_before_it_is_trained(train) -> None:
    assert "remembers the episode" in train("estimate_every=5", algorithm="dt", before=SHORT).refusal()


def test_what_a_run_online_begins_with_makes_no_estimates(train, run_recipe, tmp_path, read_csv) -> None:
    assert train(*EVERY, before=SHORT).code == 0
    typed = ("online_steps=30", "num_eval_episodes=1", "logger=none", "device=cpu", "compile=off")
    done = run_recipe("finetune", f"checkpoint={RUN}", *typed, cwd=tmp_path, before=SHORT)
    assert done.code == 0, done.err
    last = read_csv(tmp_path / RUN / "online/evaluations.csv")[-1]
    assert last["eval/return"] and not last["estimate/fqe"]
    assert json.loads((tmp_path / RUN / "run.json").read_text())["algorithm"] == "iql"
