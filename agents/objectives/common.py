"""The set-up that losses share: their keys and fields, and networks evaluated on a batch that is left as it was.

Shapes: ``B`` batch, ``A`` action, ``N`` critics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import TensorDictModule, dispatch
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torch.distributions import Distribution
from torchrl.modules.distributions.utils import rsample_and_log_prob
from torchrl.objectives import LossModule, ValueEstimators

from agents.errors import ConfigError
from agents.objectives.settings import check_gamma

if TYPE_CHECKING:
    from typing_extensions import Self

NOTHING: Mapping[NestedKey, Tensor] = MappingProxyType({})


@dataclass
class TransitionKeys(LossModule._AcceptedKeys):
    """Where a batch holds what a step consists of, the three from ``reward`` on under ``next``, and a step's weight."""

    action: NestedKey = "action"
    reward: NestedKey = "reward"
    terminated: NestedKey = "terminated"
    done: NestedKey = "done"  # not read: TorchRL's trainers name it to every loss
    priority_weight: NestedKey = "priority_weight"


@dataclass
class CriticKeys(TransitionKeys):
    """The same, and where a critic writes its value."""

    state_action_value: NestedKey = "state_action_value"


class NetworkModes(nn.Module):
    """A loss whose ``train`` and ``eval`` reach its networks.

    ``convert_to_functional`` hides these from their loss: one that is held out would have dropout.
    """

    def train(self, mode: bool = True) -> Self:
        for network in vars(self).values():
            if isinstance(network, nn.Module):
                network.train(mode)
        return super().train(mode)


class CriticLoss(NetworkModes, LossModule):
    """A loss of an ensemble of critics: its fields, and its call, which is about the shape of batches.

    A batch has any shape, ``[B]`` or ``[B, T]``: a subclass evaluates its rows. Left out are those where the mask that
    TorchRL's collectors and samplers write is false (see ``loss_mask_key``), and losses are averaged with the weights
    that a prioritised buffer gives to transitions (``priority_weight``).

    Attributes:
        reduction: ``mean``; ``sum``; or ``none`` for losses in the shape of the batch, 0 where a row is left out.
            Statistics are means.
    """

    default_value_estimator = ValueEstimators.TD0

    tensor_keys: Any  # pyright: ignore[reportIncompatibleMethodOverride]  # TorchRL's property, of a type for each loss
    reduction: str = "mean"
    gamma: float
    qvalue_network: TensorDictModule
    qvalue_network_params: TensorDictParams
    target_qvalue_network_params: TensorDictParams

    @dispatch()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        every_row = tensordict.reshape(-1) if tensordict.batch_dims > 1 else tensordict
        mask = self._mask(every_row)
        rows = every_row if mask is None else every_row[mask]
        losses = self._evaluate(rows) if rows.shape[0] else self._evaluate_nothing(every_row)
        if self.reduction == "mean":
            return losses
        weight = self._weight(rows)
        for name in [name for name in map(str, losses.keys()) if name.startswith("loss_")]:
            loss = losses.get(name)
            if self.reduction == "sum":
                losses.set(name, loss * (rows.numel() if weight is None else weight.sum()))
                continue
            loss = loss if weight is None else loss * weight
            loss = loss if mask is None else loss.new_zeros(mask.shape).masked_scatter(mask, loss)
            losses.set(name, loss.reshape(tensordict.batch_size))
        return losses

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        """The losses, each by :meth:`_mean`, and statistics of a batch ``[B]``."""
        raise NotImplementedError

    def _evaluate_nothing(self, masked: TensorDictBase) -> TensorDict:
        """Zeros, as in TorchRL, with gradients of 0, where a mask leaves no row: the mean of nothing is NaN."""
        row = masked.exclude(self.tensor_keys.priority_weight)[0:1].clone().zero_()
        return self._evaluate(row) * 0.0

    def _mean(self, loss: Tensor, rows: TensorDictBase) -> Tensor:
        """The (weighted) mean of a loss per row ``[B]``; the loss per row itself where nothing is to be reduced."""
        if self.reduction == "none":
            return loss
        weight = self._weight(rows)
        return loss.mean() if weight is None else (weight * loss).sum() / weight.sum()

    def _mask(self, rows: TensorDictBase) -> Tensor | None:
        kept = None
        for key in self._loss_mask_keys():
            mask = rows.get(key, None)
            if mask is not None:
                kept = mask.reshape(-1) if kept is None else kept & mask.reshape(-1)
        return kept

    def _weight(self, rows: TensorDictBase) -> Tensor | None:
        weight = rows.get(self.tensor_keys.priority_weight, None)
        return None if weight is None else weight.reshape(-1)

    def make_value_estimator(  # pyright: ignore[reportIncompatibleMethodOverride]  # of all settings, only the discount
        self, value_type: ValueEstimators | None = None, *, gamma: float | None = None, device: Any = None
    ) -> CriticLoss:
        """TorchRL's way to set the discount; the estimate is the one of the loss's equations, ``TD0``."""
        if value_type not in (None, ValueEstimators.TD0):
            raise ConfigError(f"{type(self).__name__} estimates values by ValueEstimators.TD0 only, got {value_type}")
        if gamma is not None:
            check_gamma(float(gamma))
            self.gamma = float(gamma)
        self.value_type = ValueEstimators.TD0
        return self


