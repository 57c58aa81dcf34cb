"""The official IQL (JAX), with its settings on Adroit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ADROIT = {
    "expectile": 0.7,
    "temperature": 0.5,
    "dropout_rate": 0.1,
}  # its configs/kitchen_config.py, which Adroit takes


def updates(data: dict[str, np.ndarray], number: int) -> Callable[[], None]:
    import flax
    import jax

    flax.config.update("flax_return_frozendict", True)  # as when the code was written
    jax.tree_multimap = jax.tree_util.tree_map  # its name then
    from dataset_utils import Dataset
    from learner import Learner

    terminated = data["terminated"].astype(np.float32)
    columns = (
        data["observation"],
        data["action"],
        data["reward"],
        1 - terminated,
        terminated,
        data["next_observation"],
    )
    dataset = Dataset(*columns, size=len(terminated))
    learner = Learner(0, data["observation"][:1], data["action"][:1], max_steps=1_000_000, **ADROIT)

    def run() -> None:
        for _ in range(number):
            learner.update(dataset.sample(256))
        jax.block_until_ready((learner.actor.params, learner.critic.params))

    return run
