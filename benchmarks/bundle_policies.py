"""Make ``agents/policies/<task>.safetensors`` from two behaviour-cloning checkpoints; ``agents/policies/README.md``
says which.

    python benchmarks/bundle_policies.py TASK EXPERT_CHECKPOINT WEAK_CHECKPOINT EXPERT_SHARE
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import torch
from safetensors.torch import save

import agents
from agents.data.demos.adroit import POLICIES
from agents.environments.adroit import ADROIT_TASKS
from agents.files import write_atomically
from agents.networks.actors import NormalActor

NUM_EPISODES = 100  # for the reference returns


def network_of(checkpoint: str) -> NormalActor:
    return agents.load_policy(checkpoint).module.network


def tensors_of(network: NormalActor) -> dict[str, torch.Tensor]:
    normalizer, layers = network.layers
    linears = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    named = {"mean": normalizer.mean, "scale": normalizer.scale}
    for i, linear in enumerate(linears):
        named |= {f"weight{i}": linear.weight, f"bias{i}": linear.bias}
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def main(task: str, expert: str, weak: str, expert_share: str) -> None:
    env = agents.EvaluationEnv(ADROIT_TASKS[task].env_id, num_envs=os.cpu_count() or 1)
    returns = agents.evaluate(agents.load_policy(expert), env, NUM_EPISODES).returns
    random = agents.evaluate(agents.random_policy(env), env, NUM_EPISODES).returns
    facts = {
        "expert_share": float(expert_share),
        "ref_min_score": float(np.mean(random)),
        "ref_max_score": float(np.mean(returns)),
    }
    networks = {"expert": network_of(expert), "weak": network_of(weak)}
    tensors = {
        f"{name}/{key}": value for name, network in networks.items() for key, value in tensors_of(network).items()
    }
    tensors["noise_std"] = networks["expert"].log_std.detach().clamp(*networks["expert"].log_std_range).exp()
    write_atomically(POLICIES / f"{task}.safetensors", save(tensors, metadata={"facts": json.dumps(facts)}))
    print(task, facts)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
