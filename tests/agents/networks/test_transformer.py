"""The transformer against torch's own, what it may see, and how the policy remembers an episode."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

import agents
from agents.networks.transformer import (
    INPUTS,
    CausalBlock,
    DecisionTransformer,
    ReturnConditionedPolicy,
    TransformerConfig,
    return_conditioned_policy,
)

NUM_WINDOWS, CONTEXT_LENGTH = 3, 5


def small(specs: agents.Specs, **changes: object) -> DecisionTransformer:
    torch.manual_seed(0)
    config = TransformerConfig(width=8, num_layers=2, num_heads=2)
    settings = {"return_scale": 10.0, "max_episode_steps": 7, "normalize": False, **changes}
    network = DecisionTransformer(config, specs, **settings).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)  # so that every input makes a difference
    return network


@pytest.fixture
def windows(specs: agents.Specs) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (NUM_WINDOWS, CONTEXT_LENGTH)
    return {
        "observation": torch.randn(*shape, specs.observation.shape[-1], generator=generator),
        "action": torch.rand(*shape, specs.action.shape[-1], generator=generator),
        "return_to_go": 10 * torch.randn(*shape, 1, generator=generator),
        "step_count": torch.arange(CONTEXT_LENGTH).expand(shape)[..., None],
    }


def test_a_block_is_torchs_causal_transformer_layer() -> None:
    torch.manual_seed(0)
    block = CausalBlock(TransformerConfig(width=8, num_heads=2)).eval()
    torchs = nn.TransformerEncoderLayer(8, 2, 32, activation="relu", batch_first=True, norm_first=True).eval()
    pairs = {
        torchs.self_attn.in_proj_weight: block.projections.weight,
        torchs.self_attn.in_proj_bias: block.projections.bias,
        torchs.self_attn.out_proj.weight: block.join.weight,
        torchs.self_attn.out_proj.bias: block.join.bias,
        torchs.linear1.weight: block.perceptron[0].weight,
        torchs.linear1.bias: block.perceptron[0].bias,
        torchs.linear2.weight: block.perceptron[2].weight,
        torchs.linear2.bias: block.perceptron[2].bias,
    }
    for theirs, ours in pairs.items():
        theirs.data.copy_(ours)
    tokens = torch.randn(3, 6, 8)
    expected = torchs(tokens, src_mask=torch.ones(6, 6, dtype=torch.bool).triu(1))
    torch.testing.assert_close(block(tokens), expected)
    torch.testing.assert_close(block(tokens, slice(1, None, 3)), expected[:, 1::3])


def test_actions_are_those_of_the_papers_tokens(specs, windows) -> None:
    network = small(specs, normalize=True)
    low, high = specs.action.space.low, specs.action.space.high
    observation = (windows["observation"] - specs.observation_mean) / (specs.observation_std + 1e-6)
    action = (windows["action"] - (low + high) / 2) / ((high - low) / 2)
    step = network.embed_step(windows["step_count"].squeeze(-1))  # [B, K, W]
    tokens = torch.empty(NUM_WINDOWS, 3 * CONTEXT_LENGTH, 8)
    tokens[:, 0::3] = network.embed_return(windows["return_to_go"] / 10.0) + step
    tokens[:, 1::3] = network.embed_observation(observation) + step
    tokens[:, 2::3] = network.embed_action(action) + step
    tokens = network.norm_in(tokens)
    for block in network.blocks:
        tokens = block(tokens)
    position = torch.tanh(network.head(network.norm_out(tokens)[:, 1::3]))
    torch.testing.assert_close(network(**windows), (low + high) / 2 + (high - low) / 2 * position)


@pytest.mark.parametrize("key", INPUTS)
def test_an_action_depends_on_what_was_before_it_and_on_nothing_else(specs, windows, key) -> None:
    network, step = small(specs), 2
    before = network(**windows)
    other = windows[key].clone()
    other[:, step] = other[:, step] + 1
    changed = (network(**{**windows, key: other}) != before).any(-1)  # [B, K]
    first = step + 1 if key == "action" else step  # no step sees its own action
    assert not changed[:, :first].any() and changed[:, first:].all()


def test_steps_beyond_the_last_embedding_share_it(specs, windows) -> None:
    network = small(specs)
    late = {**windows, "step_count": windows["step_count"] + 100}
    assert torch.equal(network(**late), network(**{**windows, "step_count": torch.full((3, 5, 1), 6)}))
    assert not torch.equal(network(**late), network(**windows))


def test_returns_are_divided_by_their_scale_and_actions_stay_in_the_bounds(specs, windows) -> None:
    scaled = {**windows, "return_to_go": windows["return_to_go"] * 3}
    torch.testing.assert_close(small(specs, return_scale=30.0)(**scaled), small(specs)(**windows))
    network = small(specs)
    nn.init.constant_(network.head.bias, 1e3)
    torch.testing.assert_close(network(**windows), specs.action.space.high.expand(3, 5, -1))


def test_initial_weights_are_those_of_gpt_2(specs) -> None:
    network = DecisionTransformer(TransformerConfig(), specs, return_scale=1.0, max_episode_steps=1000, normalize=False)
    assert network.embed_step.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert network.blocks[0].projections.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not network.head.bias.any()


# The policy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context_length", [1, 3, 20])
def test_the_policy_looks_back_on_the_episode_and_asks_for_what_is_left(specs, context_length) -> None:
    """Each action is that of the network on the window written out."""
    network = small(specs)
    policy = TensorDictModule(
        ReturnConditionedPolicy(network, target_return=12.0, context_length=context_length),
        in_keys=["observation", "reward", "memory"],
        out_keys=["action", "memory"],
    )
    generator = torch.Generator().manual_seed(0)
    observations, rewards = torch.randn(6, 2, 5, generator=generator), torch.randn(6, 2, 1, generator=generator)
    step, actions = TensorDict({"observation": observations[0]}, [2]), []
    for t in range(6):
        actions.append(policy(step)["action"])
        first = max(t + 1 - context_length, 0)
        expected = network(
            observation=observations[first : t + 1].transpose(0, 1),
            action=torch.stack([*actions[first:t], torch.full((2, 3), 9.0)], 1),
            return_to_go=torch.stack([12.0 - rewards[:i].sum(0) for i in range(first, t + 1)], 1),
            step_count=torch.arange(first, t + 1).expand(2, -1)[..., None],
        )
        torch.testing.assert_close(actions[-1], expected[:, -1])
        if t < 5:
            step.set("observation", observations[t + 1]).set("reward", rewards[t])
    assert step["memory"].shape == (2, min(6, context_length))


def test_a_step_without_the_reward_before_it_is_refused(specs, batch) -> None:
    actor = TensorDictModule(small(specs), in_keys=list(INPUTS), out_keys=["action"])
    policy = return_conditioned_policy(actor, target_return=1.0, context_length=3)
    with pytest.raises(ValueError, match="needs the reward of the step before"):
        policy(policy(batch.select("observation")))


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"width": 10, "num_heads": 4}, {"num_layers": 0}, {"num_heads": 0}, {"dropout": 1.0}]
)
def test_settings_out_of_range_are_refused_by_name_and_value(settings) -> None:
    name, value = next(iter(settings.items()))
    with pytest.raises(agents.ConfigError, match=rf"{name} must .* got {value}$"):
        TransformerConfig(**settings)
