"""What a run says of its rewards and weights, once and in one line, and what it logs in the data's units."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import agents
from agents.checkpoint import load as load_checkpoint
from recipes.runs.rewards import SETTLED, WeightCheck, learner_rewards
from recipes.settings import composition
from tests.agents.handmade import create, episode, load
from tests.recipes.conftest import RUN


def look(*rows: dict[str, float], first: int = SETTLED, **loss: Any) -> None:
    """A check of rows that are logged one after the other."""
    settings = {"temperature": 3.0, "advantage_clip": 100.0, "advantage_scale": None, **loss}
    check = WeightCheck(SimpleNamespace(**settings))
    for step, row in enumerate(rows, first):
        check.look(step, {f"train/{name}": value for name, value in row.items()})


def weights(spread: float = 1.0, clip_fraction: float = 0.1, weight: float = 20.0) -> dict[str, float]:
    share = 1.0 / (1.0 + spread**2)
    return {"effective_sample_size": share, "clip_fraction": clip_fraction, "weight": weight}


ALIKE = weights(spread=0.03, clip_fraction=0.0, weight=0.992)  # of rewards from -2.6 to 0
CLIPPED = weights(clip_fraction=0.3, weight=30.5)
USUAL = weights(spread=1.5, clip_fraction=0.26, weight=29.5)  # of the default run


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ALIKE, "nearly all alike, with a standard deviation of 3 %.* a larger rewards.scale"),
        (CLIPPED, "clipped at 100, on 30%"),
    ],
)
def test_weights_that_say_little_are_told_of_once(row, says, capsys) -> None:
    look(*[row] * 5)
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("\n") == 1
    assert re.search(says, printed.err), printed.err


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ([USUAL] * 5, {}),
        ([ALIKE, USUAL, CLIPPED, USUAL], {}),  # each in a single batch
        ([ALIKE] * 5, {"first": 1}),  # before there are values
        ([ALIKE] * 5, {"temperature": 0.0}),  # a clone
        ([CLIPPED] * 5, {"advantage_clip": None}),
        ([{"loss_bc": 1.0}] * 5, {}),
    ],
)
def test_other_weights_are_not_told_of(rows, settings, capsys) -> None:
    look(*rows, **settings)
    assert capsys.readouterr().err == ""


def test_with_a_scale_of_the_advantages_that_of_the_rewards_is_no_way_out(capsys) -> None:
    look(ALIKE, ALIKE, advantage_scale=object())
    assert capsys.readouterr().err.endswith("take a larger algorithm.temperature\n")


# Rewards before a run -------------------------------------------------------------------------------------------------


def told(
    capsys, *, terminated: bool = False, reward: float | None = None, algorithm: Any = None, **settings: Any
) -> str:
    """What is said of a dataset of two episodes of six and four steps, of equal rewards if one is given."""
    rewards = {} if reward is None else {"rewards": np.full(6, reward)}
    shorter = {} if reward is None else {"rewards": np.full(4, reward)}
    create(episode(6, seed=1, terminated=terminated, **rewards), episode(4, seed=2, truncated=True, **shorter))
    config = {"algorithm": algorithm or agents.IQLConfig(), "rewards": agents.RewardsConfig(), "n_step": 1, **settings}
    learner_rewards(SimpleNamespace(**config), load())
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("\n") <= 1
    return printed.err


@pytest.fixture
def own_datasets(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


@pytest.mark.usefixtures("own_datasets")
@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        ({}, {}, ""),
        ({"reward": 0.0}, {}, "every reward of test/hand-v0 is 0 and no episode terminates.*write the dataset"),
        ({"reward": 0.0, "terminated": True}, {}, "rewards.shift=-1 makes each step cost.*algorithm=bc clones"),
        ({"reward": 0.0, "terminated": True}, {"rewards": agents.RewardsConfig(shift=-1.0)}, ""),
        ({"reward": 1.0, "terminated": True}, {"rewards": agents.RewardsConfig(shift=-1.0)}, "every reward .* is 0,"),
        ({"reward": 1.0, "terminated": True}, {}, ""),
        ({"reward": 1.0}, {}, "every reward of test/hand-v0 is 1 and no episode"),
        ({"reward": 0.0}, {"algorithm": agents.BCConfig()}, ""),
        ({}, {"n_step": 6}, ""),
        ({}, {"n_step": 7}, "n_step=7 is longer than every episode of test/hand-v0, of 6 steps at most"),
        ({}, {"n_step": 3, "algorithm": agents.BCConfig()}, "no effect of n_step=3: "),
        ({}, {"rewards": agents.RewardsConfig("std"), "algorithm": agents.BCConfig()}, "no effect of rewards.scale"),
    ],
)
def test_rewards_that_say_little_are_told_of_before_the_run(data, settings, says, capsys) -> None:
    err = told(capsys, **data, **settings)
    assert re.search(says, err) if says else err == "", err


def test_a_scale_of_equal_returns_is_refused_and_nothing_is_left(train, tmp_path) -> None:
    refusal = train("dataset=test/cartpole-v0", "rewards.scale=std", algorithm="discrete_iql").refusal()
    assert refusal.startswith("rewards.scale=std needs different values, and all rewards are the same; give a number")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("rewards.scale=0", "rewards.scale must be positive, got 0"),
        ("rewards.scale=-2.5", "rewards.scale must be positive, got -2.5"),
        ("rewards.scale=nan", "rewards.scale must be positive, got nan"),
        ("rewards.scale=returns", "rewards.scale must be a number, return_range or std, got 'returns'"),
        ("rewards.scale=null", "rewards.scale must be a number, return_range or std, got None"),
        ("rewards.shift=inf", "rewards.shift must be finite, got inf"),
        ("n_step=0", "n_step must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(typed, says) -> None:
    composition.register()
    with pytest.raises(agents.ConfigError) as caught:
        composition.build(composition.in_force(composition.compose("train", [typed])), "train")
    assert str(caught.value) == says


def test_what_is_typed_wins_over_a_preset() -> None:
    composition.register()

    def compose_train(*typed: str) -> Any:
        return composition.build(composition.in_force(composition.compose("train", typed)), "train")

    assert compose_train("algorithm=iql_antmaze").rewards == agents.RewardsConfig(shift=-1.0)
    assert compose_train("algorithm=iql_locomotion").rewards == agents.RewardsConfig(scale="return_range")
    assert compose_train("rewards.shift=0.5", "algorithm=iql_antmaze").rewards == agents.RewardsConfig(shift=0.5)
    assert compose_train("algorithm=iql_locomotion", "rewards.scale=2").rewards == agents.RewardsConfig(scale=2)


# What is logged -------------------------------------------------------------------------------------------------------


def test_values_are_logged_in_the_datas_unit(train, tmp_path, read_log) -> None:
    """Those of the first update are of networks that have seen no reward."""
    logged = {}
    for scale in (1, 1024):
        settings = (f"rewards.scale={scale}", f"run_dir={scale}", "gradient_steps=1", "log_every=1", "eval_every=1")
        assert train(*settings).code == 0
        (logged[scale],) = read_log(tmp_path / str(scale) / "metrics.csv")
    for key in ("train/qvalue", "train/state_value", "train/advantage"):
        assert float(logged[1024][key]) == float(logged[1][key]) / 1024
    assert float(logged[1024]["train/loss_qvalue"]) > 1000 * float(logged[1]["train/loss_qvalue"])


def test_a_checkpoint_knows_the_scale_of_its_values(train, tmp_path) -> None:
    assert train("rewards.scale=8", "rewards.shift=1", "n_step=2").code == 0
    saved = load_checkpoint(tmp_path / RUN / "checkpoints/last.safetensors")
    assert saved.extra["reward_scale"] == 8.0
    assert OmegaConf.load(tmp_path / RUN / "config.yaml").rewards == {"scale": 8, "shift": 1.0}


def test_a_run_with_other_rewards_is_not_resumed(train, tmp_path) -> None:
    assert train("rewards.scale=8").code == 0
    run = f"resume={tmp_path / RUN}"
    assert "rewards.scale is 8 there, 4 here" in train(run, "rewards.scale=4").refusal()
    assert train(run, "gradient_steps=30").code == 0
