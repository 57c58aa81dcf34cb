"""Fitted Q evaluation against values that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torchrl.data import Bounded, Unbounded

import agents
from agents.errors import ConfigError
from agents.evaluation.offline import FQEConfig, Policy, Transitions, difference, fit_critics, fitted_q_evaluation
from agents.evaluation.offline.critics import updates_for
from agents.evaluation.offline.scale import value_bounds
from agents.networks.configs import MLPConfig
from tests.agents.evaluation.offline.tabular import GAMMA, world

UNIFORM = np.full((3, 2), 0.5)
SECOND = np.array([[0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])
LINEAR = MLPConfig(hidden_sizes=[])
LEARNED = FQEConfig(
    critic="network",
    num_members=6,
    gradient_steps=500,
    batch_size=256,
    target_tau=0.1,
    qvalue=LINEAR,
    lr=0.05,
    compile="trace",
)
FEW = dataclasses.replace(LEARNED, num_members=3, gradient_steps=5, compile="off")


GREEDY = np.eye(2)[[1, 1, 1]]


@pytest.fixture(scope="module")
def log() -> Transitions:
    return world().log(UNIFORM, 1_500)


def test_tables_converge_to_the_exact_values(log) -> None:
    tables = (SECOND, UNIFORM, GREEDY)  # the first draws what the last always does in three cases of four
    truth = [world().as_logged(log).value(table) for table in tables]
    estimates = fitted_q_evaluation([world().policy(table) for table in tables], log, LEARNED, gamma=GAMMA)
    for estimate, exact in zip(estimates, truth):
        assert estimate.value == pytest.approx(exact, rel=0.03)
        assert estimate.low <= exact <= estimate.high
        assert estimate.own_value == pytest.approx(truth[1], rel=0.05)
        assert estimate.data_return == pytest.approx(log.returns(GAMMA).mean().item())
        assert not estimate.refutations
    for estimate, table in zip(estimates, tables):  # a log of 1,500 episodes is the process itself, but for 5 %
        assert estimate.value == pytest.approx(world().value(table), rel=0.05)
    gap = difference(*estimates[:2])
    assert gap.value == pytest.approx(truth[0] - truth[1], abs=0.1)
    assert gap.high - gap.low < sum(estimate.high - estimate.low for estimate in estimates[:2])


def test_policies_that_are_fitted_together_have_the_values_that_they_have_alone(log) -> None:
    together = fitted_q_evaluation([world().policy(SECOND), world().policy(UNIFORM)], log, FEW, gamma=GAMMA)
    alone = fitted_q_evaluation([world().policy(UNIFORM)], log, FEW, gamma=GAMMA)
    np.testing.assert_allclose(together[1].draws, alone[0].draws, rtol=1e-4)


def test_more_policies_than_there_is_room_for_are_fitted_in_turns(log, monkeypatch) -> None:
    policies = [world().policy(SECOND, "second"), world().policy(UNIFORM, "uniform")]
    together = fitted_q_evaluation(policies, log, FEW, gamma=GAMMA)
    monkeypatch.setattr("agents.evaluation.offline.fqe.ROOM", 1)
    in_turns = fitted_q_evaluation(policies, log, FEW, gamma=GAMMA)
    assert [estimate.policy for estimate in in_turns] == ["second", "uniform"]
    for one, other in zip(together, in_turns):
        np.testing.assert_allclose(one.draws, other.draws, rtol=1e-4)


def chain(*, terminated: bool) -> Transitions:
    """Episodes of one step with a reward of 1, in a single state with a single action that is continuous."""
    specs = agents.Specs(Unbounded((1,)), Bounded(-torch.ones(1), torch.ones(1)), torch.zeros(1), torch.ones(1))
    ones = torch.ones(4, 1)
    ends = torch.full((4,), terminated)
    return Transitions("test/chain-v0", specs, ones, ones, torch.ones(4).double(), ends, ones, torch.ones(4).long())


@pytest.mark.parametrize(("terminated", "value"), [(True, 1.0), (False, 2.0)])
def test_only_a_termination_ends_the_sum(terminated, value) -> None:
    steps = chain(terminated=terminated)
    policy = Policy("same", steps.specs, torch.ones_like)
    (estimate,) = fitted_q_evaluation(
        [policy], steps, dataclasses.replace(LEARNED, gradient_steps=150, target_tau=0.2), gamma=0.5
    )
    assert estimate.value == pytest.approx(value, abs=0.02)


def test_values_behind_cut_off_ends_are_not_measured_by_returns_that_end_there() -> None:
    """Episodes of 3 steps of a process that never ends: its own policy is worth twice what they returned."""
    endless = dataclasses.replace(world(), end=np.zeros((3, 2)))
    steps, policies = endless.log(UNIFORM, 300, limit=3), [endless.policy(UNIFORM), endless.policy(GREEDY)]
    own, greedy = fitted_q_evaluation(
        policies, steps, dataclasses.replace(LEARNED, num_members=4, gradient_steps=600), gamma=0.8
    )
    assert own.beyond_log and own.value > 1.8 * own.data_return
    assert own.verdict.endswith("it cannot be told from what the same critics expect of the data's own policy")
    assert greedy.verdict.endswith("it is above what the same critics expect of the data's own policy")
    undiscounted = dataclasses.replace(own, gamma=1.0)
    assert "take gamma below 1" in undiscounted.refutations[0]
    assert steps.steady_returns(1.0).equal(steps.returns(1.0))
    ended = dataclasses.replace(steps, terminated=torch.ones_like(steps.terminated))
    assert ended.steady_returns(0.5).equal(ended.returns(0.5))
    np.testing.assert_allclose(chain(terminated=False).steady_returns(0.5), 2.0)


def test_too_few_updates_for_the_horizon_are_told(log) -> None:
    policies = [world().policy(UNIFORM)]
    (estimate,) = fitted_q_evaluation(policies, log, dataclasses.replace(FEW, gradient_steps=20), gamma=GAMMA)
    goes_on = 1 - len(log.lengths) / len(log)  # 100 steps are enough for each to end, here
    assert estimate.trust.error_left == pytest.approx((GAMMA * goes_on) ** 2.0)  # 20 updates of a tenth each
    assert any("more of fqe.gradient_steps" in reason for reason in estimate.refutations)


def test_a_value_that_has_not_converged_says_so_and_has_a_wider_interval(log) -> None:
    slow = dataclasses.replace(LEARNED, num_members=3, gradient_steps=40, target_tau=0.01, compile="off")
    (estimate,) = fitted_q_evaluation([world().policy(GREEDY)], log, slow, gamma=0.99)
    exact, remainder = world().value(GREEDY, 0.99), estimate.trust.remainder
    assert remainder == pytest.approx(abs(exact - estimate.value), rel=0.2) and remainder > 6.0
    assert estimate.low <= exact <= estimate.high
    assert any("it has not converged" in reason for reason in [*estimate.refutations, *estimate.doubts])
    settled = dataclasses.replace(estimate, trust=dataclasses.replace(estimate.trust, remainder=None))
    assert (difference(estimate, settled).low, difference(settled, estimate).high) == (-remainder, remainder)


def test_updates_are_as_many_as_the_horizon_takes(log) -> None:
    default, endless = FQEConfig(), dataclasses.replace(log, terminated=torch.zeros_like(log.terminated))
    assert updates_for(log, default, 0.99) == 8_000  # a termination in 8 steps
    assert updates_for(endless, default, 0.99) == pytest.approx(np.log(0.01) / np.log(0.99) / 0.05, abs=1)
    assert updates_for(endless, default, 1.0) == 40_000
    assert updates_for(endless, default, 0.0) == 8_000
    assert updates_for(endless, FQEConfig(gradient_steps=7), 0.99) == 7


@pytest.mark.parametrize(
    ("rewards", "ends", "gamma", "bounds"),
    [
        ([0, 0, 1], [0, 0, 1], 0.9, (0, 1)),  # only the end pays
        ([0, 0, 1], [0, 0, 1], 1.0, (0, 1)),
        ([1, 2, 3], [0, 0, 1], 0.9, (3, 20)),  # three are what there is when it ends at once
        ([1, 2, 3], [0, 0, 0], 0.9, (10, 30)),
        ([-1, -1, 5], [0, 0, 1], 0.9, (-10, 5)),
        ([-1, -1, 5], [0, 0, 1], 1.0, (-np.inf, 5)),
        ([2, 3, 5], [1, 1, 1], 0.9, (2, 5)),
    ],
)
def test_no_value_is_beyond_what_rewards_add_up_to(log, rewards, ends, gamma, bounds) -> None:
    steps = dataclasses.replace(log, reward=torch.tensor(rewards).double(), terminated=torch.tensor(ends).bool())
    assert value_bounds(steps, gamma) == pytest.approx(bounds)


def test_actions_are_seen_in_the_bounds_of_the_data_whatever_the_policy_was_made_for() -> None:
    steps = chain(terminated=True)
    wider = dataclasses.replace(steps.specs, action=Bounded(-10 * torch.ones(1), 10 * torch.ones(1)))
    policies = [Policy("same", specs, lambda observation: 0.5 * observation) for specs in (steps.specs, wider)]
    narrow, wide = fitted_q_evaluation(policies, steps, dataclasses.replace(FEW, gradient_steps=1), gamma=0.5)
    np.testing.assert_allclose(narrow.draws, wide.draws, rtol=1e-5)


def test_members_differ_by_the_episodes_that_they_drew(log) -> None:
    fit = fit_critics([world().policy(UNIFORM)], log, FEW, gamma=GAMMA)
    assert fit.counts.sum(1).tolist() == [1_500] * 3
    unseen = fit.unseen(torch.arange(3.0).expand(1_500, 1, 3), torch.arange(1_500))[:, 0]  # the members' own numbers
    out = fit.counts == 0
    assert torch.equal(unseen[out[0] & ~out[1] & ~out[2]].unique(), torch.tensor([0.0]))
    assert torch.equal(unseen[out[0] & out[1] & out[2]].unique(), torch.tensor([1.0]))
    assert torch.equal(unseen[~out.any(0)].unique(), torch.tensor([1.0]))  # none is left: all


def test_a_policy_of_other_data_is_refused_in_one_line(log) -> None:
    steps = chain(terminated=True)
    for policy, message in (
        (Policy("mine", steps.specs, torch.ones_like), "mine takes observations of 1 numbers, the data have 3"),
        (
            Policy("mine", dataclasses.replace(log.specs, action=steps.specs.action), torch.ones_like),
            "mine takes actions of 1 numbers, the data have 2 discrete actions",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            fitted_q_evaluation([policy], log, FEW)
