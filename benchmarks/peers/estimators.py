"""Our estimates beside those of obp, of the same policy on the same logs.

    python -m venv peers/estimators
    peers/estimators/bin/pip install --no-deps sb-obp==0.5.10 scikit-learn scipy joblib threadpoolctl narwhals \\
        pandas python-dateutil six seaborn
    peers/estimators/bin/python benchmarks/peers/estimators.py

in an environment that also has this package. Importance sampling, and doubly robust estimation with the same model of
clicks, are the same sums as ours on the Open Bandit data: the numbers are to be equal. Prints Markdown, kept as
results/estimates/peers.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from agents.evaluation.offline import importance_sampling, weighted_importance_sampling
from agents.evaluation.offline.doubly_robust import doubly_robust_sum
from estimate_tasks import CAMPAIGNS, Log, bandit_log


def of_bandits() -> Iterator[list[str]]:
    """Clicks per mille of the Thompson-sampling policy by the random policy's log: ours, and obp's."""
    from obp.ope import DoublyRobust, InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting

    for campaign in CAMPAIGNS:
        log = bandit_log(campaign)
        policy, steps = log.policies[0], log.steps
        assert log.behavior is not None
        position, reward = steps.observation.argmax(1).numpy(), steps.reward.numpy()
        table = policy.probabilities(torch.eye(steps.observation.shape[1])).double().numpy()  # [3, A]
        clicks = clicks_of_items(log, table.shape)
        rounds: dict[str, Any] = {
            "reward": reward,
            "action": steps.action.numpy(),
            "position": position,
            "pscore": log.behavior.log_propensity.exp().numpy(),
            "action_dist": np.broadcast_to(table.T, (len(steps), *table.T.shape)),
        }
        model = np.broadcast_to(clicks.T, rounds["action_dist"].shape)
        theirs = {
            "is": InverseProbabilityWeighting().estimate_policy_value(**rounds),
            "wis": SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**rounds),
            "dr": DoublyRobust().estimate_policy_value(**rounds, estimated_rewards_by_reg_model=model),
        }
        ours = {
            "is": importance_sampling(policy, steps, log.behavior, gamma=0.0).value,
            "wis": weighted_importance_sampling(policy, steps, log.behavior, gamma=0.0).value,
            "dr": by_model(log, table, clicks),
        }
        for name, value in ours.items():
            same = math.isclose(value, theirs[name], rel_tol=1e-5)  # of ours, a policy's probabilities have 32 bits
            yield [campaign, name, f"{1000 * value:.4f}", f"{1000 * theirs[name]:.4f}", "yes" if same else "NO"]


def clicks_of_items(log: Log, shape: tuple[int, ...]) -> np.ndarray:
    """The mean click of each item at each position, ``[3, A]``: a model that both are given."""
    steps = log.steps
    index = np.ravel_multi_index((steps.observation.argmax(1).numpy(), steps.action.numpy()), shape)
    size = math.prod(shape)
    shown = np.bincount(index, minlength=size)
    clicked = np.bincount(index, steps.reward.numpy(), size)
    return (clicked / np.maximum(shown, 1)).reshape(shape)


def by_model(log: Log, table: np.ndarray, clicks: np.ndarray) -> float:
    """Our doubly robust sum with that model."""
    steps, behavior = log.steps, log.behavior
    assert behavior is not None
    position, action = steps.observation.argmax(1).numpy(), steps.action.numpy()
    weights = torch.from_numpy(table[position, action]) / behavior.log_propensity.exp()
    qvalue = torch.from_numpy(clicks[position, action])
    initial = torch.from_numpy((table * clicks).sum(1)[position])
    after = torch.zeros(len(steps), 1)
    sums = doubly_robust_sum(steps.reward[:, None], qvalue[:, None], initial, after, weights[:, None], 0.0)
    return sums.mean().item()


def show(header: list[str], rows: Iterator[list[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(["campaign", "estimator", "ours, per mille", "obp's", "the same"], of_bandits())
