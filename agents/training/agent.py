"""Agent: a loss, its optimizer, learning-rate schedules and target networks behind one ``update(batch)``.

The agent knows no dataset, logger or step budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.objectives import LossModule

from agents.errors import ConfigError
from agents.training.adam import AdamConfig
from agents.training.checks import check_loss, check_policy
from agents.training.compilation import Compilation, LossAndGradients, loss_names
from agents.training.sampling import Sampling
from agents.training.settings import check_update
from agents.training.torch_optimizers import tensors_of
from agents.training.update_rule import ForeachSoftUpdate, UpdateRule, check_finite


class Agent:
    """Owns everything that an update changes.

    Args:
        loss_module: any TorchRL LossModule; every output called ``loss_*``, or ``loss`` alone, is minimised, the rest
            are statistics. What it makes late, such as a value estimator, it makes here.
        policy: ``observation -> action``, deterministic, sharing the loss module's parameters; what is evaluated and
            deployed.
        optimizers: parameters and Adam settings per group name, as in ``learning_rates``.
        target_tau: Polyak step of the target networks in (0, 1]; None when the loss has none.
        target_every: the target networks move at every n-th update, >= 1.
        max_grad_norm: largest global gradient norm; None means no clipping.
        sampling: what to draw from the data, beside the entries that the loss module names in its ``in_keys``.
        loss_weights: the outputs to minimise, and the factor of each in their sum, where that is not every loss once:
            TorchRL's CQLLoss, say, returns ``loss_actor_bc`` as an alternative to ``loss_actor``.

    Raises:
        ConfigError: if a setting is out of range or a trained parameter is in no group.
    """

    def __init__(
        self,
        loss_module: LossModule,
        policy: TensorDictModule,
        *,
        optimizers: Mapping[str, tuple[Iterable[nn.Parameter], AdamConfig]],
        target_tau: float | None = None,
        target_every: int = 1,
        max_grad_norm: float | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008  # frozen
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        check_update(target_tau=target_tau, target_every=target_every, max_grad_norm=max_grad_norm)
        _make_what_comes_late(loss_module)
        self.loss_module = loss_module
        self.policy = policy
        self.loss_weights = loss_weights
        self.sampling = sampling.including(getattr(loss_module, "in_keys", ()))
        self.rule = UpdateRule(
            {name: ([*parameters], config) for name, (parameters, config) in optimizers.items()},
            evaluation=lambda _, parameters: LossAndGradients(loss_module, parameters, loss_weights=loss_weights),
            target_net_updater=None if target_tau is None else ForeachSoftUpdate(loss_module, tau=target_tau),
            target_every=target_every,
            max_grad_norm=max_grad_norm,
        )
        _check_owners(loss_module, self.rule.parameters)

    @property
    def device(self) -> torch.device:
        return self.rule.device

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What :meth:`update` steps with, for a scheduler of torch's or a loop of one's own."""
        return self.rule.optimizer

    @property
    def num_updates(self) -> int:
        return self.rule.num_updates

    @property
    def learning_rates(self) -> dict[str, float]:
        """The rates that the last update used, by ``lr_<group>``."""
        rates = self.rule.rates(max(self.num_updates - 1, 0))
        return {f"lr_{name}": rate for name, rate in zip(self.rule.groups, rates)}

    def update(self, batch: TensorDictBase) -> TensorDict:
        """One gradient step on every loss, then one step of the target networks.

        Args:
            batch: transitions on the agent's device: ``observation [B, O]``, ``action [B, A]`` and, under ``next``,
                ``observation``, ``reward [B, 1]`` and ``terminated [B, 1]``; ``sampling`` says what else, and
                whether in windows ``[B, K]``. TorchRL's losses leave ``td_error [B]`` in it, for a sampler.

        Returns:
            Detached scalars: the losses, the loss module's statistics and, when clipping, ``grad_norm``.

        Raises:
            NonFiniteLossError: on CPU, before any parameter changes. On a GPU the check would wait for the device at
                every update: call :meth:`check_finite` on what is logged and before saving.
        """
        return self.rule.update(batch)

    def check_finite(self, losses: TensorDictBase) -> None:
        """Refuse NaN or infinity among the losses that the last update minimised, with a NonFiniteLossError."""
        check_finite(losses, step=self.num_updates, names=loss_names(losses.keys(), self.loss_weights))

    def compile(self, batch: TensorDictBase, mode: str = "auto", *, dtype: torch.dtype = torch.float32) -> Compilation:
        """Make updates on batches of these shapes faster, with the same results up to rounding.

        Later changes of the loss module's attributes go unnoticed, but for its training mode, parameters and buffers:
        compile again after one. Batches of other shapes take the eager way. Nothing is learnt from the batch, and no
        random number is drawn.

        Args:
            mode: ``off``: eager; ``trace``: the recorded operations as they are; ``inductor``: the same, compiled to
                machine code, for which it needs a C++ compiler (on a GPU, Triton); ``auto``: by measurement, the most
                compiled of those that are about as fast.
            dtype: of the products in the networks (``torch.autocast``), float32 or bfloat16; parameters and gradients
                stay float32.

        Raises:
            ConfigError: ``mode`` is unknown or, unless it is ``auto``, cannot be had.
        """
        return self.rule.compile(batch, mode, dtype=dtype)

    def check(self, batch: TensorDictBase) -> None:
        """Refuse a loss or a policy that cannot do with such batches, before time is spent on training.

        One evaluation of each: nothing is learnt, and no random number is drawn.

        Raises:
            ConfigError: naming what is missing, or what fails and where.
        """
        check_loss(self.rule.function(self.rule.most_due), batch)
        check_policy(self.policy, batch)

    def __deepcopy__(self, memo: dict[int, Any]) -> Agent:
        # its optimizer would go on with parameters that the copy's networks have not
        raise ConfigError("an agent cannot be copied: build another one, and load the state_dict() of this one into it")

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on, as a nested dictionary of tensors and the number of updates."""
        moments = self.rule.optimizer.state
        return {
            "loss_module": self.loss_module.state_dict(),
            "optimizer": {str(i): tensors_of(moments.get(p, {})) for i, p in enumerate(self.rule.parameters)},
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; the tensors are copied.

        Raises:
            ValueError: if the names or shapes of the parameters are others; nothing is loaded then.
        """
        there, here = _shapes(state["loss_module"]), _shapes(self.loss_module.state_dict())
        for name in sorted(there.keys() | here.keys()):  # a LossModule would broadcast, and overlook a missing one
            if there.get(name) != here.get(name):
                raise ValueError(f"the shape of {name} is {there.get(name)} there, {here.get(name)} here")
        self.loss_module.load_state_dict(state["loss_module"])
        self.rule.optimizer.state.clear()
        for i, parameter in enumerate(self.rule.parameters):
            if moments := state["optimizer"].get(str(i)):  # empty, if the parameter had not yet taken a step
                beside = {name: value.to(parameter.device, copy=True) for name, value in moments.items()}
                self.rule.optimizer.state[parameter] = beside  # where the fused kernel wants it
        self.rule.count(int(state["num_updates"]))


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}


def _make_what_comes_late(loss_module: LossModule) -> None:
    """TorchRL's value estimators and entropy targets have buffers, and come with the first use."""
    if getattr(loss_module, "default_value_estimator", None) is not None:
        loss_module.value_estimator  # noqa: B018
    getattr(loss_module, "target_entropy", None)


def _check_owners(loss_module: LossModule, owned: Iterable[nn.Parameter]) -> None:
    ids = {id(parameter) for parameter in owned}
    missing = [name for name, p in loss_module.named_parameters() if p.requires_grad and id(p) not in ids]
    if missing:
        raise ConfigError(f"no optimizer trains {', '.join(missing)}: put each parameter of the loss into a group")
