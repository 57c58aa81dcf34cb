"""An agent's losses on steps that it does not learn from, and how well its policy tells their actions.

Legend: ``B`` steps, ``K`` steps of a window, ``A`` action.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn
from torchrl.envs.utils import ExplorationType, set_exploration_type

from agents.data.dataset import OfflineDataset
from agents.data.rewards import LearnerRewards
from agents.data.specs import Specs
from agents.networks.bounds import action_bounds
from agents.networks.diffusion import DiffusionActor
from agents.training.agent import Agent
from agents.training.compilation import LossAndGradients
from agents.training.sampling import Sampling
from agents.training.stack import modules_in
from agents.training.values import networks_of

SPACING = 4  # of the steps that are shown to a policy whose every action takes several passes through its network
SEED = 0  # of the noise in a loss: the same at every look, so that curves show the agent and not the draw


def held_out_steps(
    dataset: OfflineDataset, sampling: Sampling, num_steps: int, *, rewards: LearnerRewards | None = None
) -> TensorDictBase:
    """Steps ``[B]``, or windows ``[B, K]``, of held-out episodes, as an agent draws those that it learns from.

    Args:
        dataset: the second part of :meth:`~agents.OfflineDataset.split`.
        num_steps: at most; they are evenly spaced over all that could be drawn.
        rewards: of ``dataset``, scaled as those that the agent learns from.

    Raises:
        DataError: nothing can be drawn from these episodes.
    """
    buffer = dataset.replay_buffer(1, rewards=rewards, **sampling)
    places = torch.linspace(0, len(buffer) - 1, min(num_steps, len(buffer)), dtype=torch.float64).round().long()
    return buffer[places]


class HeldOut:
    """The same held-out steps at every look, and what an agent makes of them.

    To look changes nothing: neither the agent, nor any random generator, nor the mode that its networks are in.

    Args:
        specs: of the data that the agent was built for.
        batch: see :func:`held_out_steps`; on the agent's device.
    """

    def __init__(self, agent: Agent, specs: Specs, batch: TensorDictBase) -> None:
        self.batch = batch
        self._losses = LossAndGradients(agent.loss_module, [], loss_weights=agent.loss_weights)
        self._policy = agent.policy
        iterates = isinstance(getattr(agent.policy, "module", None), DiffusionActor)
        self._shown: Any = batch[::SPACING] if iterates else batch  # to the policy
        actors = networks_of(agent.loss_module, "actor_network")
        self._actor: Any = actors[0] if actors else None
        self._modules = [*modules_in(agent.loss_module, set()), *modules_in(agent.policy, set())]
        self._range: Tensor | None = None  # of actions, [A]; None: they are indices
        if not specs.discrete:
            low, high = action_bounds(specs.action)
            self._range = (high - low).to(agent.device)

    def measure(self) -> dict[str, float]:
        """The losses that are minimised, by their names, and of the policy as far as they can be told:

        * ``log_prob``: log-likelihood of the held-out actions, mean, in nats;
        * ``action_error``: distance of the policy's action from the held-out one, in shares of the range of actions,
          mean over dimensions and steps;
        * ``accuracy``: share of the steps at which the policy takes the held-out action, where those are discrete.

        A policy that searches when it acts is measured by the actor that it draws from, one that looks back by its
        network on windows, and one that takes several passes for an action on a fourth of the steps.
        """
        exploration = set_exploration_type(ExplorationType.DETERMINISTIC)
        with self._losses.undone(), in_eval_mode(self._modules), exploration:
            torch.manual_seed(SEED)
            outputs, _ = self._losses.eager(self.batch)
            with torch.no_grad():
                values = {name: outputs[name] for name in self._losses.minimised(outputs)} | self._of_policy(outputs)
        return dict(zip(values, torch.stack([value.float() for value in values.values()]).tolist()))

    def _of_policy(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        if (log_prob := self._log_prob(outputs)) is not None:
            values["log_prob"] = log_prob
        action, data = self._action(), self._shown["action"]
        if action is None or action.shape != data.shape:
            return values
        if self._range is None:
            same = action == data  # [B], or [B, K] of actions with parts
            values["accuracy"] = self._mean(same.all(-1) if same.ndim > self.batch.batch_dims else same)
        elif (free := self._range > 0).any():  # a dimension that is locked has no error
            values["action_error"] = self._mean(((action - data).abs() / self._range)[..., free].mean(-1))
        return values

    def _log_prob(self, outputs: dict[str, Tensor]) -> Tensor | None:
        if "log_prob" in outputs:
            return outputs["log_prob"]
        if hasattr(self._actor, "get_dist"):
            return self._mean(self._actor.get_dist(self.batch.copy()).log_prob(self.batch["action"]))
        if self._range is None and "loss_bc" in outputs:  # of logits alone
            return -outputs["loss_bc"]
        return None

    def _action(self) -> Tensor | None:
        """The policy's actions, ``[B, A]`` or ``[B, K, A]``; None where they need more than the batch holds."""
        if [*self._policy.in_keys] == ["observation"] and self.batch.batch_dims == 1:
            return self._policy(self._shown.select("observation"))["action"]
        if self._actor is None or not {*self._actor.in_keys} <= {*self.batch.keys()}:
            return None
        if hasattr(self._actor, "get_dist"):
            return self._actor.get_dist(self.batch.copy()).deterministic_sample
        return self._actor(self.batch.copy())["action"]

    def _mean(self, values: Tensor) -> Tensor:
        """Over the steps, ``[B]`` or, without padding, ``[B, K]``."""
        mask = self.batch.get("mask", None)
        return values.float().mean() if mask is None else values[mask].float().mean()


@contextmanager
def in_eval_mode(modules: list[nn.Module]) -> Iterator[None]:
    """Modules without dropout for a while, those too that a loss hides from its ``eval``."""
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, training in zip(modules, before):
            module.training = training
