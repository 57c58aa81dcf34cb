"""Fields that algorithms share, with their checks, and the contract of ``build``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from agents.errors import require, require_choice
from agents.objectives.settings import DECAYS, check_decay, check_gamma
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig
from agents.training.settings import check_update

if TYPE_CHECKING:
    import torch
    from tensordict.nn import TensorDictModule
    from torchrl.objectives import LossModule
    from typing_extensions import Self

    from agents.data.specs import Specs as Specs
    from agents.objectives.schedules import Decay
    from agents.training.agent import Agent as Agent
    from agents.training.sampling import Sampling

    Device = torch.device | str
else:  # a signature alone is no reason to load torch
    Specs = Agent = Device = Any


# attributes of a loss module that the optimizer of each group updates, where there are any
GROUPS = {
    "actor": ["actor_network_params"],
    "critic": ["qvalue_network_params", "value_network_params"],
    "alpha": ["log_alpha"],
    "alpha_prime": ["log_alpha_prime"],
}


@dataclass(kw_only=True)
class AlgorithmConfig:
    """Settings of an algorithm, which knows no run and no registry."""

    actions: ClassVar[str]  # of the data that it learns from: continuous or discrete
    online: ClassVar[OnlineConfig | None] = None  # how its source goes on where the policy acts; None: it cannot

    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip

    def __post_init__(self) -> None:
        check_update(**self.update_settings())

    def update_settings(self) -> dict[str, Any]:
        """Those of an agent's settings that this algorithm has."""
        return self.settings("target_tau", "target_every", "max_grad_norm")

    def settings(self, *names: str) -> dict[str, Any]:
        """Those of the fields of these names that this algorithm has."""
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def going_online(self, num_updates: int, updates_per_step: float | None = None) -> Self:
        """The same for an online phase after the offline one: no learning rate decays any more.

        Args:
            num_updates: of the phase, for what fades over it.
            updates_per_step: of the environment, for what is done once for each; None: as the source has them.
        """
        del num_updates, updates_per_step
        constant = {
            name: replace(value, decay_steps=None, torch_scheduler={})
            for name, value in vars(self).items()
            if isinstance(value, AdamConfig)
        }
        return replace(self, **constant)

    def networks(self, specs: Specs, device: Device, *names: str) -> list[Any]:
        """The networks of the configs in these fields, built in this order."""
        return [getattr(self, name).build(specs, normalize=self.normalize_observations).to(device) for name in names]

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator.

        Raises:
            ConfigError: in one line, if the networks do not fit the data: their actions are of the other kind, say.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class TDConfig(AlgorithmConfig):
    """The same of one that learns by temporal differences, from target networks."""

    online = OnlineConfig()

    gamma: float = 0.99  # discount in [0, 1]
    target_tau: float = 0.005  # Polyak step of the target networks, an actor's included, in (0, 1]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_gamma(self.gamma)


@dataclass(kw_only=True)
class MaxEntropyConfig(TDConfig):
    """The same of one that steers the entropy of its policy, as SAC does."""

    nats_per_dimension: ClassVar[float] = -1.0  # what it steers to by itself

    alpha_init: float = 1.0  # weight of the entropy at the start, > 0
    target_entropy: float | None = None  # in nats; None: minus one per action dimension, for actions in +-1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0.0 < self.alpha_init < math.inf, "alpha_init", "be positive", self.alpha_init)
        finite = self.target_entropy is None or math.isfinite(self.target_entropy)
        require(finite, "target_entropy", "be finite or null", self.target_entropy)

    def entropy_target(self, specs: Specs) -> float:
        """The entropy to steer to, in nats."""
        from agents.networks.bounds import default_target_entropy

        if self.target_entropy is not None:
            return self.target_entropy
        return default_target_entropy(specs, self.nats_per_dimension)


@dataclass
class PenaltyDecayConfig:
    """How the pull to the data's actions fades; it does where an agent goes on learning online."""

    kind: str = "constant"  # constant, linear or exponential
    final: float = 0.5  # factor of the penalty in the end, in (0, 1]
    num_steps: int = 10_000  # updates, >= 1: exponential, to get there; linear, to where the factor would be 0

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, ("constant", *DECAYS))
        check_decay("linear", self.final, self.num_steps)

    def start(self) -> Decay | None:
        """The factor from now on; None: 1."""
        from agents.objectives.schedules import Decay

        return None if self.kind == "constant" else Decay(self.kind, self.final, self.num_steps)


@dataclass(kw_only=True)
class CloningConfig(AlgorithmConfig):
    """The same of one that clones the data's actions, those of the best episodes alone if told so.

    ``best_episodes=0.1`` is "10%BC" (Chen et al. 2021, arXiv 2106.01345, section 5.1): it clones the episodes with the
    largest undiscounted returns. The paper counts its 10 % in steps, CORL, as here, in episodes. Which episodes those
    are is decided where batches are drawn, ``dataset.replay_buffer(256, **agent.sampling)``; observations are scaled
    by the mean and standard deviation of the whole dataset.
    """

    best_episodes: float | None = None  # share of the episodes to clone, in (0, 1], rounded, at least one; None: all

    def __post_init__(self) -> None:
        super().__post_init__()
        share = self.best_episodes
        require(share is None or 0.0 < share <= 1.0, "best_episodes", "lie in (0, 1] or be null", share)


def assemble(
    config: AlgorithmConfig, loss_module: LossModule, policy: TensorDictModule, *, sampling: Sampling | None = None
) -> Agent:
    """The agent of these parts, with the config's settings of an update and a ``<group>_optimizer`` for each group."""
    from agents.training.agent import Agent
    from agents.training.sampling import Sampling

    owned = [(name.partition(".")[0], parameter) for name, parameter in loss_module.named_parameters()]
    optimizers = {}
    for group, parts in GROUPS.items():
        if parameters := [parameter for part in parts for owner, parameter in owned if owner == part]:
            optimizers[group] = (parameters, getattr(config, f"{group}_optimizer"))
    sampling = Sampling() if sampling is None else sampling
    return Agent(loss_module, policy, optimizers=optimizers, sampling=sampling, **config.update_settings())


def with_actor_every_step(config: Any, updates_per_step: float | None) -> Any:
    """The config whose actor and alpha step as often for a step of the environment as with its source's updates."""
    if updates_per_step is None:
        return config
    ratio, names = updates_per_step / config.online.updates_per_step, ("actor_optimizer", "alpha_optimizer")
    optimizers = {name: getattr(config, name) for name in names}
    slower = {name: replace(each, every=max(1, round(each.every * ratio))) for name, each in optimizers.items()}
    return replace(config, **slower)


def redq_agent(config: Any, specs: Specs, device: Device) -> Agent:
    """The agent of SAC with an ensemble, some of whose critics make the target, by a config that has the settings."""
    from agents.networks.policies import deterministic_policy
    from agents.objectives.redq import REDQLoss

    actor, critics = config.networks(specs, device, "actor", "qvalue")
    settings = config.settings("num_target_nets", "entropy_backup", "actor_qvalue", "gamma", "alpha_init")
    target_entropy = config.entropy_target(specs)
    loss = REDQLoss(actor, critics, action_spec=specs.action, target_entropy=target_entropy, **settings)
    return assemble(config, loss, deterministic_policy(actor))
