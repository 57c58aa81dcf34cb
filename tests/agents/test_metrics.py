"""The keys of the dashboard and what stands behind them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch.utils._python_dispatch import TorchDispatchMode

import agents
from agents import metrics
from agents.data.dataset_statistics import DatasetStatistics
from agents.environments.adroit import ADROIT_TASKS
from agents.environments.protocols import Reference
from recipes.tracking import panels

STAGES = ("sample", "update", "logging", "evaluation", "checkpoint")


def result(**known) -> agents.EvalResult:
    """Three episodes of an environment that says nothing about success and has no reference."""
    nothing = {"success": None, "success_last": None, "scores": {}, "protocol_returns": {}, "protocol_success": {}}
    returns = {"returns": np.array([1.0, 2.0, 6.0]), "lengths": np.array([5, 10, 15])}
    return agents.EvalResult(**{**nothing, **returns, **known})


def adroit_result() -> agents.EvalResult:
    returns = np.array([96.262799, 3076.8331017826877, 96.262799])
    minari = Reference(1.0, 6.0).score([1.0, 2.0, 6.0])
    return result(
        success=np.array([True, True, False]),
        protocol_success={"d4rl": np.array([True, False, False])},
        success_last=np.array([False, False, False]),
        protocol_returns={"d4rl": returns, "minari": np.array([1.0, 2.0, 6.0])},
        scores={"d4rl": ADROIT_TASKS["pen"].d4rl_reference.score(returns), "minari": minari},
    )


def test_training_has_every_scalar_of_an_update_and_the_rates(specs, batch) -> None:
    agent = agents.IQLConfig(max_grad_norm=1.0).build(specs)
    statistics = agent.update(batch)
    scalars = metrics.training(statistics, agent.learning_rates)
    expected = {f"train/{name}": value.item() for name, value in statistics.items()}
    assert scalars == {**expected, "train/lr_actor": 3e-4, "train/lr_critic": 3e-4}
    assert {"train/loss_actor", "train/loss_qvalue", "train/loss_value", "train/grad_norm"} <= scalars.keys()
    assert all(type(value) is float for value in scalars.values())


def test_training_takes_numbers_of_any_type() -> None:
    statistics = TensorDict({"share": torch.tensor(True), "count": torch.tensor(7), "half": torch.tensor(0.5).double()})
    assert metrics.training(statistics, {}) == {"train/share": 1.0, "train/count": 7.0, "train/half": 0.5}


def test_what_is_in_units_of_return_is_in_the_datas(specs, batch) -> None:
    """Of every key that the dashboard shows as a return; losses are as the learner has them."""
    keys = [
        key
        for own in panels.sections().values()
        for panel in own
        if panel.unit == "discounted return"
        for key in panel.keys
    ]
    names = [key.removeprefix("train/") for key in keys]
    statistics = TensorDict({name: torch.tensor(3.0) for name in (*names, "loss_qvalue", "weight")})
    scalars = metrics.training(statistics, {}, reward_scale=2.0)
    assert scalars == {**dict.fromkeys(keys, 1.5), "train/loss_qvalue": 3.0, "train/weight": 3.0}


class ReadingsOneByOne(TorchDispatchMode):
    """Counts the times that a single number is read from a tensor, each a wait for the device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_training_reads_all_scalars_at_once(specs, batch) -> None:
    agent = agents.IQLConfig().build(specs)
    statistics = agent.update(batch)
    with ReadingsOneByOne() as readings:
        statistics["weight"].item()
        assert readings.count == 1
        metrics.training(statistics, agent.learning_rates)
    assert readings.count == 1


def test_evaluation_means_over_the_episodes() -> None:
    assert metrics.evaluation(adroit_result()) == pytest.approx(
        {
            "eval/return": 3.0,
            "eval/return_std": np.sqrt((4 + 1 + 9) / 3),
            "eval/length": 10.0,
            "eval/success": 2 / 3,
            "eval/success_held": 1 / 3,
            "eval/success_last": 0.0,
            "eval/minari_score": 40.0,
            "eval/d4rl_return": (2 * 96.262799 + 3076.8331017826877) / 3,
            "eval/d4rl_score": 100 / 3,
        }
    )
    assert all(type(value) is float for value in metrics.evaluation(adroit_result()).values())


