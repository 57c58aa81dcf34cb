"""Importance sampling and doubly robust estimation against values that are known, and against their equations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from agents.errors import ConfigError, DataError
from agents.evaluation.offline import (
    Behavior,
    FQEConfig,
    Policy,
    Transitions,
    cloned,
    doubly_robust_evaluation,
    fit_critics,
    importance_sampling,
    logged,
    weighted_importance_sampling,
)
from agents.evaluation.offline.doubly_robust import doubly_robust_sum
from agents.evaluation.offline.importance import effective_sample_size, episode_log_weights
from agents.networks.configs import MLPConfig
from tests.agents.evaluation.offline.tabular import GAMMA, world

UNIFORM = np.full((3, 2), 0.5)
MORE = np.array([[0.3, 0.7], [0.3, 0.7], [0.4, 0.6]])


@pytest.fixture(scope="module")
def log() -> Transitions:
    return world().log(UNIFORM, 1_500)


@pytest.fixture(scope="module")
def behavior(log) -> Behavior:
    return logged(torch.full((len(log),), 0.5), log)


def by_hand(log: Transitions) -> tuple[float, float]:
    """Both estimates, written down as in the paper."""
    returns, rewards, weights = [], [], []
    for first, length in zip(log.first.tolist(), log.lengths.tolist()):
        weight, total = 1.0, 0.0
        rewards.append([]), weights.append([])
        for step in range(length):
            state, action = int(log.observation[first + step].argmax()), int(log.action[first + step])
            weight *= MORE[state, action] / 0.5
            reward = log.reward[first + step].item()
            total += GAMMA**step * weight * reward
            rewards[-1].append(reward), weights[-1].append(weight)
        returns.append(total)
    weighted, longest = 0.0, max(map(len, rewards))
    for step in range(longest):
        of_step = [of_episode[min(step, len(of_episode) - 1)] for of_episode in weights]
        earned = [w * (r[step] if step < len(r) else 0.0) for w, r in zip(of_step, rewards)]
        weighted += GAMMA**step * sum(earned) / sum(of_step)
    return float(np.mean(returns)), weighted


def test_both_are_the_equations_of_the_paper(log, behavior) -> None:
    policy = world().policy(MORE)
    plain, weighted = by_hand(log)
    assert importance_sampling(policy, log, behavior, gamma=GAMMA).value == pytest.approx(plain)
    assert weighted_importance_sampling(policy, log, behavior, gamma=GAMMA).value == pytest.approx(weighted)


def test_all_agree_with_the_truth_within_their_intervals(log, behavior) -> None:
    policy, truth = world().policy(MORE), world().value(MORE)
    table = FQEConfig("network", 3, 300, 256, 0.1, MLPConfig(hidden_sizes=[]), lr=0.05, compile="off")
    fit = fit_critics([policy], log, table, gamma=GAMMA)
    estimates = [
        importance_sampling(policy, log, behavior, gamma=GAMMA),
        weighted_importance_sampling(policy, log, behavior, gamma=GAMMA),
        doubly_robust_evaluation(fit, behavior),
    ]
    for estimate in estimates:
        assert estimate.low < truth < estimate.high
        assert estimate.behavior == "logged"
        assert 100 < estimate.trust.effective_sample_size < 1_500
        assert not estimate.refutations
    assert estimates[2].high - estimates[2].low < estimates[0].high - estimates[0].low


def test_the_policy_that_made_the_data_has_their_own_return(log, behavior) -> None:
    for estimator in (importance_sampling, weighted_importance_sampling):
        estimate = estimator(world().policy(UNIFORM), log, behavior, gamma=GAMMA)
        assert estimate.value == pytest.approx(estimate.data_return)
        assert estimate.trust.effective_sample_size == pytest.approx(1_500)


def test_with_exact_critics_no_episode_has_an_error() -> None:
    """Two steps, of which the second is cut off: deterministic, so that each episode's sum is V where it begins."""
    reward, after, terminated = torch.tensor([[1.0, 2.0]]), torch.tensor([[7.0, 10.0]]), 0.5
    qvalue = reward + terminated * after
    weights = torch.tensor([[3.0, 0.5]])
    value = doubly_robust_sum(reward, qvalue, torch.tensor([4.5]), after, weights, terminated)
    assert value.item() == 4.5
    without_critics = doubly_robust_sum(reward, 0 * qvalue, torch.zeros(1), 0 * after, weights, 0.5)
    assert without_critics.item() == 3.0 * 1.0 + 0.5 * 0.5 * 2.0  # per-decision importance sampling


