"""A transformer over windows of an episode, and the policy that it is when it acts.

Shapes: ``B`` batch, ``K`` steps of a window, ``O`` observation, ``A`` action, ``W`` width of a token, ``L`` tokens,
``H`` heads.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

from agents.data.specs import Specs
from agents.networks.bounds import BoundedNetwork, divisor
from agents.networks.configs import TransformerConfig
from agents.networks.layers import ACTIVATIONS, Dropout, normalizer
from agents.networks.policies import sharing_tensors

INPUTS = ("observation", "action", "return_to_go", "step_count")
INIT_STD = 0.02  # of every weight, as in GPT-2
SCALING_EPS = 1e-6  # beside the standard deviation of observations, as in the authors' code and CORL's


class DecisionTransformer(BoundedNetwork):
    r"""An action for every step of a window, from that step's return-to-go and observation and all that was before.

    .. math:: \ldots, \hat R_t, s_t, a_t, \hat R_{t+1}, s_{t+1}, \ldots \quad \text{are the tokens, and} \quad
        \pi_t = c + h \tanh(\mathrm{head}(\text{output at } s_t))

    (Chen et al. 2021, arXiv 2106.01345.) To each token the embedding of its step in the episode is added. Attention is
    causal: steps that follow, padding among them, make no difference.

    Args:
        return_scale: returns are divided by it, > 0.
        max_episode_steps: embeddings of steps; all later steps have the last one.
    """

    def __init__(
        self, config: TransformerConfig, specs: Specs, *, return_scale: float, max_episode_steps: int, normalize: bool
    ) -> None:
        super().__init__(specs)
        num_observations, num_actions = specs.observation.shape[-1], specs.action.shape[-1]
        self.return_scale = return_scale
        self.normalizer = nn.Sequential(*normalizer(specs, normalize, SCALING_EPS))
        self.embed_return = nn.Linear(1, config.width)
        self.embed_observation = nn.Linear(num_observations, config.width)
        self.embed_action = nn.Linear(num_actions, config.width)
        self.embed_step = nn.Embedding(max_episode_steps, config.width)
        self.norm_in, self.dropout = nn.LayerNorm(config.width), _dropout(config)
        self.blocks = nn.ModuleList(CausalBlock(config) for _ in range(config.num_layers))
        self.norm_out = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, num_actions)
        self.apply(_initialise)

    def forward(self, observation: Tensor, action: Tensor, return_to_go: Tensor, step_count: Tensor) -> Tensor:
        """``[B, K, O], [B, K, A], [B, K, 1], [B, K, 1] int64 -> [B, K, A]``, inside the action bounds."""
        last = self.embed_step.num_embeddings - 1
        tokens = [
            self.embed_return(return_to_go / self.return_scale),
            self.embed_observation(self.normalizer(observation)),
            self.embed_action((action - self.action_center) / divisor(self.action_half_range)),
        ]
        tokens = torch.stack(tokens, -2) + self.embed_step(step_count.clamp(max=last))  # [B, K, 3, W]
        tokens = self.dropout(self.norm_in(tokens.flatten(-3, -2)))  # [B, 3 K, W]
        *blocks, last_block = self.blocks
        for block in blocks:
            tokens = block(tokens)
        at_observations = last_block(tokens, slice(1, None, 3))  # [B, K, W]: nothing else is read, a sixth of the work
        return self.action_center + self.action_half_range * torch.tanh(self.head(self.norm_out(at_observations)))


class CausalBlock(nn.Module):
    """Attention to the token itself and those before, then a perceptron, each added: ``[B, L, W] -> [B, L, W]``."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.norm_attention, self.norm_perceptron = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.projections = nn.Linear(config.width, 3 * config.width)  # queries, keys and values
        self.join = nn.Linear(config.width, config.width)
        self.perceptron = nn.Sequential(
            nn.Linear(config.width, 4 * config.width),
            ACTIVATIONS[config.activation](),
            nn.Linear(4 * config.width, config.width),
        )
        self.dropout = _dropout(config)

    def forward(self, tokens: Tensor, selection: slice = slice(None)) -> Tensor:  # of the tokens to give back
        context = self._attend(self.norm_attention(tokens), selection)
        tokens = tokens[..., selection, :] + self.dropout(self.join(context))
        return tokens + self.dropout(self.perceptron(self.norm_perceptron(tokens)))

    def _attend(self, tokens: Tensor, selection: slice) -> Tensor:
        # written out: the dropout of torch's scaled_dot_product_attention cannot be lifted out of a trace
        projections = self.projections(tokens).unflatten(-1, (3, self.num_heads, -1))  # [B, L, 3, H, W / H]
        query, key, value = projections.movedim(-3, 0).transpose(-3, -2)  # [B, H, L, W / H] each
        scores = query[..., selection, :] @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])  # [B, H, L, L]
        positions = torch.arange(scores.shape[-1], device=tokens.device)
        later = positions > positions[selection, None]  # [L, L]
        attention = self.dropout(scores.masked_fill(later, -math.inf).softmax(-1))
        return (attention @ value).transpose(-3, -2).flatten(-2)  # [B, L, W]


