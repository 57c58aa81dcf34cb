"""A policy that makes an action out of noise, step by step: a denoising diffusion model of the data's actions.

Inside, actions are measured in halves of their range from its centre, so that they lie in +-1.

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``T`` diffusion steps, ``K`` candidates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from tensordict.nn import TensorDictModule
from torch import Generator, Tensor, nn

from agents.data.specs import Specs
from agents.networks.bounds import BoundedNetwork, divisor
from agents.networks.layers import ACTIVATIONS, normalizer
from agents.networks.policies import sharing_tensors

if TYPE_CHECKING:
    from agents.networks.configs import DiffusionActorConfig, MLPConfig

TIME_FEATURES = 16  # that a denoiser sees of t
BETA_MIN, BETA_MAX = 0.1, 10.0  # of the noise schedule, per unit of diffusion time


class DiffusionActor(BoundedNetwork):
    r"""Adds noise to actions, and takes it away again.

    .. math::
        x_t &= \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad
        \hat x_0 = \mathrm{clip}\Bigl(\frac{x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon_\theta(x_t, s, t)}
                   {\sqrt{\bar\alpha_t}}, -1, 1\Bigr) \\
        x_{t-1} &= \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t} \hat x_0
                 + \frac{\sqrt{\alpha_t}\, (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t} x_t
                 + \sqrt{\frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t} \beta_t}\; z_t

    (DDPM, Ho et al. 2020, arXiv 2006.11239, eqs. 4, 7 and 12.) The schedule is the one of Diffusion-QL (Wang et al.
    2022, arXiv 2208.06193), which ends in noise alone whatever T is:

    .. math:: \alpha_t = \exp(-\beta_{min} / T - (\beta_{max} - \beta_{min}) (2 t - 1) / (2 T^2)), \quad t = 1 \ldots T

    :class:`torchrl.modules.DiffusionActor` leaves 0.36 of the variance to the data at the end of its 100 steps, knows
    no bounds, and gives its network t as a plain number.

    The policy is a function of the observation. By default it begins at zero and adds no noise, as TorchRL's does in
    deterministic mode. With a ``noise_scale`` it uses one draw of noise for every state, which breaks the tie between
    two ways to act, but pushes all actions to the same side. (demo/pen/mixed-v0, scaled observations, SiLU, 10,000
    updates, 20 episodes: D4RL score 44 without noise, 36 with fresh noise at every step, 6, -3 and 16 with three fixed
    samples.)
    """

    alphas_cumprod: Tensor  # [T], as the three after it
    weight_of_clean: Tensor
    weight_of_noisy: Tensor
    posterior_std: Tensor
    noise: Tensor  # [T, A]

    def __init__(self, config: DiffusionActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__(specs)
        self.num_steps = config.num_steps
        self.score_network = Denoiser(config, specs, normalize)
        steps = torch.arange(1, self.num_steps + 1, dtype=torch.float64) / self.num_steps
        alphas = torch.exp(-(BETA_MIN + (BETA_MAX - BETA_MIN) * (steps - 0.5 / self.num_steps)) / self.num_steps)  # [T]
        signal = alphas.cumprod(0)  # its share of the variance
        signal_before, betas = torch.cat([torch.ones(1, dtype=torch.float64), signal[:-1]]), 1.0 - alphas
        schedule = {
            "alphas_cumprod": signal,
            "weight_of_clean": signal_before.sqrt() * betas / (1.0 - signal),
            "weight_of_noisy": alphas.sqrt() * (1.0 - signal_before) / (1.0 - signal),
            "posterior_std": ((1.0 - signal_before) / (1.0 - signal) * betas).sqrt(),
        }
        for name, values in schedule.items():
            self.register_buffer(name, values.float())
        noise = torch.randn(self.num_steps, *specs.action.shape, generator=Generator().manual_seed(0))
        self.register_buffer("noise", config.noise_scale * noise)  # [T, A]

    def add_noise(self, clean_action: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``x_t`` of the data's actions and the noise in it, ``[B, A], [B] -> [B, A], [B, A]``.

        Args:
            t: diffusion steps, counted from 0.
        """
        clean = (clean_action - self.action_center) / divisor(self.action_half_range)
        noise, signal = torch.randn_like(clean), self.alphas_cumprod[t].unsqueeze(-1)
        return signal.sqrt() * clean + (1.0 - signal).sqrt() * noise, noise

    def forward(self, observation: Tensor) -> Tensor:
        """``[B, O] -> [B, A]``, inside the action bounds."""
        return self.draw(observation, self.noise[None]).squeeze(-2)

    def draw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Actions out of standard normal ``noise [K, T, A]``, inside the bounds, ``[B, K, A]``."""
        size = (observation.shape[0], len(noise))  # len() of a tensor would fix the batch in an export
        observation = observation[:, None].expand(*size, -1)
        first, *others = noise.unbind(1)  # [K, A] each
        noisy = first.expand(*size, -1)  # [B, K, A]
        for t in reversed(range(self.num_steps)):
            clean = self._denoise(noisy, observation, t)
            noisy = self.weight_of_clean[t] * clean + self.weight_of_noisy[t] * noisy
            if t > 0:
                noisy = noisy + self.posterior_std[t] * others[t - 1]
        return self.action_center + self.action_half_range * noisy

    def _denoise(self, noisy: Tensor, observation: Tensor, t: int) -> Tensor:
        noise = self.score_network(torch.cat([noisy, observation, noisy.new_full((*noisy.shape[:-1], 1), t)], -1))
        signal = self.alphas_cumprod[t]
        return ((noisy - (1.0 - signal).sqrt() * noise) / signal.sqrt()).clamp(-1.0, 1.0)


class Denoiser(nn.Module):
    """The noise in an action, ``[..., A + O + 1] -> [..., A]``: noisy action, observation and t lie side by side.

    t enters as sines and cosines of it, through a small perceptron, as in Diffusion-QL.
    """

    frequencies: Tensor  # [TIME_FEATURES / 2]

    def __init__(self, config: MLPConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        num_observations, num_actions = specs.observation.shape[-1], specs.action.shape[-1]
        self.sizes = (num_actions, num_observations, 1)
        self.normalizer = nn.Sequential(*normalizer(specs, normalize))
        half = TIME_FEATURES // 2
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * torch.arange(half) / (half - 1)))
        self.embed_time = nn.Sequential(
            nn.Linear(TIME_FEATURES, 2 * TIME_FEATURES),
            ACTIVATIONS[config.activation](),
            nn.Linear(2 * TIME_FEATURES, TIME_FEATURES),
        )
        self.layers = config.layers(num_actions + num_observations + TIME_FEATURES, num_actions)

    def forward(self, joint: Tensor) -> Tensor:
        noisy, observation, t = joint.split(self.sizes, -1)
        angles = t * self.frequencies
        time = self.embed_time(torch.cat([angles.sin(), angles.cos()], -1))
        return self.layers(torch.cat([noisy, self.normalizer(observation), time], -1))


def diffusion_policy(actor: TensorDictModule) -> TensorDictModule:
    """``observation [B, O] -> action [B, A]``, in eval mode, sharing the actor's tensors."""
    return TensorDictModule(sharing_tensors(actor.module), in_keys=["observation"], out_keys=["action"]).eval()