def test_what_is_behind_an_episode_has_the_weight_of_its_last_step(log, behavior) -> None:
    weights = episode_log_weights(world().policy(MORE), log, behavior)
    shortest = int(log.lengths.argmin())
    own = weights[shortest, log.lengths[shortest] - 1 :]
    assert (own == own[0]).all() and own[0] != 0.0


def test_a_clone_of_the_behaviour_knows_how_likely_actions_were(log) -> None:
    table = np.array([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    steps = world().log(table, 400, seed=1)
    behavior = cloned(steps, gradient_steps=100, batch_size=256)
    exact = world().policy(table).log_prob(steps.observation, steps.action)
    assert behavior.source == "cloned"
    assert (behavior.log_propensity.exp() - exact.exp()).abs().max() < 0.1


def test_effective_sample_size_is_of_episodes() -> None:
    assert effective_sample_size(torch.tensor([[1.0, 2.0], [5.0, 2.0]]).log()) == pytest.approx(2.0)
    assert effective_sample_size(torch.tensor([[0.0, 2000.0], [0.0, 0.0]]).double()) == pytest.approx(1.0)


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_products_that_no_number_holds_weigh_all_the_same(log, behavior, factor) -> None:
    """The first step of each episode as likely by a factor: a common one, which normalised weights lose."""
    first = torch.zeros(len(log), dtype=torch.float64)
    first[log.first] = 2.0 * np.log(factor)  # squared, float64 has neither
    scaled = Behavior(behavior.log_propensity - first, "logged")
    policy = world().policy(MORE)
    one, other = (weighted_importance_sampling(policy, log, each, gamma=GAMMA) for each in (behavior, scaled))
    assert other.value == pytest.approx(one.value) and other.high == pytest.approx(one.high)
    assert other.trust.effective_sample_size == pytest.approx(one.trust.effective_sample_size)


@pytest.mark.parametrize("wrong", [0.0, -0.1, 1.5, float("nan"), float("inf")])
def test_probabilities_that_no_taken_action_has_are_refused(log, wrong) -> None:
    probability = torch.full((len(log),), 0.5)
    probability[7] = wrong
    with pytest.raises(DataError, match=rf"at step 7 is {wrong:g} \(and 0 others like it\).* at most 1$"):
        logged(probability, log)


def test_probabilities_of_parts_are_refused(log) -> None:
    with pytest.raises(DataError, match="an action has one, of its parts the product"):
        logged(torch.full((len(log), 2), 0.5), log)


def test_a_policy_that_never_did_what_the_data_did_has_no_support(log, behavior) -> None:
    only_second = dataclasses.replace(log, action=torch.zeros_like(log.action))
    always_first = np.eye(2)[[1, 1, 1]]
    with pytest.raises(DataError, match=r"no episode that mine could have made: .*; value it by fitted Q evaluation$"):
        importance_sampling(world().policy(always_first, "mine"), only_second, behavior, gamma=GAMMA)


def test_a_deterministic_policy_of_continuous_actions_has_no_density(specs) -> None:
    policy = Policy("mine", specs, lambda observation: observation[:, :3])
    assert not policy.has_density
    with pytest.raises(ConfigError, match="mine has no density: .* drawn=true takes the distribution"):
        policy.log_prob(torch.zeros(2, 5), torch.zeros(2, 3))
