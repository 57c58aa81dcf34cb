"""JAX-CORL's IQL, with its defaults: eight updates a call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def updates(data: dict[str, np.ndarray], number: int) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp
    from algos import iql

    config = iql.config
    terminated = jnp.asarray(data["terminated"], jnp.float32)
    columns = [jnp.asarray(data[name]) for name in ("observation", "action", "reward", "next_observation")]
    dataset = iql.Transition(*columns, terminated, terminated)
    state = iql.create_iql_train_state(jax.random.PRNGKey(0), columns[0][0], columns[1][0], config)
    update = jax.jit(iql.IQL.update_n_times, static_argnums=(3,))
    key = jax.random.PRNGKey(1)

    def run() -> None:
        nonlocal state, key
        for _ in range(number // config.n_jitted_updates):
            key, own = jax.random.split(key)
            state, _ = update(state, dataset, own, config)
        jax.block_until_ready(state)

    return run
