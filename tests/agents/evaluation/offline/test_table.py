"""Fitted Q evaluation by tables against exact dynamic programming."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torchrl.data import MultiCategorical, Unbounded

import agents
from agents.errors import ConfigError
from agents.evaluation.offline import FQEConfig, Policy, Transitions, fit_policies, fitted_q_evaluation
from agents.evaluation.offline.fqe import values_of
from agents.evaluation.offline.jackknife import moves_without_each
from agents.evaluation.offline.states import _keys, read_states
from agents.evaluation.offline.table import _system
from agents.evaluation.offline.visits import PRIOR, Visits
from tests.agents.evaluation.offline.tabular import GAMMA, World, world

UNIFORM = np.full((3, 2), 0.5)
SECOND = np.array([[0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])
GREEDY = np.eye(2)[[1, 1, 1]]
AUTO = FQEConfig()


def chain(length: int) -> World:
    """States in a row: the first action goes on and the second ends it; only the last state pays, and it pays 1."""
    following = np.zeros((length, 2, length))
    following[np.arange(length), :, np.minimum(np.arange(length) + 1, length - 1)] = 1.0
    reward, end = np.zeros((length, 2)), np.tile([0.0, 1.0], (length, 1))
    reward[-1], end[-1] = 1.0, 1.0
    return World(following, reward, end)


@pytest.mark.parametrize("gamma", [0.5, 0.99, 1.0])
def test_values_are_those_of_the_process_that_was_logged(gamma) -> None:
    """Of a policy that is drawn to what the log did by a visit of each pair; what takes that off moves it little."""
    log, tables, visits = world().log(UNIFORM, 400), (SECOND, UNIFORM, GREEDY), np.zeros((3, 2))
    np.add.at(visits, (log.observation.argmax(1).numpy(), log.action.numpy()), 1.0)
    fit = fit_policies([world().policy(table) for table in tables], log, AUTO, gamma=gamma)
    for table, of_all, estimate in zip(tables, fit.values()[:, 0].tolist(), values_of(fit)):
        known = table * visits / (visits + PRIOR)
        drawn = known + (1.0 - known.sum(1, keepdims=True)) * visits / visits.sum(1, keepdims=True)
        assert of_all == pytest.approx(world().as_logged(log).value(drawn, gamma), rel=1e-6)
        assert estimate.value == pytest.approx(of_all, abs=0.1 * (estimate.high - estimate.low))
        assert estimate.trust.error_left == estimate.trust.remainder == 0.0
        assert estimate.low < estimate.value < estimate.high


def test_what_pays_after_many_steps_is_seen_from_the_first() -> None:
    world, always = chain(40), np.tile([1.0, 0.0], (40, 1))
    log = world.log(np.tile([0.98, 0.02], (40, 1)), 60)
    (estimate,) = fitted_q_evaluation([world.policy(always)], log, AUTO, gamma=0.99)
    assert world.value(always, 0.99) == pytest.approx(0.99**39)
    assert estimate.value == pytest.approx(0.99**39, rel=0.02)


def test_an_action_that_was_never_tried_is_worth_what_others_were_and_widens_the_interval() -> None:
    only_first = np.tile([1.0, 0.0], (3, 1))
    log = world().log(only_first, 300)
    tried, untried = fitted_q_evaluation([world().policy(only_first), world().policy(GREEDY)], log, AUTO, gamma=GAMMA)
    assert untried.value == pytest.approx(tried.value)
    assert untried.trust.untried > log.returns_to_go(GAMMA).std() > 10.0 * tried.trust.untried  # nothing is known of it
    mixed = world().log(np.tile([0.99, 0.01], (3, 1)), 30)
    first, second = fitted_q_evaluation([world().policy(only_first), world().policy(GREEDY)], mixed, AUTO, gamma=GAMMA)
    assert second.trust.untried > first.trust.untried == 0.0
    assert second.high - second.low > 2.0 * second.trust.untried


def test_the_data_s_own_policy_is_worth_what_its_episodes_returned() -> None:
    log = world().log(UNIFORM, 300)
    (estimate,) = fitted_q_evaluation([world().policy(SECOND)], log, AUTO, gamma=GAMMA)
    assert estimate.own_value == pytest.approx(log.returns(GAMMA).mean().item(), rel=0.05)


def test_members_answer_for_steps_as_networks_do() -> None:
    """Q, V and their errors, entry by entry, by the definitions."""
    log = world().log(UNIFORM, 50)
    fit = fit_policies([world().policy(SECOND)], log, AUTO, gamma=GAMMA)
    qvalues, after = fit.qvalues()[:, 0, 0], fit.next_values()[:, 0, 0]  # of the member that has all episodes
    states, value = read_states(log), torch.from_numpy(SECOND)
    follows = log.reward + GAMMA * ~log.terminated * after
    for pair, step in enumerate(states.example.tolist()):
        of_pair, of_state = states.pair == pair, states.state == states.state[step]
        expected = (follows[of_pair].sum() + PRIOR * follows[of_state].mean()) / (of_pair.sum() + PRIOR)
        torch.testing.assert_close(qvalues[step], expected)
    by_hand = torch.zeros(3).double()
    for step in states.example.tolist():
        state, action = log.observation[step].argmax(), log.action[step]
        by_hand[state] += value[state, action] * qvalues[step]
    torch.testing.assert_close(by_hand[log.next_observation.argmax(-1)], after)
    errors = fit.td_errors(torch.arange(len(log)))[:, 0, 0] * fit.scale.spread
    torch.testing.assert_close(errors, follows - qvalues)


def test_each_episode_is_asked_of_a_table_that_lacks_it_and_draws_lie_around_the_value() -> None:
    fit = fit_policies([world().policy(SECOND)], world().log(UNIFORM, 40), AUTO, gamma=GAMMA)
    assert fit.counts[0].tolist() == [1] * 40 and (fit.counts[1:] == 0).sum(0).tolist() == [1] * 40
    value, draws = fit.estimates()
    assert ((draws.mean(1) - value).abs() < 0.1 * draws.std(1)).all() and (draws.std(1) > 0.0).all()


def test_a_value_moves_without_a_step_as_it_does_where_the_table_is_made_without_it() -> None:
    """Of each step: the system without it, solved again."""
    log, share = world().log(UNIFORM, 12), torch.tensor([0.2, 0.8, 0.1, 0.9, 0.3, 0.7]).double()
    states, all_steps = read_states(log), torch.ones(len(log)).double()
    shares = share[2 * log.observation.argmax(1) + log.action][states.example]

    def solve(counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        system, rewards = _system(shares, Visits.of(states, counted), log, GAMMA, 0.0)
        return torch.linalg.inv(system), torch.linalg.solve(system, rewards)

    inverse, values = solve(all_steps)
    known = {"inverse": inverse, "values": values, "unknown": 0.0}
    moves = moves_without_each(Visits.of(states, all_steps), shares, log, GAMMA, **known)
    begin = states.state[log.first]
    for step in range(len(log)):
        _, without = solve(all_steps.index_fill(0, torch.tensor(step), 0.0))
        torch.testing.assert_close(moves[step], (without - values)[begin].mean())


def test_a_policy_does_not_stay_for_ever_where_a_single_patient_did() -> None:
    """From the first state a dose heals half of all at once; the others come back to it. Healing pays 1."""
    following, end = np.zeros((1, 2, 1)), np.array([[0.5, 0.5]])
    following[:, :, 0] = 1.0
    process = World(following, np.zeros((1, 2)), end)
    second, errors = np.array([[0.0, 1.0]]), []
    for seed in range(60):
        log = process.log(np.array([[0.9, 0.1]]), 30, seed=seed)
        log = dataclasses.replace(log, reward=log.terminated.double())
        fit = fit_policies([process.policy(second)], log, FQEConfig(critic="table"), gamma=0.9)
        errors.append([each - 0.5 / 0.55 for each in (fit.values()[0, 0].item(), fit.estimates()[0][0].item())])
    biased, mended = np.mean(errors, 0)
    assert biased < -0.005 and abs(mended) < 0.5 * abs(biased)


def test_actions_with_parts_have_tables() -> None:
    """Two states; what pays is that both parts are 1."""
    specs = agents.Specs(Unbounded((2,)), MultiCategorical([2, 3]), torch.zeros(2), torch.ones(2))
    generator = torch.Generator().manual_seed(0)
    state = torch.randint(2, (600,), generator=generator)
    action = torch.stack([torch.randint(size, (600,), generator=generator) for size in (2, 3)], 1)
    one_hot = torch.nn.functional.one_hot(state, 2).float()
    reward = (action == 1).all(1).double()
    ends, lengths = torch.ones(600, dtype=torch.bool), torch.ones(600, dtype=torch.int64)
    log = Transitions("test/parts-v0", specs, one_hot, action, reward, ends, one_hot, lengths)
    policy = Policy("ones", specs, lambda observation: torch.ones(len(observation), 2, dtype=torch.int64))
    (estimate,) = fitted_q_evaluation([policy], log, AUTO, gamma=0.9)
    assert estimate.value == pytest.approx(1.0, abs=0.01) and estimate.trust.untried < 0.01


def test_numbers_that_hardly_come_twice_are_no_states() -> None:
    log = world().log(UNIFORM, 20)
    noisy = dataclasses.replace(log, observation=torch.rand(len(log), 3))
    assert read_states(log).num_states == 3 and read_states(log).are_few
    assert read_states(log) is read_states(log)  # as all policies of a log ask for them
    assert not read_states(noisy).are_few
    zeros = dataclasses.replace(
        log, observation=log.observation * -1.0 * -1.0 - 0.0, next_observation=-0.0 * log.observation
    )
    assert read_states(zeros).num_states == 4  # 0 and -0 are the same number
    options = {"policies": [world().policy(UNIFORM)], "gamma": GAMMA}
    assert fit_policies(steps=log, config=AUTO, **options).rounds == torch.inf
    few = FQEConfig(critic="network", gradient_steps=1, num_members=3, compile="off")
    assert fit_policies(steps=log, config=few, **options).rounds == 0.05


def test_rows_that_differ_in_signs_alone_are_told_apart() -> None:
    number = torch.arange(2**18) * 0x9E3779B97F4B  # odd: the last 48 bits are another for each
    signs = (number[:, None] >> torch.arange(48) & 1) * 4.0 - 2.0
    assert len(_keys(signs).unique()) == len(number)  # sums of multiples of the bits alone are the same for four pairs


def test_a_table_that_there_cannot_be_is_refused(monkeypatch) -> None:
    table = FQEConfig(critic="table")
    log = world().log(UNIFORM, 20)
    monkeypatch.setattr("agents.evaluation.offline.fqe.MOST_STATES", 2)
    with pytest.raises(ConfigError, match="at most 2 states; dataset 'test/table-v0' has 3 states"):
        fitted_q_evaluation([world().policy(UNIFORM)], log, table)
    with pytest.raises(ConfigError, match="unknown critic 'tree'; choose from auto, network, table"):
        FQEConfig(critic="tree")


def test_a_process_without_end_is_refuted_rather_than_a_failure() -> None:
    endless = dataclasses.replace(world(), end=np.zeros((3, 2)))
    (estimate,) = fitted_q_evaluation([endless.policy(UNIFORM)], endless.log(UNIFORM, 20, limit=5), AUTO, gamma=1.0)
    assert estimate.refutations


@pytest.mark.slow
def test_intervals_of_random_processes_hold_the_truth() -> None:
    """40 states, 5 actions, one of them rare; policies that always take the best, the worst, or any."""
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        following = rng.dirichlet(0.1 * np.ones(40), (40, 5))
        process = World(following, rng.normal(size=(40, 5)), np.full((40, 5), 0.1))
        behavior = 0.9 * rng.dirichlet(np.ones(5), 40) + 0.02
        log = process.log(behavior, 300, seed=seed)
        tables = [
            behavior,
            np.eye(5)[process.reward.argmax(1)],
            np.eye(5)[process.reward.argmin(1)],
            np.full((40, 5), 0.2),
        ]
        estimates = fitted_q_evaluation([process.policy(table) for table in tables], log, AUTO, gamma=0.95)
        truth = [process.value(table, 0.95) for table in tables]
        held += [estimate.low <= true <= estimate.high for estimate, true in zip(estimates, truth)]
    assert 0.8 <= np.mean(held) <= 0.99
