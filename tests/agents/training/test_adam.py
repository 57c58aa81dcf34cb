"""Adam's step equals that of torch's own class, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.training.adam import AdamConfig
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
    settings = [{"params": theirs[:2], "weight_decay": 0.1}, {"params": theirs[2:]}]
    reference = torch.optim.Adam(settings, fused=True)
    for step in range(1, 30):
        rates = [1e-2 / step, 3e-3]
        adam.step(ours, gradients(step), rates)
        for group, rate in zip(reference.param_groups, rates):
            group["lr"] = rate
        for parameter, gradient in zip(theirs, gradients(step)):
            parameter.grad = gradient
        reference.step()
    for mine, other in zip(ours, theirs):
        assert torch.equal(mine, other)
        for name, value in reference.state[other].items():
            assert torch.equal(adam.state[mine][name], value), name


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    ours, start = parameters(), parameters()
    adam = FusedAdam([(ours, AdamConfig())])
    adam.step(ours, [None, *gradients(1)[1:]], [1e-2])
    adam.step(ours[1:2], gradients(2)[1:2], [1e-2])
    assert torch.equal(ours[0], start[0]) and ours[0] not in adam.state
    assert [adam.state[parameter]["step"].item() for parameter in ours[1:]] == [2.0, 1.0]


def test_gradients_in_another_memory_layout_are_the_same_gradients() -> None:
    ours, theirs = parameters(), parameters()
    for mine, transpose in ((ours, False), (theirs, True)):
        given = gradients(1)
        if transpose:
            given = [g.mT.contiguous().mT if g.ndim > 1 else g for g in given]
        FusedAdam([(mine, AdamConfig())]).step(mine, given, [1e-2])
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs))