class ActorCriticLoss(CriticLoss):
    """The fields of a loss of an actor and an ensemble of critics."""

    _AcceptedKeys = CriticKeys
    default_keys = CriticKeys
    tensor_keys: CriticKeys

    actor_network: Any  # a TensorDictModule, with get_dist where actions are drawn
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        networks = (self.actor_network, self.qvalue_network)
        return transition_keys(self.tensor_keys, networks, networks)


def transition_keys(
    keys: TransitionKeys,
    networks: Sequence[TensorDictModule],
    next_networks: Sequence[TensorDictModule],
    *next_keys: NestedKey,
) -> list[NestedKey]:
    """The ``in_keys`` of a loss: what its networks read at a step and the next one, and the rest of the transition."""
    now, following = (
        [key for key in dict.fromkeys(key for network in group for key in network.in_keys) if key != keys.action]
        for group in (networks, next_networks)
    )
    return [*now, keys.action, *(("next", key) for key in (*following, *next_keys, keys.reward, keys.terminated))]


def output(
    network: TensorDictModule,
    tensordict: TensorDictBase,
    key: NestedKey,
    replacements: Mapping[NestedKey, Tensor] = NOTHING,
) -> Tensor:
    """One output of a network, with ``replacements`` of some inputs: of a critic's action by the policy's, say."""
    if type(network) is TensorDictModule and network.out_keys == [key]:
        # what a TensorDictModule adds to write into a TensorDict costs a quarter of the product inside
        inputs = (replacements[k] if k in replacements else tensordict.get(k) for k in network.in_keys)
        return network.module(*inputs)
    return network(tensordict.copy().update(dict(replacements))).get(key)


def critic_values(
    loss: ActorCriticLoss, params: TensorDictBase, tensordict: TensorDictBase, action: Tensor | None = None
) -> Tensor:
    """Q of the batch's actions, or of others, by these parameters of the loss's critics, ``[B, N]``."""
    keys = loss.tensor_keys
    with params.to_module(loss.qvalue_network, preserve_module_state=False):
        replacements = NOTHING if action is None else {keys.action: action}
        return output(loss.qvalue_network, tensordict, keys.state_action_value, replacements)


def distribution(loss: Any, tensordict: TensorDictBase, *, repeats: int = 1) -> Distribution:
    """The distribution over actions of the loss's actor, ``[B]``.

    With ``repeats`` it is ``[B * repeats]``, each row's as often, one after the other, of one pass through the network.
    """
    actor = loss.actor_network
    network = actor[0]
    with loss.actor_network_params.to_module(actor, preserve_module_state=False):
        if len(actor) == 2 and type(network) is TensorDictModule:  # as above
            outputs = network.module(*(tensordict.get(in_key) for in_key in network.in_keys))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            rows = TensorDict(dict(zip(network.out_keys, outputs)), tensordict.batch_size)
            return actor[-1].get_dist(_repeated(rows, repeats))
        return actor.get_dist(_repeated(tensordict.copy(), repeats))


def _repeated(rows: TensorDictBase, repeats: int) -> TensorDictBase:
    return rows if repeats == 1 else rows.repeat_interleave(repeats, dim=0)


def drawn_actions(loss: Any, tensordict: TensorDictBase, sample_shape: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Actions of the loss's actor, clipped to the bounds that it holds, and their log-likelihoods as they were drawn.

    ``[*, B, A]`` and ``[*, B]``: an unsquashed Normal knows no bounds, and the critics know nothing beyond them.
    """
    action, log_prob = rsample_and_log_prob(distribution(loss, tensordict), sample_shape)
    return action.clamp(loss.action_low, loss.action_high), log_prob


def target_per_critic(target: Tensor, qvalues: Tensor) -> Tensor:
    """What all critics are to give, ``[B] -> [B, N]``.

    Raises:
        ConfigError: if the batch holds other rewards than it has rows: one broadcast over the other would be no error.
    """
    if target.shape != qvalues.shape[:-1]:
        raise ConfigError(
            f"critics gave values {[*qvalues.shape]} for targets {[*target.shape]}; is batch_size of the batch the "
            "shape that its rewards have, less the last dimension?"
        )
    return target[..., None].expand_as(qvalues)


def bellman_target(loss: CriticLoss, tensordict: TensorDictBase, next_value: Tensor) -> Tensor:
    r"""The value that a critic is to give the data's actions, ``[B]``, of V(s') ``[B]``.

    .. math:: y = r + \gamma^n (1 - \mathrm{terminated}) V(s')

    n is 1, or the batch's ``steps_to_next_obs [B, 1]``, as TorchRL's ``MultiStep`` writes and its losses read it.
    """
    keys, following = loss.tensor_keys, tensordict.get("next")
    steps = tensordict.get("steps_to_next_obs", None)
    discount = loss.gamma if steps is None else loss.gamma ** steps.squeeze(-1)
    # a truncated episode goes on in truth: only termination ends the sum of rewards
    bootstrap = ~following.get(keys.terminated).bool().squeeze(-1)
    return following.get(keys.reward).squeeze(-1) + discount * bootstrap * next_value
