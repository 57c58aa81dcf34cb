"""All estimators of one policy on a dataset of Minari's: what they read, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.errors import ConfigError, DataError
from agents.evaluation.offline import FQEConfig, Policy, estimate_policy, read_behavior, read_transitions
from agents.networks.configs import MLPConfig
from tests.agents import handmade
from tests.agents.handmade import create, episode, load

FEW = FQEConfig(num_members=3, gradient_steps=2, batch_size=8, qvalue=MLPConfig(hidden_sizes=[4]), compile="off")


def middle(specs) -> Policy:
    return Policy("middle", specs, lambda observation: torch.zeros(len(observation), handmade.NUM_ACTIONS) + 0.5)


def test_steps_are_those_of_the_data_in_their_order(root) -> None:
    episodes = [episode(3, seed=1, terminated=True), episode(2, seed=2, truncated=True)]
    create(*episodes)
    steps = read_transitions(load())
    assert steps.lengths.tolist() == [3, 2] and steps.first.tolist() == [0, 3] and steps.last.tolist() == [2, 4]
    assert steps.observation[:, 0].tolist() == [1000, 1001, 1002, 2000, 2001]
    assert steps.next_observation[:, 0].tolist() == [1001, 1002, 1003, 2001, 2002]
    assert steps.terminated.tolist() == [False, False, True, False, False]
    assert steps.cut_off.tolist() == [False, True]
    by_hand = [sum(0.5**t * reward for t, reward in enumerate(each["rewards"])) for each in episodes]
    np.testing.assert_allclose(steps.returns(0.5), by_hand, rtol=1e-5)
    np.testing.assert_allclose(steps.returns_to_go(0.5)[steps.first], by_hand, rtol=1e-5)
    assert steps.cut_off_share(0.5) == pytest.approx(0.5 * 0.25)


def test_a_part_of_the_data_is_read_as_such(root) -> None:
    create(*(episode(3, seed=seed, truncated=True) for seed in range(1, 7)))
    training, held_out = load().split(0.5)
    starts = [{*(read_transitions(part).observation[:, 0] // 1000).tolist()} for part in (training, held_out)]
    assert starts[0] | starts[1] == {1, 2, 3, 4, 5, 6} and not starts[0] & starts[1]


def test_data_that_no_estimate_can_come_from_are_refused(root) -> None:
    create(episode(3))
    with pytest.raises(DataError, match="'test/hand-v0' has a single episode"):
        read_transitions(load())
    create(*(episode(3, seed=seed, rewards=np.zeros(3)) for seed in range(2)), dataset_id="test/none-v0")
    with pytest.raises(DataError, match="'test/none-v0' has no rewards to estimate from: all are 0"):
        read_transitions(load("test/none-v0"))


def test_an_estimator_that_the_policy_does_not_allow_is_left_out_or_refused(root) -> None:
    create(*(episode(6, seed=seed, terminated=True) for seed in range(4)))
    dataset = load()
    result = estimate_policy(middle(dataset.specs), dataset, config=FEW)
    assert [*result.by_estimator] == ["fqe"] and {*result.reasons} == {"wis", "is", "dr"}
    assert result.by_estimator["fqe"].trust.outside_support is not None
    assert result.by_estimator["fqe"].own_value is not None
    with pytest.raises(ConfigError, match="middle has no density"):
        estimate_policy(middle(dataset.specs), dataset, ["wis"], config=FEW)


def test_probabilities_that_some_episodes_lack_are_no_reason_to_guess_them(root) -> None:
    probability = {"infos": {"action_probability": np.full(6, 0.25)}}
    create(*(episode(6, seed=seed, **(probability if seed else {})) for seed in range(4)))
    dataset = load()
    assert dataset.has_infos("action_probability") and not dataset.has_infos("price")
    with pytest.raises(DataError, match="6 steps have no 'action_probability' in their infos"):
        read_behavior(dataset, read_transitions(dataset))


def test_probabilities_that_the_data_hold_are_those_that_weigh(root) -> None:
    probability = np.full(6, 0.25)
    create(*(episode(6, seed=seed, infos={"action_probability": probability}) for seed in range(4)))
    dataset = load()
    normal = torch.distributions.Normal

    def spread(observation: torch.Tensor) -> torch.distributions.Distribution:
        mean = torch.zeros(len(observation), handmade.NUM_ACTIONS)
        return torch.distributions.Independent(normal(mean, torch.full_like(mean, 3.0)), 1)

    policy = Policy("spread", dataset.specs, lambda observation: torch.zeros(len(observation), 2), spread)
    result = estimate_policy(policy, dataset, ["is", "wis"], gamma=0.9)
    assert {estimate.behavior for estimate in result.by_estimator.values()} == {"logged"}
    steps = read_transitions(dataset)
    weight = (policy.log_prob(steps.observation, steps.action) - np.log(0.25)).reshape(4, 6).cumsum(1).exp()
    rewards = 0.9 ** torch.arange(6.0).double() * steps.reward.reshape(4, 6)
    assert result.by_estimator["is"].value == pytest.approx((weight * rewards).sum(1).mean().item(), rel=1e-5)