class ReturnConditionedPolicy(nn.Module):
    r"""A transformer that acts: it asks for a return, and after each step for what is left of it.

    .. math:: \hat R_0 = \text{target return}, \qquad \hat R_{t+1} = \hat R_t - r_t

    Args:
        target_return: of an episode, undiscounted.
        context_length: K, the steps that it looks back on, its own among them.
    """

    def __init__(self, network: DecisionTransformer, *, target_return: float, context_length: int) -> None:
        super().__init__()
        self.network = network
        self.target_return = target_return
        self.context_length = context_length

    def forward(
        self, observation: Tensor, reward: Tensor | None = None, memory: TensorDictBase | None = None
    ) -> tuple[Tensor, TensorDictBase]:
        """The action at an observation ``[B, O]``, and the memory for the step after it.

        Args:
            reward: of the step before, ``[B, 1]``.
            memory: of the step before: ``INPUTS`` of up to K steps, ``[B, K, ...]``; None: a new episode.
        """
        window = self._look_back(observation, reward, memory)
        action = self.network(*(window[key] for key in INPUTS))[:, -1]
        window["action"] = torch.cat([window["action"][:, :-1], action[:, None]], 1)
        return action, window

    def _look_back(self, observation: Tensor, reward: Tensor | None, memory: TensorDictBase | None) -> TensorDictBase:
        """The window whose last step is this one, its action not known yet."""
        size, center = len(observation), self.network.action_center
        now = {"observation": observation[:, None], "action": center.expand(size, 1, -1)}  # this action is not read
        if memory is None:
            now["return_to_go"] = observation.new_full((size, 1, 1), self.target_return)
            now["step_count"] = torch.zeros(size, 1, 1, dtype=torch.int64, device=observation.device)
            return TensorDict(now, [size, 1])
        if reward is None:
            raise ValueError("a policy with a memory needs the reward of the step before")
        now["return_to_go"] = memory["return_to_go"][:, -1:] - reward[:, None]
        now["step_count"] = memory["step_count"][:, -1:] + 1
        window = {key: torch.cat([memory[key], now[key]], 1)[:, -self.context_length :] for key in INPUTS}
        return TensorDict(window, [size, window["action"].shape[1]])


def return_conditioned_policy(actor: TensorDictModule, **settings: Any) -> TensorDictModule:
    """``observation [B, O]``, and after the first step ``reward [B, 1], memory``, to ``action [B, A], memory``.

    By a :class:`ReturnConditionedPolicy` with these settings, in eval mode, sharing the actor's tensors.
    """
    policy = ReturnConditionedPolicy(sharing_tensors(actor.module), **settings)
    return TensorDictModule(policy, in_keys=["observation", "reward", "memory"], out_keys=["action", "memory"]).eval()


def _dropout(config: TransformerConfig) -> nn.Module:
    return Dropout(config.dropout) if config.dropout > 0.0 else nn.Identity()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
