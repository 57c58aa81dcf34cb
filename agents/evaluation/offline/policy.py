"""A policy as estimators see it: what it does, and how likely, in many states at once.

Shapes: ``B`` batch, ``O`` observation, ``A`` action (where actions are discrete: how many there are); of a discrete
action with parts, ``K`` parts and ``M`` values of the part with the most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent
from torchrl.data import MultiCategorical
from torchrl.modules.distributions import IndependentNormal

from agents.data.specs import Specs
from agents.errors import ConfigError
from agents.networks.actors import BoundedTanhNormal, NormalActor, TanhNormalActor
from agents.networks.critics import ActionValueEnsemble
from agents.networks.factored import FactoredCategorical
from agents.networks.policies import DeterministicPolicy, GreedyPolicy, LimitedPolicy, ModePolicy
from agents.networks.search import SearchingPolicy
from agents.training.generators import drawing_from

CHUNK = 8192  # observations that a network sees at once


@dataclass(frozen=True, eq=False)
class Policy:
    """A policy without memory.

    What it does, inside the limits of the specs: ``act [B, O] -> [B, A]``, of discrete actions ``[B]``, or ``[B, K]``
    of parts.
    """

    name: str
    specs: Specs  # of the data that it was made for
    act: Callable[[Tensor], Tensor]  # of a policy that draws its actions, the likeliest one or the mean
    distribution: Callable[[Tensor], Distribution] | None = None  # over actions; None: it always does what act says

    @property
    def has_density(self) -> bool:
        """Whether actions of the data have a probability; of a continuous action that is always the same, none has."""
        return self.specs.discrete or (self.distribution is not None and self.specs.limits is None)

    @torch.no_grad()
    def actions(self, observation: Tensor, *, seed: int = 0) -> Tensor:
        """What it does, drawn where it draws: ``[B, A]``, ``[B]`` or ``[B, K]``."""
        if self.distribution is None:
            return _in_chunks(self.act, observation)
        with drawing_from(torch.Generator().manual_seed(seed)):
            drawn = _in_chunks(lambda part: _distribution(self, part).sample(), observation)
        return drawn if self.specs.discrete else drawn.clamp(*self._bounds())

    @torch.no_grad()
    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """Log-likelihood of actions, ``[B]`` float64; of discrete ones of a policy that does not draw, 0 or -inf.

        Raises:
            ConfigError: the policy has no density.
        """
        if self.specs.discrete:
            chosen = (self.probabilities(observation) * one_hot(action, self.specs)).sum(-1)  # [B], or [B, K] of parts
            return chosen.double().log().reshape(len(action), -1).sum(-1)
        if self.distribution is None:
            raise ConfigError(
                f"{self.name} has no density: it always does the same in a state, and no action of the data is exactly "
                "that; fitted Q evaluation needs none, and drawn=true takes the distribution that it was made of"
            )
        if self.specs.limits is not None:
            raise ConfigError(
                f"{self.name} has no density: what it draws is moved inside limits, many actions to the same one; "
                "fitted Q evaluation needs none"
            )
        pairs = zip(observation.split(CHUNK), action.split(CHUNK))
        return torch.cat([_distribution(self, part).log_prob(of_part) for part, of_part in pairs]).double()

    @torch.no_grad()
    def probabilities(self, observation: Tensor) -> Tensor:
        """Of all discrete actions, ``[B, A]``, or of the values of their parts, ``[B, K, M]``."""
        if self.distribution is not None:
            return _in_chunks(lambda part: _table(_distribution(self, part)), observation)
        return one_hot(self.actions(observation), self.specs)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        space: Any = self.specs.action.space
        return self.specs.limits or (space.low, space.high)


def policy_of(module: TensorDictModuleBase, specs: Specs, *, name: str = "policy", drawn: bool = False) -> Policy:
    """The view of an agent's or a checkpoint's policy, as it is deployed or drawn from the distribution it is made of.

    Args:
        module: ``observation -> action``, as :func:`agents.load_policy` gives.
        specs: of the data that it was trained on.
        drawn: True: the distribution, whose value is not that of its mode.

    Raises:
        ConfigError: it remembers the episode, or it is to be drawn and has no distribution.
    """
    if isinstance(module, TensorDictModule) and isinstance(module.module, SearchingPolicy):
        raise ConfigError(
            f"{name} searches when it acts, by other random numbers at each step of an episode: what it does in a "
            "state of the data is no function of that state, so no estimator can value it; evaluate it in an "
            "environment, or value the policy of the same algorithm without a search"
        )
    if not (isinstance(module, TensorDictModule) and [*module.in_keys] == ["observation"]):
        memory = ", ".join(str(key) for key in module.in_keys if key != "observation")
        raise ConfigError(
            f"{name} remembers the episode ({memory}): what it does in a state of the data depends on what it would "
            "have done before, which no log holds, so no estimator can value it; evaluate it in an environment"
        )
    network: Any = module.module
    act = network if specs.limits is None else LimitedPolicy(network, *specs.limits)
    if not drawn:
        return Policy(name, specs, act)
    distribution = distribution_of(network)
    if distribution is None:
        raise ConfigError(f"{name} draws no actions: it has no distribution; leave out drawn=true")
    return Policy(name, specs, act, distribution)


def one_hot(action: Tensor, specs: Specs) -> Tensor:
    """Probabilities of 1 for discrete actions: ``[B] -> [B, A]``, or ``[B, K] -> [B, K, M]``."""
    spec: Any = specs.action
    longest = int(spec.nvec.max()) if isinstance(spec, MultiCategorical) else spec.n
    return nn.functional.one_hot(action, longest).float()


def check_fit(policy: Policy, data: Specs, dataset_id: str) -> None:
    """Refuse a policy of other observations or actions than the data's, with a ConfigError."""
    ours, theirs = policy.specs, data
    sizes = [specs.observation.shape[-1] for specs in (ours, theirs)]
    names = [specs.observation_names for specs in (ours, theirs)]
    kinds = [_actions(specs) for specs in (ours, theirs)]
    if sizes[0] != sizes[1]:
        difference = f"observations of {sizes[0]} numbers, the data have {sizes[1]}"
    elif kinds[0] != kinds[1]:
        difference = f"{kinds[0]}, the data have {kinds[1]}"
    elif names[0] != names[1] and ours.spaces is not None:
        first = next(pair for pair in zip(*names) if pair[0] != pair[1])
        difference = f"observations in which {first[0]!r} stands where the data have {first[1]!r}"
    else:
        return
    raise ConfigError(f"{policy.name} takes {difference}: dataset {dataset_id!r} is of another task")


