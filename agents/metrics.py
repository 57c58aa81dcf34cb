"""Every key of the dashboard, in one place.

A key is ``<prefix>/<name>``: ``train`` for what an update returns, ``validation`` for what held-out steps give,
``eval`` for evaluations, ``estimate`` for what a policy is worth by the data alone, ``online`` for what it collects,
``time`` for where time and memory go, ``data`` for what the dataset holds. The x-axis of all of them is gradient steps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDictBase

from agents.data.dataset import OfflineDataset
from agents.environments.protocols import PROTOCOLS
from agents.evaluation.offline.estimate import Estimate
from agents.evaluation.rollouts import EvalResult
from agents.online.experience import CollectedEpisode

RETURNS = (  # statistics in units of return, of our losses and of TorchRL's
    "qvalue", "qvalue_greedy", "qvalue_std", "pred_value", "target_value", "next_state_value",
    "state_action_value_actor", "state_value", "advantage", "advantage_scale",
)  # fmt: skip

MORE_IS_BETTER = ("validation/log_prob", "validation/accuracy")  # of the other validation/* less is


def training(
    statistics: TensorDictBase, learning_rates: Mapping[str, float], *, reward_scale: float = 1.0
) -> dict[str, float]:
    """``train/*`` from what ``Agent.update`` returned, in one copy from the device, and the agent's learning rates.

    Values are in the data's unit of return: divided by ``reward_scale``, by which the learner's rewards are larger.
    Losses, and the weights in them, are as the learner has them.
    """
    names, tensors = zip(*statistics.items())
    values = torch.stack([tensor.float() for tensor in tensors]).tolist()
    row = {name: value / reward_scale if name in RETURNS else value for name, value in zip(names, values)}
    return {f"train/{name}": value for name, value in (row | dict(learning_rates)).items()}


def validation(measures: Mapping[str, float]) -> dict[str, float]:
    """``validation/*`` from what :class:`agents.evaluation.HeldOut` measured."""
    return {f"validation/{name}": value for name, value in measures.items()}


def estimate(value: Estimate) -> dict[str, float]:
    """``estimate/*``: a policy's value by the data, its interval, and what says when it means nothing."""
    trust, key = value.trust, f"estimate/{value.estimator}"
    known = {
        key: value.value,
        f"{key}_low": value.low,
        f"{key}_high": value.high,
        "estimate/own_value": value.own_value,
        "estimate/outside_support": trust.outside_support,
        "estimate/means_nothing": float(bool(value.refutations)),
    }
    return {name: number for name, number in known.items() if number is not None and math.isfinite(number)}


def episodes(result: EvalResult) -> dict[str, NDArray[Any]]:
    """All that is known of each episode of an evaluation, ``[E]`` by name, as far as the environment defines it."""
    return {name: values for name, values in _columns(result).items() if name is not None and values is not None}


def _columns(result: EvalResult) -> dict[str | None, NDArray[Any] | None]:
    columns: dict[str | None, NDArray[Any] | None] = {"return": result.returns, "length": result.lengths}
    columns["success"] = result.success
    columns |= {protocol.success_key: result.protocol_success.get(protocol.name) for protocol in PROTOCOLS}
    columns["success_last"] = result.success_last
    for protocol in reversed(PROTOCOLS):
        columns[protocol.return_key] = result.protocol_returns.get(protocol.name)
        columns[protocol.score_key] = result.scores.get(protocol.name)
    return columns


def evaluation_keys() -> list[str]:
    """The keys that evaluations can have, whatever the environment."""
    columns = _columns(EvalResult(np.empty(0), np.empty(0, int), None, None, {}, {}, {}))
    return [f"eval/{name}" for name in (*columns, "return_std") if name is not None]


def evaluation(result: EvalResult) -> dict[str, float]:
    """``eval/*``: means over the episodes, and the standard deviation of their returns."""
    means = {f"eval/{name}": float(np.mean(values)) for name, values in episodes(result).items()}
    return {**means, "eval/return_std": float(np.std(result.returns))}


def online(
    env_step: int, num_episodes: int, recent: Sequence[CollectedEpisode], offline_share: float
) -> dict[str, float]:
    """``online/*``: where a run is in its environment, and means over the last episodes that it has collected."""
    means = {}
    if recent:
        means["online/episode_return"] = float(np.mean([episode.episode_return for episode in recent]))
        means["online/episode_length"] = float(np.mean([episode.length for episode in recent]))
    return {
        "online/env_step": float(env_step),
        "online/num_episodes": float(num_episodes),
        **means,
        "online/offline_share": offline_share,
    }


def timing(seconds: Mapping[str, float], updates: int) -> dict[str, float]:
    """``time/*`` of ``updates`` gradient steps, from the wall time per stage: sample, update, evaluation and others."""
    total = max(sum(seconds.values()), 1e-9)
    working = max(seconds["sample"] + seconds["update"], 1e-9)
    shares = {f"time/{stage}_share": spent / total for stage, spent in seconds.items()}
    return {"time/updates_per_second": updates / working, **shares}


def memory(device: torch.device) -> dict[str, float]:
    """``time/*`` of the most memory that the process has held so far, in GB: resident, and allocated on a GPU."""
    try:
        import resource
    except ImportError:  # not on Unix
        peak = {}
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        peak = {"time/memory": 1e-9 * unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if device.type == "cuda":
        peak["time/gpu_memory"] = 1e-9 * torch.cuda.max_memory_allocated(device)
    return peak


def data(dataset: OfflineDataset) -> dict[str, float]:
    """``data/*``: the dataset's means over episodes, under the names that ``eval/*`` has for the same, and its size.

    Of an episode that is longer than an evaluation, the means take the steps that an evaluation would have made.
    """
    statistics, spec = dataset.statistics, dataset.env_spec
    horizon = (spec and spec.max_episode_steps) or statistics.lengths.max()
    means = {
        "return": statistics.horizon_returns,
        "length": np.minimum(statistics.lengths, horizon),
        "success": statistics.success,
        **{protocol.score_key: statistics.scores.get(protocol.name) for protocol in reversed(PROTOCOLS)},
    }
    return {
        **{f"data/{name}": float(np.mean(values)) for name, values in means.items() if values is not None},
        "data/saturated_actions": float(statistics.saturated_actions),
        "data/num_episodes": float(statistics.num_episodes),
        "data/num_steps": float(statistics.num_steps),
    }
