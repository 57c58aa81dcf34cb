"""Decision Transformer (Chen et al. 2021, arXiv 2106.01345).

.. math::
    L_\\pi = E[\\, |\\pi(\\hat R_{t-k}, s_{t-k}, a_{t-k}, \\ldots, \\hat R_t, s_t) - a_t|^2 \\,],
    \\qquad \\hat R_t = \\sum_{t' \\geq t} r_{t'}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from tensordict.nn import TensorDictModule

from agents.data.specs import Specs
from agents.errors import ConfigError, require
from agents.networks.configs import TransformerConfig
from agents.networks.transformer import INPUTS, DecisionTransformer, return_conditioned_policy
from agents.objectives import DTLoss
from agents.training.adam import WarmUpAdamConfig
from agents.training.agent import Agent
from agents.training.settings import check_update as check_settings


@dataclass
class DTConfig:
    """Decision Transformer with the settings of the authors' code for locomotion; the paper has no Adroit.

    It learns from windows: draw batches from ``dataset.replay_buffer(64, **agent.sampling)``. As in that code and in
    CORL, a window begins at a step drawn uniformly from the data and ends with the episode at the latest; as in CORL,
    padding comes last, where causal attention keeps it out of everything else, and it is no part of the loss.

    Its policy remembers the episode, see :class:`agents.sequences.ReturnConditionedPolicy`.

    It differs from that code in four ways: the initialisation is GPT-2's for all weights (CORL's); the weight decay is
    Adam's, not AdamW's; steps beyond ``max_episode_steps`` share an embedding; and padding comes last.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "continuous"

    target_return: float | None = None  # undiscounted return to ask for; None: the largest of the data's episodes
    return_scale: float = 1000.0  # returns are divided by it before the network sees them, > 0
    context_length: int = 20  # steps of a window, >= 1
    max_episode_steps: int = 1000  # steps of an episode that can be told apart, >= 1
    normalize_observations: bool = True  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = 0.25  # largest global gradient norm, > 0; None: no clip
    actor: TransformerConfig = field(default_factory=TransformerConfig)
    actor_optimizer: WarmUpAdamConfig = field(default_factory=lambda: WarmUpAdamConfig(lr=1e-4, weight_decay=1e-4))

    def __post_init__(self) -> None:
        target = self.target_return
        require(target is None or math.isfinite(target), "target_return", "be finite or null", target)
        require(0.0 < self.return_scale < math.inf, "return_scale", "be positive", self.return_scale)
        for name in ("context_length", "max_episode_steps"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        check_settings(max_grad_norm=self.max_grad_norm)

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator.

        Raises:
            ConfigError: if neither the config nor the specs know a return to ask for.
        """
        target_return = specs.max_return if self.target_return is None else self.target_return
        if target_return is None:
            raise ConfigError("the specs name no return of the data to ask for; set target_return")
        network = DecisionTransformer(
            self.actor,
            specs,
            return_scale=self.return_scale,
            max_episode_steps=self.max_episode_steps,
            normalize=self.normalize_observations,
        )
        actor = TensorDictModule(network, in_keys=list(INPUTS), out_keys=["action"]).to(device)
        loss = DTLoss(actor)
        return Agent(
            loss,
            return_conditioned_policy(actor, target_return=target_return, context_length=self.context_length),
            optimizers={"actor": (list(loss.actor_network_params.parameters()), self.actor_optimizer)},
            max_grad_norm=self.max_grad_norm,
            context_length=self.context_length,
        )
