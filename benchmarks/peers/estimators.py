"""Our estimates beside those of others, of the same policies on the same logs.

    python -m venv peers/estimators
    peers/estimators/bin/pip install --no-deps d3rlpy==2.8.1 sb-obp==0.5.10
    peers/estimators/bin/pip install --no-deps scikit-learn scipy joblib threadpoolctl structlog colorama click gym \\
        gym_notices cloudpickle dataclasses-json marshmallow typing-inspect mypy_extensions
    peers/estimators/bin/python benchmarks/peers/estimators.py

in an environment that also has this package and icu-sepsis. obp's importance sampling and doubly robust estimation are
the same sums as ours, on the Open Bandit data: the numbers are to be equal. d3rlpy's fitted Q evaluation is the same
method with other networks, steps and targets, on ICU-Sepsis, where values are exact; it takes deterministic policies
alone. Both run as they ship, for the same number of updates. Prints Markdown, kept as results/estimates/peers.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from agents.evaluation.offline import (
    FQEConfig,
    Policy,
    fitted_q_evaluation,
    importance_sampling,
    weighted_importance_sampling,
)
from agents.evaluation.offline.doubly_robust import doubly_robust_sum
from estimate_tasks import CAMPAIGNS, Log, Sepsis, bandit_log

NUM_EPISODES, SEED = 1_000, 100
DETERMINISTIC = ("optimal", "likeliest", "arbitrary", "worst")
NUM_UPDATES = 10_000


def of_bandits() -> Iterator[list[str]]:
    """Clicks per mille of the Thompson-sampling policy by the random policy's log: ours, and obp's."""
    from obp.ope import DoublyRobust, InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting

    for campaign in CAMPAIGNS:
        log = bandit_log(campaign)
        policy, steps = log.policies[0], log.steps
        assert log.behavior is not None
        position, reward = steps.observation.argmax(1).numpy(), steps.reward.numpy()
        table = policy.probabilities(torch.eye(steps.observation.shape[1])).double().numpy()  # [3, A]
        clicks = clicks_of_items(log)
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


def clicks_of_items(log: Log) -> np.ndarray:
    """The mean click of each item at each position, ``[3, A]``: a model that both are given."""
    steps = log.steps
    shape = steps.observation.shape[1], int(steps.action.max()) + 1
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
    of_step = (each[:, None] for each in (steps.reward, qvalue))
    sums = doubly_robust_sum(*of_step, initial, torch.zeros(len(steps), 1), weights[:, None], 0.0)
    return sums.mean().item()


def of_patients() -> Iterator[list[str]]:
    """Values of deterministic policies on ICU-Sepsis: exactly, by our two kinds of critics, and by d3rlpy's."""
    sepsis = Sepsis()
    log = sepsis.log(NUM_EPISODES, SEED)
    chosen = [index for index, name in enumerate(sepsis.policies) if name in DETERMINISTIC]
    policies = [
        Policy(log.policies[index].name, log.steps.specs, log.policies[index].act) for index in chosen
    ]  # of the same actions; nothing is drawn
    table = fitted_q_evaluation(policies, log.steps, FQEConfig(), gamma=log.gamma)
    networks = FQEConfig(critic="network", gradient_steps=NUM_UPDATES)
    learned = fitted_q_evaluation(policies, log.steps, networks, gamma=log.gamma)
    for index, policy, exact, network in zip(chosen, policies, table, learned):
        ours = [f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in (exact, network)]
        yield [policy.name, f"{log.truth[index]:.3f}", *ours, f"{d3rlpy_value(policy, log):.3f}"]


def d3rlpy_value(policy: Policy, log: Log) -> float:
    """By d3rlpy's fitted Q evaluation with its default settings."""
    import d3rlpy

    algorithm: Any = SimpleNamespace(impl=SimpleNamespace(predict_best_action=policy.actions))  # what it asks of one
    steps = log.steps
    data = d3rlpy.dataset.MDPDataset(
        observations=steps.observation.numpy(),
        actions=steps.action[:, None].numpy(),
        rewards=steps.reward.float()[:, None].numpy(),
        terminals=steps.terminated.float().numpy(),
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=int(steps.specs.action.n),  # pyright: ignore[reportAttributeAccessIssue]
    )
    d3rlpy.seed(0)
    fqe = d3rlpy.ope.DiscreteFQE(algorithm, d3rlpy.ope.FQEConfig(gamma=log.gamma))
    quiet = d3rlpy.logging.NoopAdapterFactory()
    fqe.fit(data, n_steps=NUM_UPDATES, n_steps_per_epoch=NUM_UPDATES, logger_adapter=quiet, show_progress=False)
    first = steps.observation[steps.first]
    return float(fqe.predict_value(first.numpy(), policy.actions(first).numpy()).mean())


def show(header: list[str], rows: Iterator[list[str]]) -> None:
    for cells in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(["campaign", "estimator", "ours, per mille", "obp's", "the same"], of_bandits())
    print()
    show(["policy", "true", "`fqe`, a table", "`fqe`, networks", "d3rlpy's"], of_patients())
