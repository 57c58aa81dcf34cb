"""Behaviour cloning with a diffusion model: Diffusion Policy (Chi et al. 2023, arXiv 2303.04137) of single actions.

.. math::
    L_\\pi = E[\\, |\\epsilon - \\epsilon_\\theta(\\sqrt{\\bar\\alpha_t}\\, a + \\sqrt{1 - \\bar\\alpha_t}\\, \\epsilon,
             s, t)|^2 \\,], \\qquad \\epsilon \\sim N(0, 1), \\quad t \\sim U\\{1 \\ldots T\\}
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from agents.algorithms.common import Agent, AlgorithmConfig, Device, Specs, assemble
from agents.networks.configs import DiffusionActorConfig
from agents.training.adam import AdamConfig


@dataclass
class DiffusionBCConfig(AlgorithmConfig):
    """Behaviour cloning with the diffusion model of Diffusion-QL (Wang et al. 2022, arXiv 2208.06193) and its settings.

    Unlike a Gaussian, the model clones data in which people did one thing or another, and nothing in between, as such.
    The policy is deterministic; :class:`agents.networks.DiffusionActor` says how, and what a ``noise_scale`` does.

    It differs from the code of Diffusion-QL in two ways: the learning rate is the one that it has on most tasks, where
    it has 3e-5 on pen, for 1,000,000 updates; and an action is made of no noise, where it draws some.

    It differs from Diffusion Policy in three ways: one action instead of a sequence of them, no running average of the
    parameters, and 5 diffusion steps instead of 100, with the schedule of Diffusion-QL, made for so few.
    """

    actions = "continuous"

    actor: DiffusionActorConfig = field(default_factory=DiffusionActorConfig)
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from torchrl.objectives import DiffusionBCLoss

        from agents.networks.diffusion import diffusion_policy

        actor = self.actor.build(specs, normalize=self.normalize_observations).to(device)
        with warnings.catch_warnings():  # as TorchRL's BCLoss does
            warnings.filterwarnings("ignore", message="The name target_actor_network_params")
            loss = DiffusionBCLoss(actor)
        return assemble(self, loss, diffusion_policy(actor))
