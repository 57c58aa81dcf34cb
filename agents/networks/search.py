"""Policies that look for a good action when they act: draw from a cloned policy, and choose by Q.

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``K`` candidates, ``E`` elites, ``N`` critics, ``R`` sets of
random numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Generator, Tensor, nn
from torchrl.data import TensorSpec

from agents.networks.actors import NormalActor, TanhNormalActor
from agents.networks.bounds import register_limits
from agents.networks.policies import relative_margin, sharing_tensors

ELITE_SHARE = 0.1  # of the candidates, at least two, to which the cross-entropy method fits its next Gaussian
NUM_SETS = 64  # of random numbers, that the steps of an episode use in turns


class SearchingPolicy(nn.Module):
    r"""Chooses among ``K`` actions drawn from a policy: the one of the largest Q, or one by a softmax of Q.

    .. math::
        a_1 \dots a_K \sim \pi(\cdot|s), \qquad
        a = \arg\max_k \min_j Q_j(s, a_k) \quad \text{or} \quad P(a = a_k) \propto \exp(\beta \min_j Q_j(s, a_k))

    (IDQL, Hansen-Estruch et al. 2023, arXiv 2304.10573, with a Gaussian for its diffusion model.) Before that, the
    cross-entropy method may refine the candidates: it fits a Gaussian to the best tenth and draws new ones from that,
    beside which the best stay.

    All random numbers are drawn in advance, a set for each of ``R`` steps, then again: an action is a function of the
    observation and the step of the episode, which the policy remembers. The same numbers at every step would push
    actions of neighbouring states to the same side. (demo/pen/mixed-v0, IQL, 64 candidates, 40 episodes, after 4,000
    and 16,000 updates: D4RL score 8 and 27 so, 16 and 53 with new numbers at each step, each +- 3 to 10; the clone's
    mean action without a search: 55 and 43.)

    Args:
        actor: a network with ``draw(observation [B, O], noise [B, K, A]) -> [B, K, A]``.
        critics: ``[B, O], [B, A] -> [B, N]``.
        action_spec: bounds, to which candidates are clipped.
        num_candidates: K >= 1.
        temperature: beta >= 0, an inverse temperature; None: the largest Q.
        cem_iterations: refinements, >= 1; None: none.
    """

    action_low: Tensor  # [A]
    action_high: Tensor  # [A]
    noise: Tensor  # [R, 1 + iterations, K, A]
    gumbel: Tensor  # [R, K + E]

    def __init__(
        self,
        actor: NormalActor | TanhNormalActor,
        critics: nn.Module,
        *,
        action_spec: TensorSpec,
        num_candidates: int,
        temperature: float | None = None,
        cem_iterations: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.actor = actor
        self.critics = critics
        self.temperature = temperature
        self.num_elites = min(max(round(ELITE_SHARE * num_candidates), 2), num_candidates)
        rounds, device = 1 + (cem_iterations or 0), next(actor.parameters()).device
        generator = Generator().manual_seed(seed)
        uniform = torch.rand(NUM_SETS, num_candidates + self.num_elites, generator=generator).clamp(1e-6, 1.0 - 1e-6)
        # one after the other: further refinements go on from the same draws
        noise = [torch.randn(NUM_SETS, num_candidates, *action_spec.shape, generator=generator) for _ in range(rounds)]
        register_limits(self, action_spec)
        self.register_buffer("noise", torch.stack(noise, 1).to(device))
        self.register_buffer("gumbel", -(-uniform.log()).log().to(device))  # argmax of x + gumbel: a softmax draw

    def forward(self, observation: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The action at an observation ``[B, O]``, and the memory: steps of the episode so far, ``[B, 1]`` int64."""
        if memory is None:
            memory = torch.zeros(len(observation), 1, dtype=torch.int64, device=observation.device)
        candidates, merits = [*self._rounds(observation, memory)][-1]
        return _take(candidates, merits.argmax(-1, keepdim=True)).squeeze(-2), memory + 1

    def margin(self, observation: Tensor, memory: Tensor) -> Tensor:
        """By how much its choices, of elites too, were better than the next ones, as a share of their size, ``[B]``."""
        *refined, (_, merits) = self._rounds(observation, memory)
        margins = [relative_margin(qvalues, self.num_elites) for _, qvalues in refined]
        return torch.cat([*margins, relative_margin(merits, 1)], -1).amin(-1)

    def _rounds(self, observation: Tensor, memory: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The candidates ``[B, K, A]`` of each round and what counts of them, ``[B, K]``: Q, or at last its softmax."""
        turn = memory.squeeze(-1) % len(self.noise)  # [B]
        first, *others = self.noise[turn].unbind(1)  # [B, K, A] each
        candidates = self._clip(self.actor.draw(observation, first))  # [B, K, A]
        qvalues = self._qvalues(observation, candidates)  # [B, K]
        for noise in others:
            yield candidates, qvalues
            candidates = self._refine(candidates, qvalues, noise)  # [B, E + K, A]
            qvalues = self._qvalues(observation, candidates)
        if self.temperature is not None:
            qvalues = self.temperature * qvalues + self.gumbel[turn, : qvalues.shape[-1]]
        yield candidates, qvalues

    def _refine(self, candidates: Tensor, qvalues: Tensor, noise: Tensor) -> Tensor:
        elites = _take(candidates, qvalues.topk(self.num_elites, -1).indices)  # [B, E, A]
        mean, std = elites.mean(-2, keepdim=True), elites.std(-2, correction=0, keepdim=True)
        return torch.cat([elites, self._clip(mean + std * noise)], -2)

    def _clip(self, candidates: Tensor) -> Tensor:
        return candidates.clamp(self.action_low, self.action_high)

    def _qvalues(self, observation: Tensor, candidates: Tensor) -> Tensor:
        repeated = observation.repeat_interleave(candidates.shape[-2], 0)  # [B * K, O]
        return self.critics(repeated, candidates.flatten(0, 1)).amin(-1).unflatten(0, candidates.shape[:2])


def searching_policy(
    actor: ProbabilisticTensorDictSequential, critics: TensorDictModule, critic_params: TensorDictBase, **settings: Any
) -> TensorDictModule:
    """``observation [B, O]``, and after the first step ``memory``, to ``action [B, A], memory``.

    By a :class:`SearchingPolicy` with these settings, whose critics have ``critic_params``; in eval mode, sharing all
    tensors.
    """
    network: Any = actor[0]
    judges: Any = copy.deepcopy(critics)
    critic_params.to_module(judges)
    policy = SearchingPolicy(sharing_tensors(network.module), judges.module, **settings)
    return TensorDictModule(policy, in_keys=["observation", "memory"], out_keys=["action", "memory"]).eval()


def _take(candidates: Tensor, indices: Tensor) -> Tensor:
    """``[B, K, A], [B, E] -> [B, E, A]``."""
    return candidates.gather(-2, indices[..., None].expand(*indices.shape, candidates.shape[-1]))
