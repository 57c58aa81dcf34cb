"""Algorithms for discrete actions learn to balance a pole from episodes that mostly drop it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import agents

SETTINGS = {"hidden_sizes": [64, 64], "lr": 1e-3, "gamma": 0.95, "target_tau": 0.02}  # quick to learn a short task with


@pytest.fixture(scope="module")
def cartpole(write_cartpole: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> agents.OfflineDataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
        write_cartpole("test/cartpole-v0")
        return agents.load_dataset("test/cartpole-v0", progress=False)


def set_where_there_is(config: object, settings: dict[str, object]) -> None:
    for name, value in vars(config).items():
        if name in settings:
            setattr(config, name, settings[name])
        elif hasattr(value, "__dataclass_fields__"):
            set_where_there_is(value, settings)


@pytest.mark.parametrize("name", [name for name, config in agents.ALGORITHMS.items() if config.actions == "discrete"])
def test_the_pole_stays_up_longer_than_in_the_data_or_at_random(name, cartpole) -> None:
    """At most 200 steps: over three seeds, the algorithms reached 170 to 200."""
    config = agents.ALGORITHMS[name]()
    set_where_there_is(config, SETTINGS)
    torch.manual_seed(0)
    agent, buffer = config.build(cartpole.specs), cartpole.replay_buffer(128)
    for _ in range(500):
        agent.update(buffer.sample())
    with cartpole.make_env() as env:
        learnt = agents.evaluate(agent.policy, env, 10).returns.mean()
        random = agents.evaluate(agents.random_policy(env), env, 10).returns.mean()
    assert max(random, cartpole.statistics.returns.mean()) < 30.0
    assert learnt > 120.0
