"""Decision Transformer (Chen et al. 2021, arXiv 2106.01345).

.. math::
    L_\\pi = E[\\, |\\pi(\\hat R_{t-k}, s_{t-k}, a_{t-k}, \\ldots, \\hat R_t, s_t) - a_t|^2 \\,],
    \\qquad \\hat R_t = \\sum_{t' \\geq t} r_{t'}
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from agents.algorithms.common import Agent, AlgorithmConfig, Device, Specs, assemble
from agents.errors import ConfigError, require, require_memory
from agents.networks.configs import FLOAT32, TransformerConfig
from agents.training.adam import WarmUpAdamConfig


@dataclass
class DTConfig(AlgorithmConfig):
    """Decision Transformer with the settings of the authors' code for locomotion; the paper has no Adroit.

    It learns from windows: draw batches from ``dataset.replay_buffer(64, **agent.sampling)``. As in that code and in
    CORL, a window begins at a step drawn uniformly from the data and ends with the episode at the latest; as in CORL,
    padding comes last, where causal attention keeps it out of everything else, and it is no part of the loss.

    Its policy remembers the episode, see :func:`agents.networks.return_conditioned_policy`.

    It differs from that code in three ways: the initialisation is GPT-2's for all weights (CORL's); steps beyond
    ``max_episode_steps`` share an embedding; and padding comes last.
    """

    actions = "continuous"

    target_return: float | None = None  # undiscounted return to ask for; None: the largest of the data's episodes
    return_scale: float = 1000.0  # returns are divided by it before the network sees them, > 0
    context_length: int = 20  # steps of a window, >= 1
    max_episode_steps: int = 1000  # steps of an episode that can be told apart, >= 1
    normalize_observations: bool = field(default=True, kw_only=True)
    max_grad_norm: float | None = field(default=0.25, kw_only=True)
    actor: TransformerConfig = field(default_factory=TransformerConfig)
    actor_optimizer: WarmUpAdamConfig = field(default_factory=lambda: WarmUpAdamConfig(lr=1e-4, weight_decay=1e-4))

    def __post_init__(self) -> None:
        super().__post_init__()
        target = self.target_return
        require(target is None or math.isfinite(target), "target_return", "be finite or null", target)
        require(0.0 < self.return_scale < math.inf, "return_scale", "be positive", self.return_scale)
        for name in ("context_length", "max_episode_steps"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        embeddings = self.max_episode_steps * self.actor.width * FLOAT32
        require_memory(embeddings, "max_episode_steps", self.max_episode_steps)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        """As of every algorithm; a ConfigError too if neither the config nor the specs know a return to ask for."""
        from tensordict.nn import TensorDictModule

        from agents.networks.transformer import INPUTS, DecisionTransformer, return_conditioned_policy
        from agents.objectives.dt import DTLoss
        from agents.training.sampling import Sampling

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
        policy = return_conditioned_policy(actor, target_return=target_return, context_length=self.context_length)
        return assemble(self, loss, policy, sampling=Sampling(context_length=self.context_length))