def test_what_the_environment_does_not_define_has_no_key() -> None:
    assert metrics.evaluation(result()).keys() == {"eval/return", "eval/return_std", "eval/length"}
    assert metrics.episodes(result()).keys() == {"return", "length"}
    assert "eval/minari_score" in metrics.evaluation(result(scores={"minari": np.zeros(3)}))


def test_every_evaluation_key_but_the_spread_is_known_per_episode() -> None:
    columns = metrics.episodes(adroit_result())
    means = metrics.evaluation(adroit_result())
    assert {f"eval/{name}" for name in columns} | {"eval/return_std"} == means.keys()
    assert all(values.shape == (3,) and values.mean() == means[f"eval/{name}"] for name, values in columns.items())


def test_timing_rates_updates_by_the_time_spent_on_them() -> None:
    seconds = {"sample": 1.0, "update": 3.0, "logging": 0.5, "evaluation": 5.0, "checkpoint": 0.5}
    assert metrics.timing(seconds, 200) == pytest.approx(
        {
            "time/updates_per_second": 50.0,
            "time/sample_share": 0.1,
            "time/update_share": 0.3,
            "time/logging_share": 0.05,
            "time/evaluation_share": 0.5,
            "time/checkpoint_share": 0.05,
        }
    )


def test_a_clock_too_coarse_to_see_anything_breaks_nothing() -> None:
    scalars = metrics.timing(dict.fromkeys(STAGES, 0.0), 1)
    assert all(np.isfinite(value) for value in scalars.values())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process its memory there")
def test_memory_is_the_most_that_was_held_in_gigabytes() -> None:
    peak = metrics.memory(torch.device("cpu"))
    assert peak.keys() == {"time/memory"}
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    assert peak["time/memory"] == pytest.approx(1024e-9 * int(line.split()[1]), rel=0.05)


def dataset(**known) -> agents.OfflineDataset:
    """Two episodes; only what ``metrics.data`` reads."""
    statistics = {
        "horizon_returns": np.array([1.0, 3.0]),
        "lengths": np.array([5, 10]),
        "saturated_actions": 0.25,
        "num_episodes": 2,
        "num_steps": 15,
        **known.pop("statistics", {}),
    }
    names = [field.name for field in dataclasses.fields(DatasetStatistics)]
    nothing = {"scores": {}, "protocol_returns": {}, "protocol_success": {}}
    known["statistics"] = DatasetStatistics(**{name: {**nothing, **statistics}.get(name) for name in names})
    return agents.OfflineDataset(
        **{field.name: known.get(field.name) for field in dataclasses.fields(agents.OfflineDataset)}
    )


def test_data_has_the_names_of_the_evaluation_and_the_size() -> None:
    size = {"data/saturated_actions": 0.25, "data/num_episodes": 2.0, "data/num_steps": 15.0}
    assert metrics.data(dataset()) == {"data/return": 2.0, "data/length": 7.5, **size}
    adroit = dataset(
        statistics={
            "success": np.array([True, False]),
            "scores": {"d4rl": np.full(2, 100.0), "minari": Reference(1.0, 5.0).score([1.0, 3.0])},
        },
    )
    scores = {"data/success": 0.5, "data/minari_score": 25.0, "data/d4rl_score": 100.0}
    assert metrics.data(adroit) == pytest.approx({"data/return": 2.0, "data/length": 7.5, **scores, **size})


def test_no_key_means_two_things(specs, batch) -> None:
    agent = agents.IQLConfig().build(specs)
    groups = [
        metrics.training(agent.update(batch), agent.learning_rates),
        metrics.evaluation(adroit_result()),
        metrics.timing(dict.fromkeys(STAGES, 1.0), 1),
        metrics.memory(torch.device("cpu")),
    ]
    keys = [key for group in groups for key in group]
    assert len(keys) == len(set(keys))
    assert {key.split("/")[0] for key in keys} == {"train", "eval", "time"}
    assert all(key.count("/") == 1 for key in keys)


def test_the_keys_that_an_evaluation_can_have_are_those_of_adroit() -> None:
    assert set(metrics.evaluation(adroit_result())) == set(metrics.evaluation_keys())
