"""What ``throughput.py`` compares with: IQL in plain PyTorch, in TorchRL's own way, and d3rlpy's.

All do the work of :class:`agents.IQLConfig` with its defaults: two critics and their targets, a state value and an
actor, each with two hidden layers of 256, batches of 256. The losses are those of IQL (Kostrikov et al. 2021, arXiv
2110.06169).

Shapes: ``N`` rows of the data, ``B`` batch, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchrl.data import Bounded, LazyMemmapStorage, TensorDictReplayBuffer
from torchrl.data.replay_buffers import SamplerWithoutReplacement
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import IQLLoss, SoftUpdate, group_optimizers

EXPECTILE, TEMPERATURE, ADVANTAGE_CLIP = 0.7, 0.5, 100.0
GAMMA, TARGET_TAU, LR = 0.99, 0.005, 3e-4
DECAY_STEPS = 1_000_000  # updates over which the actor's learning rate goes to 0
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
HIDDEN_SIZE, DROPOUT, BATCH_SIZE = 256, 0.1, 256

# Plain PyTorch --------------------------------------------------------------------------------------------------------


def mlp(in_features: int, out_features: int, hidden_size: int, dropout: float = 0.0) -> nn.Sequential:
    def hidden(num_inputs: int) -> list[nn.Module]:
        return [nn.Linear(num_inputs, hidden_size), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]

    return nn.Sequential(*hidden(in_features), *hidden(hidden_size), nn.Linear(hidden_size, out_features))


class PlainIQL:
    """IQL as one file of plain PyTorch has it: no trick for speed, and none against it.

    One thing is chosen for the comparison: all three losses are computed before any parameter is stepped, as ours are,
    where the official code steps V first. The work is the same in either order.
    """

    def __init__(
        self,
        num_observations: int,
        num_actions: int,
        *,
        hidden_size: int = HIDDEN_SIZE,
        dropout: float = DROPOUT,
        decay_steps: int = DECAY_STEPS,
        device: torch.device | str = "cpu",
    ) -> None:
        joint = num_observations + num_actions
        self.critics = nn.ModuleList([mlp(joint, 1, hidden_size) for _ in range(2)]).to(device)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.value = mlp(num_observations, 1, hidden_size).to(device)
        self.actor = mlp(num_observations, num_actions, hidden_size, dropout).to(device)
        self.log_std = nn.Parameter(torch.zeros(num_actions, device=device))

        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), lr=LR)
        self.value_optimizer = torch.optim.Adam(self.value.parameters(), lr=LR)
        self.actor_optimizer = torch.optim.Adam([*self.actor.parameters(), self.log_std], lr=LR)
        self.actor_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.actor_optimizer, T_max=decay_steps)

    def update(
        self, observation: Tensor, action: Tensor, next_observation: Tensor, reward: Tensor, terminated: Tensor
    ) -> dict[str, Tensor]:
        """One step of the three optimizers and of the targets; ``reward`` and ``terminated`` are ``[B, 1]`` float32."""
        losses = self.losses(observation, action, next_observation, reward, terminated)
        optimizers = {
            "loss_value": self.value_optimizer,
            "loss_qvalue": self.critic_optimizer,
            "loss_actor": self.actor_optimizer,
        }
        for name, optimizer in optimizers.items():
            optimizer.zero_grad()
            losses[name].backward()
            optimizer.step()
        self.actor_schedule.step()
        self.update_targets()
        return {name: loss.detach() for name, loss in losses.items()}

    def losses(
        self, observation: Tensor, action: Tensor, next_observation: Tensor, reward: Tensor, terminated: Tensor
    ) -> dict[str, Tensor]:
        joint = torch.cat([observation, action], -1)
        with torch.no_grad():
            target_qvalue = torch.minimum(*(critic(joint) for critic in self.target_critics))  # [B, 1]
            target = reward + GAMMA * (1.0 - terminated) * self.value(next_observation)
        advantage = target_qvalue - self.value(observation)
        loss_value = (torch.abs(EXPECTILE - (advantage < 0).float()) * advantage**2).mean()
        loss_qvalue = sum(F.mse_loss(critic(joint), target) for critic in self.critics)

        mean = torch.tanh(self.actor(observation))
        std = torch.exp(self.log_std.clamp(LOG_STD_MIN, LOG_STD_MAX))
        log_prob = torch.distributions.Normal(mean, std).log_prob(action).sum(-1, keepdim=True)
        weight = torch.exp(TEMPERATURE * advantage.detach()).clamp(max=ADVANTAGE_CLIP)
        loss_actor = -(weight * log_prob).mean()
        return {"loss_actor": loss_actor, "loss_qvalue": loss_qvalue, "loss_value": loss_value}

    @torch.no_grad()
    def update_targets(self) -> None:
        for target, source in zip(self.target_critics.parameters(), self.critics.parameters()):
            target.mul_(1.0 - TARGET_TAU).add_(TARGET_TAU * source)


def plain_sampler(transitions: TensorDictBase) -> Callable[[], list[Tensor]]:
    """Uniform batches of separate tensors, in the order of :meth:`PlainIQL.update`; ``transitions`` is ``[N]``."""
    following = transitions["next"]
    parts = transitions["observation"], transitions["action"], following["observation"], following["reward"]
    tensors = [*(part.clone() for part in parts), following["terminated"].float()]
    device = tensors[0].device

    def sample() -> list[Tensor]:
        index = torch.randint(len(transitions), (BATCH_SIZE,), device=device)
        return [tensor[index] for tensor in tensors]

    return sample


# TorchRL's own way ----------------------------------------------------------------------------------------------------


class TorchRLIQL:
    """IQL as the offline recipe in TorchRL's ``sota-implementations`` puts it together, eager as it is by default.

    Kept from there: the actor is a TanhNormal whose scale depends on the state; the parameters of both critics are
    drawn by the loss module. The temperature is ours, and so is the actor's dropout: the work is to be the same.
    """

    def __init__(
        self,
        num_observations: int,
        num_actions: int,
        *,
        hidden_size: int = HIDDEN_SIZE,
        dropout: float = DROPOUT,
        device: torch.device | str = "cpu",
    ) -> None:
        layers = {"num_cells": [hidden_size, hidden_size], "activation_class": nn.ReLU, "device": device}
        action = Bounded(-1.0, 1.0, (num_actions,), device=device)
        self.actor = ProbabilisticActor(
            TensorDictModule(
                nn.Sequential(
                    MLP(in_features=num_observations, out_features=2 * num_actions, dropout=dropout or None, **layers),
                    NormalParamExtractor(scale_mapping="biased_softplus_1.0", scale_lb=0.1),
                ),
                in_keys=["observation"],
                out_keys=["loc", "scale"],
            ),
            in_keys=["loc", "scale"],
            spec=action,
            distribution_class=TanhNormal,
            distribution_kwargs={"low": action.space.low, "high": action.space.high, "tanh_loc": False},
        )
        self.qvalue = ValueOperator(
            MLP(in_features=num_observations + num_actions, out_features=1, **layers),
            in_keys=["observation", "action"],
            out_keys=["state_action_value"],
        )
        self.value = ValueOperator(
            MLP(in_features=num_observations, out_features=1, **layers),
            in_keys=["observation"],
            out_keys=["state_value"],
        )
        self.loss_module = IQLLoss(
            self.actor,
            self.qvalue,
            value_network=self.value,
            loss_function="l2",
            temperature=TEMPERATURE,
            expectile=EXPECTILE,
        )
        self.loss_module.make_value_estimator(gamma=GAMMA, device=device)
        self.target_net_updater = SoftUpdate(self.loss_module, tau=TARGET_TAU)
        networks = "actor_network_params", "qvalue_network_params", "value_network_params"
        groups = [getattr(self.loss_module, network).flatten_keys().values() for network in networks]
        self.optimizer = group_optimizers(*(torch.optim.Adam(list(group), lr=LR) for group in groups))

    def update(self, batch: TensorDictBase) -> TensorDictBase:
        """One step on the sum of the losses and of the targets; the batch needs ``next.done`` too."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self.loss_module(batch)
        (losses["loss_actor"] + losses["loss_value"] + losses["loss_qvalue"]).backward()
        self.optimizer.step()
        self.target_net_updater.step()
        return losses.detach()


