"""Decision Transformer's objective against the equation in plain torch, and against TorchRL's where that applies."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.objectives import DTLoss as TorchRLDTLoss

import agents
from agents.networks.transformer import INPUTS, DecisionTransformer, TransformerConfig
from agents.objectives import DTLoss


@pytest.fixture
def actor(specs: agents.Specs) -> TensorDictModule:
    torch.manual_seed(0)
    config = TransformerConfig(width=8, num_layers=2, num_heads=2, dropout=0.0)
    network = DecisionTransformer(config, specs, return_scale=10.0, max_episode_steps=200, normalize=True)
    return TensorDictModule(network, in_keys=list(INPUTS), out_keys=["action"])


@pytest.fixture
def windows(specs: agents.Specs, batches_for) -> TensorDict:
    """Five windows of six steps; the last three of the first one are padding."""
    return batches_for(specs, agents.DTConfig(context_length=6).build(specs))(0, 30)


def test_the_loss_is_the_mean_squared_error_of_the_steps_that_exist(actor, windows) -> None:
    action = actor.module(*(windows[key] for key in INPUTS))
    errors = [(action[b, t] - windows["action"][b, t]).square().mean() for b, t in windows["mask"].nonzero().tolist()]
    assert len(errors) == 27
    expected = torch.stack(errors).mean()
    module = DTLoss(actor)
    loss = module(windows.select(*module.in_keys))
    assert set(loss.keys()) == {"loss_actor"}
    torch.testing.assert_close(loss["loss_actor"], expected)
    parameters = list(actor.parameters())
    mine, theirs = (torch.autograd.grad(one, parameters) for one in (loss["loss_actor"], expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_without_padding_it_is_torchrls(actor, windows) -> None:
    windows["mask"] = torch.ones_like(windows["mask"])
    theirs = TorchRLDTLoss(actor)(windows.clone())["loss"]
    torch.testing.assert_close(DTLoss(actor)(windows)["loss_actor"], theirs)


def test_padding_makes_no_difference_whatever_it_holds(actor, windows) -> None:
    loss = DTLoss(actor)
    before = loss(windows)["loss_actor"]
    for key in ("observation", "action", "return_to_go"):
        windows[key][~windows["mask"]] = 1e3
    assert torch.equal(loss(windows)["loss_actor"], before)
    windows["action"][windows["mask"]] += 1.0
    assert not torch.equal(loss(windows)["loss_actor"], before)


def test_a_batch_without_windows_is_refused_with_the_way_to_get_them(actor, batch) -> None:
    with pytest.raises(agents.ConfigError, match=r"'mask'.*\*\*agent.sampling"):
        DTLoss(actor)(batch)


# What TorchRL's own tests ask of a loss; see test_generic.py for those of transitions --------------------------------


def test_keys_of_a_call_can_be_renamed_and_outputs_selected(actor, windows) -> None:
    module = DTLoss(actor)
    before = windows.clone()
    expected = module(windows)
    assert set(windows.keys(True, True)) == set(before.keys(True, True)) and (windows == before).all()
    torch.testing.assert_close(module(**{key: windows[key] for key in module.in_keys}), expected["loss_actor"])
    assert set(expected.keys()) == set(module.out_keys)
    module.set_keys(mask="valid")
    windows.rename_key_("mask", "valid")
    torch.testing.assert_close(module(windows)["loss_actor"], expected["loss_actor"])
    assert "valid" in module.in_keys


def test_copies_and_types_hold_every_tensor(actor, windows) -> None:
    module = DTLoss(actor)
    module(windows)["loss_actor"].backward()
    other = copy.deepcopy(module)
    assert set(dict(other.named_parameters())) == set(dict(module.named_parameters()))
    torch.testing.assert_close(other(windows), module(windows))
    as_double = windows.apply(lambda value: value.double() if value.is_floating_point() else value)
    assert other.double()(as_double)["loss_actor"].dtype == torch.float64
