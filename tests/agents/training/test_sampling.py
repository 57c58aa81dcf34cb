"""What an agent draws from the data, as arguments of a replay buffer."""

from __future__ import annotations

import dataclasses

import pytest

import agents
from agents.data.layout import DEFAULT_KEYS, NEXT_ACTION
from agents.training.sampling import Sampling
from agents.training.stack import AgentStack


def test_it_is_the_arguments_of_a_replay_buffer() -> None:
    sampling = Sampling(best_episodes=0.5, context_length=4, gamma=0.9)
    assert dict(**sampling) == {"keys": DEFAULT_KEYS, "best_episodes": 0.5, "context_length": 4, "gamma": 0.9}
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampling.context_length = 5


def test_a_loss_adds_the_optional_entries_that_it_names_once() -> None:
    sampling = Sampling(context_length=4).including(["observation", NEXT_ACTION, "mask", "no entry of data"])
    assert sampling == Sampling((*DEFAULT_KEYS, NEXT_ACTION, "mask"), context_length=4)
    assert sampling.including([NEXT_ACTION]) == sampling


def test_a_stack_is_no_agent_that_refuses_half_of_what_an_agent_does() -> None:
    assert not issubclass(AgentStack, agents.Agent)
    assert not hasattr(AgentStack, "state_dict") and not hasattr(AgentStack, "policy")