def torchrl_sampler(transitions: TensorDictBase, device: torch.device | str) -> Callable[[], TensorDictBase]:
    """That recipe's replay buffer: memory-mapped, every row once per epoch, four batches drawn ahead by threads."""
    buffer = TensorDictReplayBuffer(
        storage=LazyMemmapStorage(len(transitions)),
        sampler=SamplerWithoutReplacement(drop_last=True),
        prefetch=4,
        batch_size=BATCH_SIZE,
    )
    transitions = transitions.clone().cpu()
    transitions["next", "done"] = transitions["next", "terminated"].clone()
    buffer.extend(transitions)
    return lambda: buffer.sample().to(device)


# d3rlpy ---------------------------------------------------------------------------------------------------------------


def d3rlpy_update(transitions: TensorDictBase, device: torch.device | str) -> Callable[[], Any]:
    """Sampling and one update of d3rlpy's IQL.

    Raises:
        ImportError: d3rlpy is not installed.
    """
    import d3rlpy
    from d3rlpy.models import VectorEncoderFactory

    arrays = {key: value.cpu().numpy() for key, value in TensorDict(transitions).flatten_keys(".").items()}
    terminals = arrays["next.terminated"][:, 0].astype(np.float32)
    timeouts = np.zeros_like(terminals)
    timeouts[199::200] = 1.0 - terminals[199::200]  # Adroit's episodes: a step ends them in one way or the other
    dataset = d3rlpy.dataset.MDPDataset(
        arrays["observation"], arrays["action"], arrays["next.reward"], terminals, timeouts
    )
    layers = [HIDDEN_SIZE, HIDDEN_SIZE]
    algorithm = d3rlpy.algos.IQLConfig(
        actor_encoder_factory=VectorEncoderFactory(layers, dropout_rate=DROPOUT),
        critic_encoder_factory=VectorEncoderFactory(layers),
        value_encoder_factory=VectorEncoderFactory(layers),
        batch_size=BATCH_SIZE,
        expectile=EXPECTILE,
        weight_temp=TEMPERATURE,
    ).create(device=str(device))
    algorithm.build_with_dataset(dataset)
    return lambda: algorithm.update(dataset.sample_transition_batch(BATCH_SIZE))
