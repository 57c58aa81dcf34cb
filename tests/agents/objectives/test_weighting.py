"""Weights of the policy extraction: their statistic, and the running scale of advantages that takes their unit away."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.objectives import AdvantageScale, AWACLoss, IQLLoss
from agents.objectives.weighting import SCALE_RATE, effective_sample_size, weighted_regression

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")


def advantages(seed: int, size: int = 64) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) - 0.3


@pytest.mark.parametrize("advantage_clip", [None, 1.5])
def test_the_effective_sample_size_is_that_of_the_weights(advantage_clip) -> None:
    advantage = advantages(0)
    weight = torch.exp(2.0 * advantage).clamp(max=advantage_clip or math.inf)
    share = effective_sample_size(advantage, 2.0, advantage_clip)
    torch.testing.assert_close(share, weight.sum() ** 2 / (64 * (weight**2).sum()))
    torch.testing.assert_close(1 / share - 1, weight.var(correction=0) / weight.mean() ** 2)


@pytest.mark.parametrize(
    ("advantage", "share"),
    [([3.0, 3.0, 3.0, 3.0], 1.0), ([0.0, -900.0, -900.0, -900.0], 0.25), ([900.0, 900.0, 0.0, 0.0], 0.5)],
)
def test_the_effective_sample_size_is_finite_where_weights_are_not(advantage, share) -> None:
    for shift in (0.0, -500.0, 500.0):
        found = effective_sample_size(torch.tensor(advantage) + shift, 1.0, None)
        torch.testing.assert_close(found, torch.tensor(share))


def test_a_constant_size_is_the_scale_from_the_first_update_on() -> None:
    scale, advantage = AdvantageScale(), torch.tensor([2.0, -2.0, 2.0])
    for _ in range(5):
        torch.testing.assert_close(scale(advantage), torch.tensor(2.0), rtol=1e-5, atol=0.0)


def test_the_scale_is_the_mean_of_the_sizes_weighted_by_how_long_ago_they_were() -> None:
    scale, sizes = AdvantageScale(), [1.0, 5.0, 0.5]
    last = [scale(torch.tensor([size, -size])).item() for size in sizes][-1]
    weights = [(1 - SCALE_RATE) ** age for age in (2, 1, 0)]
    assert last == pytest.approx(sum(w * size for w, size in zip(weights, sizes)) / sum(weights), rel=1e-5)


def test_a_held_out_loss_leaves_the_scale_as_it_is() -> None:
    scale = AdvantageScale()
    scale(advantages(0))
    before = copy.deepcopy(scale.state_dict())
    with torch.no_grad():
        first = scale(advantages(1))
    assert torch.equal(scale.eval()(advantages(1)), first)
    assert all(torch.equal(value, before[name]) for name, value in scale.state_dict().items())


def test_without_an_advantage_all_weights_are_one() -> None:
    loss, statistics = weighted_regression(-torch.ones(4), torch.zeros(4), 3.0, 100.0, scale=AdvantageScale())
    assert torch.equal(loss, torch.ones(4)) and statistics["effective_sample_size"] == 1.0


def scaled(loss: IQLLoss | AWACLoss, factor: float) -> IQLLoss | AWACLoss:
    """A copy whose values are all of them ``factor`` times as large."""
    other = copy.deepcopy(loss)
    networks = [getattr(other, name) for name in ("qvalue_network_params", "target_qvalue_network_params")]
    for params in networks + ([other.value_network_params] if isinstance(other, IQLLoss) else []):
        for key, tensor in params.items(True, True):
            if key[-2] == "2":  # of the last layer
                tensor.data.mul_(factor)
    return other


def losses_of(specs: agents.Specs) -> dict[str, IQLLoss | AWACLoss]:
    torch.manual_seed(0)
    small = {"hidden_sizes": [8]}
    actor, critics = ActorConfig(**small).build(specs), QValueConfig(**small).build(specs)
    iql = IQLLoss(actor, critics, ValueConfig(**small).build(specs), advantage_scale=AdvantageScale())
    return {"iql": iql, "awac": AWACLoss(actor, critics, action_spec=specs.action, advantage_scale=AdvantageScale())}


@pytest.mark.parametrize("name", ["iql", "awac"])
@pytest.mark.parametrize(("factor", "exact"), [(2.0**-7, True), (2.0**10, True), (3.7, False)])
def test_the_policy_learns_the_same_whatever_the_scale_of_the_values(specs, batches, name, factor, exact) -> None:
    loss = losses_of(specs)[name]
    other, tolerance = scaled(loss, factor), {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-4, "atol": 1e-5}
    for seed in range(3):
        out = []
        for each in (loss, other):
            torch.manual_seed(seed)
            out.append(each(batches(seed)))
        ours, theirs = out
        torch.testing.assert_close(theirs["advantage"], factor * ours["advantage"], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(theirs["advantage_scale"], factor * ours["advantage_scale"])
        for key in ("loss_actor", "weight", "clip_fraction", "effective_sample_size"):
            torch.testing.assert_close(theirs[key], ours[key], **tolerance)
        assert set(ours.keys()) == set(loss.out_keys)
