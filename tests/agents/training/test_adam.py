"""Adam's step equals that of torch's own class, bit for bit, and is taken when it is due, at its rate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from agents.training.adam import AdamConfig, WarmUpAdamConfig
from agents.training.fused_adam import FusedAdam


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (3,), (2, 4, 3))]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(shape, generator=generator) for shape in ((5, 3), (3,), (2, 4, 3))]


def test_steps_equal_torchs() -> None:
    ours, theirs = parameters(), parameters()
    adam = FusedAdam([(ours[:2], AdamConfig(weight_decay=0.1)), (ours[2:], AdamConfig())])
    settings = [{"params": theirs[:2], "weight_decay": 0.1}, {"params": theirs[2:], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(settings, fused=True)
    for step in range(1, 30):
        rates = [1e-2 / step, 3e-3]
        now = [gradient * (step % 5 > 0) for gradient in gradients(step)]  # one of zeros is a gradient too
        adam.apply(ours, now, rates)
        for group, rate in zip(reference.param_groups, rates):
            group["lr"] = rate
        for parameter, gradient in zip(theirs, now):
            parameter.grad = gradient
        reference.step()
    for mine, other in zip(ours, theirs):
        assert torch.equal(mine, other)
        for name, value in reference.state[other].items():
            assert torch.equal(adam.state[mine][name], value), name


def test_a_weight_decay_takes_its_share_whatever_the_gradients_were() -> None:
    """As a penalty in the gradient, Adam would have divided it by the square root of the second moment."""
    ours, start = parameters(), parameters()
    adam = FusedAdam([(ours, AdamConfig(weight_decay=0.1))])
    without = FusedAdam([(start, AdamConfig())])
    for scale in (1e-3, 1.0, 1e3):
        before = [parameter.detach().clone() for parameter in ours]
        for parameter, other in zip(start, before):
            parameter.data.copy_(other)
        for optimizer, of_it in ((adam, ours), (without, start)):
            optimizer.apply(of_it, [scale * gradient for gradient in gradients(1)], [1e-2])
        for parameter, plain, other in zip(ours, start, before):
            torch.testing.assert_close(parameter, plain - 1e-2 * 0.1 * other)


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    ours, start = parameters(), parameters()
    adam = FusedAdam([(ours, AdamConfig())])
    adam.apply(ours, [None, *gradients(1)[1:]], [1e-2])
    adam.apply(ours[1:2], gradients(2)[1:2], [1e-2])
    assert torch.equal(ours[0], start[0]) and ours[0] not in adam.state
    assert [adam.state[parameter]["step"].item() for parameter in ours[1:]] == [2.0, 1.0]


def test_gradients_in_another_memory_layout_are_the_same_gradients() -> None:
    ours, theirs = parameters(), parameters()
    for mine, transpose in ((ours, False), (theirs, True)):
        given = gradients(1)
        if transpose:
            given = [g.mT.contiguous().mT if g.ndim > 1 else g for g in given]
        FusedAdam([(mine, AdamConfig())]).apply(mine, given, [1e-2])
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs))


def test_a_step_is_due_at_every_nth_update_after_the_first_ones() -> None:
    for settings, due in (({"after": 2}, [3, 4, 5]), ({"every": 2}, [2, 4]), ({"every": 2, "after": 2}, [4])):
        assert [update for update in range(1, 6) if AdamConfig(**settings).due(update)] == due


def test_the_rate_falls_in_a_half_cosine_and_rises_in_a_straight_line() -> None:
    falling = AdamConfig(lr=2.0, decay_steps=3)
    assert [falling.lr_at(count) for count in range(5)] == pytest.approx([2.0, 1.5, 0.5, 0.0, 0.0])
    rising = WarmUpAdamConfig(lr=2.0, warm_up=4)
    assert [rising.lr_at(count) for count in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
