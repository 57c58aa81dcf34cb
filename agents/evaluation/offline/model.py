r"""A learned model of the environment, in which the policy acts: an ensemble, its rollouts, and its own errors.

.. math::
    s' - s, r &\sim N(\mu_k(s, a), \sigma_k(s, a)), \quad P(\mathrm{terminated}) = e_k(s, a) \\
    V &= E \sum_{t < H} \gamma^t r_t \prod_{u < t} (1 - e_k(s_u, a_u))

with perceptrons of Gaussian outputs (Chua et al. 2018, arXiv 1805.12114). A member k learns from episodes drawn with
replacement, and the policy acts in it from where these begin, for as many steps as the longest of the log has: what
would come after a cut-off is not valued. States and rewards stay between the smallest and the largest of the data.

Shapes: ``N`` steps, ``E`` episodes, ``B`` batch, ``O`` observation, ``A`` action (of discrete ones, one-hots), ``K``
members, ``D`` what is predicted: ``O`` changes and the reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator, Tensor, nn
from torchrl.objectives import LossModule

from agents.evaluation.offline.critics import choices
from agents.evaluation.offline.estimate import Estimate, Trust
from agents.evaluation.offline.fit import NUM_JUDGED, draw_episodes
from agents.evaluation.offline.policy import Policy, check_fit
from agents.evaluation.offline.resampling import estimate_of
from agents.evaluation.offline.settings import ModelConfig
from agents.evaluation.offline.transitions import Transitions
from agents.networks.critics import Ensemble
from agents.training.adam import AdamConfig
from agents.training.compilation import LossAndGradients
from agents.training.generators import drawing_from
from agents.training.update_rule import UpdateRule

LOG_STD = (-5.0, 1.0)  # of what is predicted, in its standard deviations
NEGLIGIBLE = 1e-3  # discount of a step that is not imagined any more
NUM_STARTS = 1_000  # episodes at most that rollouts begin as
ROUNDING = 1e-6  # of a number: what varies by less is constant


class DynamicsEnsemble(Ensemble):
    """Means and log-deviations ``[K, B, D]``, and logits of an end ``[K, B]``.

    Of ``[B, O], [B, A]``, or with inputs of each member's own, ``[K, B, O], [K, B, A]``.
    """

    def forward(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joint = torch.cat([observation, action], -1)
        outputs = self.layers(joint.expand(self.num_nets, *joint.shape[-2:]))
        mean, spread = outputs[..., :-1].chunk(2, -1)
        low, high = LOG_STD
        return mean, low + (high - low) * spread.sigmoid(), outputs[..., -1]


class DynamicsLoss(LossModule):
    """The negative log-likelihood of what followed on steps, by members that each drew some of them.

    A batch has ``observation [B, O]`` and ``action [B, A]``, ``target [B, D]``, ``terminated [B]`` and ``weight
    [B, K]``, all as :class:`Dynamics` scales them.
    """

    def __init__(self, network: DynamicsEnsemble) -> None:
        super().__init__()
        self.network = network
        self.out_keys = ["loss_model"]

    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        mean, log_std, logit = self.network(tensordict.get("observation"), tensordict.get("action"))
        error = (tensordict.get("target") - mean) * (-log_std).exp()
        ended = tensordict.get("terminated").expand_as(logit)
        nats = (0.5 * error.square() + log_std).mean(-1)  # [K, B]
        nats = nats + nn.functional.binary_cross_entropy_with_logits(logit, ended, reduction="none")
        return TensorDict({"loss_model": (tensordict.get("weight").T * nats).mean(1).sum()})


@dataclass(frozen=True)
class _Scale:
    """``(x - mean) / std``, each column by its own, as units differ; a constant is 0, and comes back as it was."""

    mean: Tensor
    std: Tensor  # 0: constant

    @classmethod
    def of(cls, values: Tensor, numbers: Tensor) -> _Scale:
        """Of what has been computed from such numbers, both ``[N, ...]``."""
        std = values.std(0)
        return cls(values.mean(0), torch.where(std > ROUNDING * numbers.abs().amax(0), std, 0.0))

    def scaled(self, values: Tensor) -> Tensor:
        return (values - self.mean) / torch.where(self.std > 0.0, self.std, 1.0)

    def undo(self, values: Tensor) -> Tensor:
        return self.mean + self.std * values


class Dynamics:
    """A model that has been fitted to a log; any policy can act in it."""

    def __init__(self, steps: Transitions, config: ModelConfig, *, seed: int, device: torch.device | str) -> None:
        self.steps, self.counts = steps, draw_episodes(steps, config.num_members, Generator().manual_seed(seed))
        self._device = torch.device(device)
        observation, reward = steps.observation, steps.reward[:, None].float()
        after = torch.cat([steps.next_observation - observation, reward], 1)
        self._observation = _Scale.of(observation, observation)
        self._after = _Scale.of(after, torch.cat([observation, reward], 1))
        seen = torch.cat([steps.observation, steps.next_observation])
        self._low, self._high = seen.amin(0), seen.amax(0)
        self.rows = TensorDict(
            {
                "observation": self._observation.scaled(steps.observation),
                "action": choices(steps.action, steps.specs).flatten(1),
                "target": self._after.scaled(after),
                "terminated": steps.terminated.float(),
                "weight": self.counts.T[steps.episode].float(),
            },
            [len(steps)],
        )
        inputs = self.rows["observation"].shape[1] + self.rows["action"].shape[1]
        with drawing_from(Generator().manual_seed(seed)):
            outputs = 2 * after.shape[1] + 1
            nets = [config.network.layers(inputs, outputs) for _ in range(config.num_members)]
            self.network = DynamicsEnsemble(nets, []).to(self._device)

    @torch.no_grad()
    def returns(
        self,
        start: Tensor,
        act: Callable[[int, Tensor], Tensor],
        gamma: float,
        *,
        lengths: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Discounted sums of rewards of a rollout in each member, ``[E, O] -> [K, E]``.

        Args:
            act: what is done at a step, ``[K, E, O] -> [K, E, A]``.
            lengths: of the rollouts, ``[E]``; None: as long as the model expects them to go on.
        """
        generator = Generator().manual_seed(seed)
        state = start.expand(len(self.counts), *start.shape)
        going_on, total = torch.ones(state.shape[:2]).double(), torch.zeros(state.shape[:2]).double()
        for step in range(horizon(self.steps, gamma)):
            state, reward, ends = self._step(state, act(step, state), generator)
            total += gamma**step * going_on * reward
            going_on = going_on * (1.0 - (ends if lengths is None else (step + 1 >= lengths).double()))
        return total

    def _step(self, state: Tensor, action: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The next states, drawn, the rewards that are to be expected, and the chances to end."""
        inputs = self._observation.scaled(state), action
        mean, log_std, logit = (each.cpu() for each in self.network(*(each.to(self._device) for each in inputs)))
        drawn = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
        rewards = self.steps.reward
        following = state + self._after.undo(drawn)[..., :-1]
        reward = self._after.undo(mean)[..., -1].double().clamp(rewards.min(), rewards.max())
        ends = logit.double().sigmoid() * bool(self.steps.terminated.any())
        return following.clamp(self._low, self._high), reward, ends

    @torch.no_grad()
    def errors(self, seed: int) -> tuple[float, float]:
        """What a step's prediction is off by on episodes that a member has not drawn, and on those that it has.

        Root mean squares over the standard deviations of what is predicted: 1 is what its mean would be off by.
        """
        judged = torch.randperm(len(self.steps), generator=Generator().manual_seed(seed))[:NUM_JUDGED]
        rows: Any = self.rows[judged]
        inputs = (rows[name].to(self._device) for name in ("observation", "action"))
        squares = (rows["target"] - self.network(*inputs)[0].cpu()).square().mean(-1)  # [K, B]
        out = (self.counts == 0)[:, self.steps.episode[judged]].float()
        unseen, seen = (((squares * each).sum() / each.sum().clamp_min(1.0)).sqrt().item() for each in (out, 1 - out))
        return unseen, seen


def fit_model(
    steps: Transitions, config: ModelConfig, *, seed: int = 0, device: torch.device | str = "cpu"
) -> Dynamics:
    """A model of what followed on the steps of a log."""
    model = Dynamics(steps, config, seed=seed, device=device)
    loss, generator = DynamicsLoss(model.network), Generator().manual_seed(seed)
    adam = AdamConfig(lr=config.lr, decay_steps=config.gradient_steps)
    rule = UpdateRule(
        {"model": ([*loss.parameters()], adam)},
        evaluation=lambda _, parameters: LossAndGradients(loss, parameters),
        target_net_updater=None,
        target_every=1,
        max_grad_norm=None,
    )
    rows = model.rows.to(device)

    def batch() -> TensorDictBase:
        return rows[torch.randint(len(rows), (config.batch_size,), generator=generator).to(device)]

    rule.compile(batch(), config.compile, dtype=torch.float32)
    for _ in range(config.gradient_steps):
        rule.update(batch())
    loss.eval()
    return model


def model_evaluation(policy: Policy, model: Dynamics, *, gamma: float = 0.99, seed: int = 0) -> Estimate:
    """The value of a policy in a model of the environment.

    ``own_value`` is that of the logged actions, one after the other, in members that have not seen them.

    Raises:
        ConfigError: the policy is of other observations or actions than the data.
    """
    steps = model.steps
    check_fit(policy, steps.specs, steps.dataset)
    chosen = torch.randperm(steps.num_episodes, generator=Generator().manual_seed(seed))[:NUM_STARTS]
    start, drawn = steps.observation[steps.first[chosen]], model.counts[:, chosen].double()

    def act(step: int, state: Tensor) -> Tensor:
        action = policy.actions(state.flatten(0, 1), seed=seed + step)
        return choices(action, steps.specs).flatten(1).unflatten(0, state.shape[:2])

    def replay(step: int, state: Tensor) -> Tensor:
        place = (steps.first[chosen] + step).clamp_max(len(steps) - 1)  # behind an end nothing counts
        return model.rows["action"][place].expand(len(state), -1, -1)

    returns = model.returns(start, act, gamma, seed=seed)
    value, values = returns.mean(), _weighted(returns, drawn)  # [], [K]: from all starts, and from those of a member
    replays = model.returns(start, replay, gamma, lengths=steps.lengths[chosen], seed=seed)
    own_value = _weighted(replays, (drawn == 0).double()).nanmean().item()
    unseen, seen = model.errors(seed)
    trust = Trust(model_error=unseen, model_error_seen=seen)
    own_value = own_value if math.isfinite(own_value) else None
    return estimate_of("model", policy, steps, gamma, value, values, trust=trust, own_value=own_value)


def horizon(steps: Transitions, gamma: float) -> int:
    """Steps of a rollout: of the longest episode, as far as they count."""
    longest = int(steps.lengths.max())
    return min(longest, math.ceil(math.log(NEGLIGIBLE) / math.log(gamma))) if 0.0 < gamma < 1.0 else longest


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Means over episodes by member, ``[K, E] -> [K]``; NaN where none has a weight."""
    return (values * weights).sum(1) / weights.sum(1)
