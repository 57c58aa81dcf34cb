"""CORL's IQL (PyTorch), with its defaults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def updates(data: dict[str, np.ndarray], number: int, precision: str = "highest") -> Callable[[], None]:
    import torch
    from algorithms.offline import iql

    torch.set_float32_matmul_precision(precision)
    config = iql.TrainConfig(device="cpu")
    num_observations, num_actions = data["observation"].shape[1], data["action"].shape[1]
    names = {"observations": "observation", "actions": "action", "rewards": "reward", "terminals": "terminated"}
    columns = {name: data[own] for name, own in {**names, "next_observations": "next_observation"}.items()}
    buffer = iql.ReplayBuffer(num_observations, num_actions, len(data["reward"]), config.device)
    buffer.load_d4rl_dataset(columns)
    networks = {
        "q_network": iql.TwinQ(num_observations, num_actions),
        "v_network": iql.ValueFunction(num_observations),
        "actor": iql.GaussianPolicy(num_observations, num_actions, 1.0, dropout=config.actor_dropout),
    }
    rates = {"q_network": config.qf_lr, "v_network": config.vf_lr, "actor": config.actor_lr}
    optimizers = {
        f"{name.removesuffix('_network')}_optimizer": torch.optim.Adam(network.parameters(), lr=rates[name])
        for name, network in networks.items()
    }
    settings = {"iql_tau": config.iql_tau, "beta": config.beta, "discount": config.discount, "tau": config.tau}
    trainer = iql.ImplicitQLearning(max_action=1.0, **networks, **optimizers, **settings)

    def run() -> None:
        for _ in range(number):
            trainer.train(buffer.sample(config.batch_size))

    return run
