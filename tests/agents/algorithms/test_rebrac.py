"""ReBRAC's defaults and presets, each against the source that it names."""

from __future__ import annotations

import pytest
import torch

import agents
from agents.algorithms.registry import tuned
from agents.checkpoint import load, save
from agents.networks.configs import DeterministicActorConfig, QValueConfig
from agents.training.adam import AdamConfig
from agents.training.transfer import take_over

# beta_1 and beta_2 in the files of configs/rebrac of the paper's code (github.com/tinkoff-ai/ReBRAC)
PENALTIES = {
    "pen": {"human": (0.1, 0.5), "cloned": (0.05, 0.5), "expert": (0.01, 0.01)},
    "door": {"human": (0.1, 0.1), "cloned": (0.01, 0.1), "expert": (0.05, 0.01)},
    "hammer": {"human": (0.01, 0.5), "cloned": (0.1, 0.5), "expert": (0.01, 0.01)},
    "relocate": {"human": (0.1, 0.01), "cloned": (0.1, 0.01), "expert": (0.05, 0.01)},
}


def test_the_defaults_are_the_papers_on_adroit() -> None:
    assert agents.ReBRACConfig() == agents.ReBRACConfig(
        policy_noise=0.2,
        noise_clip=0.5,
        gamma=0.99,
        target_tau=0.005,
        target_every=2,
        normalize_observations=False,
        actor=DeterministicActorConfig([256] * 3, layer_norm=False, init="default"),
        qvalue=QValueConfig([256] * 3, layer_norm=True, init="default", num_nets=2),
        actor_optimizer=AdamConfig(lr=3e-4, every=2),
        critic_optimizer=AdamConfig(lr=3e-4),
    )


def test_the_default_penalties_are_the_commonest_of_the_human_and_cloned_datasets() -> None:
    chosen = [kinds[kind] for kinds in PENALTIES.values() for kind in ("human", "cloned")]
    config = agents.ReBRACConfig()
    for default, values in zip((config.actor_penalty, config.critic_penalty), zip(*chosen)):
        assert default == max(values, key=values.count)


def test_the_tuned_table_is_the_papers() -> None:
    for task, kinds in PENALTIES.items():
        for kind, (actor_penalty, critic_penalty) in kinds.items():
            expected = {"actor_penalty": actor_penalty, "critic_penalty": critic_penalty}
            assert tuned("rebrac", f"D4RL/{task}/{kind}-v2") == expected


def test_the_agent_asks_for_next_actions(specs) -> None:
    assert ("next", "action") in agents.ReBRACConfig().build(specs).sampling["keys"]
    assert ("next", "action") not in agents.IQLConfig().build(specs).sampling["keys"]


def test_online_the_critics_penalty_is_off_and_the_actors_falls_to_a_half_as_in_corl(specs, batches) -> None:
    small = {"actor": DeterministicActorConfig([8]), "qvalue": QValueConfig([8])}
    config = agents.ReBRACConfig(actor_penalty=0.4, **small)
    online = config.going_online(4)
    decay = agents.PenaltyDecayConfig("linear", final=0.5, num_steps=4)
    assert online == agents.ReBRACConfig(actor_penalty=0.4, critic_penalty=0.0, penalty_decay=decay, **small)
    torch.manual_seed(0)
    fading = online.build(specs)
    for seed, factor in enumerate((1.0, 0.75, 0.5, 0.5, 0.5)):
        penalty = 0.4 * factor
        usual = agents.ReBRACConfig(actor_penalty=penalty, critic_penalty=0.0, **small).build(specs)
        take_over(usual, fading)
        torch.manual_seed(seed)
        expected = usual.update(batches(seed))
        torch.manual_seed(seed)
        statistics = fading.update(batches(seed))
        assert statistics["penalty_factor"] == factor
        for name, value in expected.items():
            torch.testing.assert_close(statistics[name], value)


@pytest.mark.parametrize("config", [agents.ReBRACConfig, agents.TD3BCConfig])
def test_a_penalty_fades_in_a_compiled_update_and_after_a_checkpoint_as_in_the_eager_one(
    config, specs, batches, tmp_path
) -> None:
    config = config(actor=DeterministicActorConfig([8]), qvalue=QValueConfig([8])).going_online(8)
    torch.manual_seed(0)
    eager, compiled = config.build(specs), config.build(specs)
    take_over(compiled, eager)
    compiled.compile(batches(0), "trace")
    for seed in range(8):
        if seed == 4:
            path = save(tmp_path / "a", compiled, config=config, specs=specs)
            compiled = load(path).build_agent()
            compiled.compile(batches(0), "trace")
        values = []
        for agent in (eager, compiled):
            torch.manual_seed(seed)
            values.append(agent.update(batches(seed)).to_dict())
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-5)
    assert values[0]["penalty_factor"] < 0.6


def test_actor_and_targets_move_at_every_second_update(specs, batches) -> None:
    torch.manual_seed(0)
    agent = agents.ReBRACConfig().build(specs)
    for seed in range(4):
        before = {name: value.clone() for name, value in agent.loss_module.named_parameters()}
        before |= {name: value.clone() for name, value in agent.loss_module.named_buffers()}
        agent.update(batches(seed))
        state = {**dict(agent.loss_module.named_parameters()), **dict(agent.loss_module.named_buffers())}
        moved = {name.split("_network")[0] for name, value in state.items() if not torch.equal(value, before[name])}
        delayed = {"actor", "target_actor", "target_qvalue"}
        assert moved == ({"qvalue"} | delayed if seed % 2 else {"qvalue"})


@pytest.mark.parametrize(
    ("setting", "value"), [("actor_penalty", -0.5), ("noise_clip", -1.0), ("target_every", 0), ("target_tau", 0.0)]
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.ReBRACConfig(**{setting: value})
