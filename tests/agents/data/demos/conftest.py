"""A bundle of random policies for pen, and an empty store to make datasets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tensordict.nn import TensorDictModule
from torchrl.data import Bounded, Unbounded

import agents
from agents.data.demos import adroit, making
from agents.networks.configs import ActorConfig

NUM_OBSERVATIONS, NUM_ACTIONS = 45, 24  # of pen


def random_policy(seed: int) -> TensorDictModule:
    """A deterministic torch policy of the bundled kind."""
    torch.manual_seed(seed)
    specs = agents.Specs(
        observation=Unbounded((NUM_OBSERVATIONS,)),
        action=Bounded(-1.0, 1.0, (NUM_ACTIONS,)),
        observation_mean=torch.randn(NUM_OBSERVATIONS),
        observation_std=torch.rand(NUM_OBSERVATIONS) + 0.5,
    )
    actor = ActorConfig(hidden_sizes=[8, 6], activation="tanh")
    return agents.BCConfig(actor=actor, normalize_observations=True).build(specs).policy.eval()


def bundle_tensors(policy: TensorDictModule, name: str) -> dict[str, torch.Tensor]:
    normalizer, *layers = (m for m in policy.modules() if hasattr(m, "scale") or isinstance(m, torch.nn.Linear))
    tensors = {f"{name}/mean": normalizer.mean, f"{name}/scale": normalizer.scale}
    for i, layer in enumerate(layers):
        tensors |= {f"{name}/weight{i}": layer.weight.detach(), f"{name}/bias{i}": layer.bias.detach()}
    return tensors


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, TensorDictModule]:
    """The random policies of a bundle for pen that stands in for the one that ships."""
    policies = {"expert": random_policy(1), "weak": random_policy(2)}
    tensors = {"noise_std": torch.linspace(0.05, 0.2, NUM_ACTIONS)}
    for name, policy in policies.items():
        tensors |= bundle_tensors(policy, name)
    facts = {"expert_share": 1 / 3, "ref_min_score": -5.0, "ref_max_score": 95.0}
    (tmp_path / "policies").mkdir()
    save_file(tensors, tmp_path / "policies" / "pen.safetensors", metadata={"facts": json.dumps(facts)})
    monkeypatch.setattr(adroit, "POLICIES", tmp_path / "policies")
    monkeypatch.setattr(adroit, "NUM_EPISODES", 3)
    monkeypatch.setattr(making, "digest", lambda episodes: "these")
    monkeypatch.setattr(making, "DIGESTS", dict.fromkeys(making.DIGESTS, "these"))
    adroit.load_bundle.cache_clear()
    yield policies
    adroit.load_bundle.cache_clear()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policies: dict) -> Path:
    """An empty local store."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "store"
