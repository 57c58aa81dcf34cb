"""The bookkeeping around a CUDA graph, with a capture that runs the function at every replay instead."""

from __future__ import annotations

import pytest
import torch

import agents
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.training import cuda_graphs
from agents.training.adam import AdamConfig
from agents.training.cuda_graphs import WARM_UP, GraphedUpdates
from agents.training.generators import random_generator
from agents.training.stack import AgentStack

SMALL = {"hidden_sizes": [8]}
SETTINGS = {
    "usual": {},
    "delayed": {"actor_optimizer": AdamConfig(every=3)},
    "decaying": {"actor_optimizer": AdamConfig(decay_steps=40), "max_grad_norm": 1.0},
    "late": {"critic_optimizer": AdamConfig(after=11)},
    "rare": {"actor_optimizer": AdamConfig(every=6)},
}


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replaces the capture; one entry per replay."""
    made: list[int] = []

    def capture(function, generators):
        return lambda: (made.append(1), function())

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    return made


def build(specs: agents.Specs, seed: int = 0, **settings) -> agents.Agent:
    torch.manual_seed(seed)
    networks = {"actor": ActorConfig(**SMALL), "qvalue": QValueConfig(**SMALL), "value": ValueConfig(**SMALL)}
    return agents.IQLConfig(**networks, **settings).build(specs)


@pytest.mark.parametrize("kind", SETTINGS)
def test_stretches_of_any_length_are_the_updates_one_by_one(specs, batches, replays, kind) -> None:
    graphed, plain = build(specs, **SETTINGS[kind]), build(specs, **SETTINGS[kind])
    updates = GraphedUpdates(graphed, lambda: batches(graphed.num_updates), size=4)
    stretches = (1, 7, 1, 2, 12, 25)
    torch.manual_seed(1)
    last = [updates(number) for number in stretches][-1]
    torch.manual_seed(1)
    for step in range(sum(stretches)):
        expected = plain.update(batches(step))
    assert graphed.num_updates == sum(stretches)
    assert graphed.learning_rates == plain.learning_rates
    torch.testing.assert_close(last.to_dict(), expected.to_dict(), rtol=1e-5, atol=1e-5)  # rates are float32 tensors
    assert updates.problem is None and len(replays) >= 3
    assert updates.size == {"delayed": 6, "rare": 6}.get(kind, 4)


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_moment_is_there_before_the_capture(specs, batches, monkeypatch, kind) -> None:
    """What a graph allocates, it sets back at every replay."""
    agent = build(specs, **SETTINGS[kind])
    there: list[int] = []

    def capture(function, generators):
        there.append(len(agent.rule.optimizer.state))
        return function

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    GraphedUpdates(agent, lambda: batches(agent.num_updates), size=4)(40)
    assert there == [len(agent.rule.parameters)]


def test_a_period_longer_than_what_is_asked_for_needs_no_graph(specs, batches, replays) -> None:
    agent = build(specs, actor_optimizer=AdamConfig(every=30))
    updates = GraphedUpdates(agent, lambda: batches(agent.num_updates))
    for _ in range(5):
        updates(20)
    assert updates._replay is None and not replays and agent.num_updates == 100


def test_a_stack_is_advanced_as_one(specs, batches, replays) -> None:
    parts = [build(specs, seed) for seed in range(2)]
    stack = AgentStack(parts, [random_generator(torch.device("cpu")) for _ in parts])
    updates = GraphedUpdates(stack, lambda: torch.stack([batches(0), batches(1)]), size=5)
    assert updates(23)["loss_value"].shape == (2,)
    assert [part.num_updates for part in parts] == [23, 23] and len(replays) == (23 - WARM_UP) // 5


def test_results_are_not_written_over(specs, batches, replays) -> None:
    agent = build(specs)
    updates = GraphedUpdates(agent, lambda: batches(agent.num_updates), size=2)
    first = updates(5)
    before = first.to_dict()
    updates(2)
    assert first.to_dict() == before


def test_what_cannot_be_captured_runs_one_by_one(specs, batches, monkeypatch) -> None:
    def capture(function, generators):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    agent = build(specs)
    updates = GraphedUpdates(agent, lambda: batches(agent.num_updates), size=2)
    updates(9)
    assert agent.num_updates == 9
    assert "operation not permitted" in updates.problem and "\n" not in updates.problem