def _actions(specs: Specs) -> str:
    spec: Any = specs.action
    if isinstance(spec, MultiCategorical):
        return f"discrete actions with parts of {spec.nvec.tolist()} values"
    return f"{spec.n} discrete actions" if specs.discrete else f"actions of {spec.shape[-1]} numbers"


def distribution_of(network: Any) -> Callable[[Tensor], Distribution] | None:
    """The distribution that a deterministic policy is the mode of, ``[B, O]`` to one over ``[B, A]``; None: none."""
    if isinstance(network, LimitedPolicy):
        return distribution_of(network.network)
    if isinstance(network, GreedyPolicy) and not isinstance(network.network, ActionValueEnsemble):
        return lambda observation: _categorical(network.network(observation))
    if isinstance(network, ModePolicy):
        actor = network.actor
        return lambda observation: actor.get_dist(TensorDict({"observation": observation}, observation.shape[:-1]))
    actor: Any = network.network if isinstance(network, DeterministicPolicy) else None
    if isinstance(actor, TanhNormalActor):
        center, half_range = actor.action_center, actor.action_half_range
        return lambda observation: _squashed(actor(observation), center - half_range, center + half_range)
    if isinstance(actor, NormalActor):
        return lambda observation: _normal(*actor(observation))
    return None


def _squashed(parameters: tuple[Tensor, Tensor], low: Tensor, high: Tensor) -> Distribution:
    return BoundedTanhNormal(*parameters, low, high)


def _normal(loc: Tensor, scale: Tensor) -> Distribution:
    normal: Any = IndependentNormal
    return normal(loc, scale, validate_args=False)


def _categorical(logits: Tensor) -> Distribution:
    parts = logits.ndim == 3
    return FactoredCategorical(logits, False) if parts else Categorical(logits=logits, validate_args=False)


def _table(distribution: Distribution) -> Tensor:
    """Probabilities of a categorical distribution, or of the parts of one with parts."""
    inner: Any = distribution.base_dist if isinstance(distribution, Independent) else distribution
    return inner.probs


def _distribution(policy: Policy, observation: Tensor) -> Distribution:
    assert policy.distribution is not None
    return policy.distribution(observation)


def _in_chunks(function: Callable[[Tensor], Tensor], observation: Tensor) -> Tensor:
    return torch.cat([function(part) for part in observation.split(CHUNK)])
