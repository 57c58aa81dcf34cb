"""unifloral's IQL (JAX), with its defaults: a round is one scan, as a stretch between two evaluations is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def updates(data: dict[str, np.ndarray], number: int) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp
    from algorithms import iql

    args = iql.Args()
    columns = [jnp.asarray(data[name]) for name in ("observation", "action", "reward", "next_observation")]
    dataset = iql.Transition(*columns, jnp.asarray(data["terminated"], jnp.float32))
    mean, std = dataset.obs.mean(axis=0), jnp.nan_to_num(dataset.obs.std(axis=0), nan=1.0)
    observation, action = jnp.zeros_like(dataset.obs[0]), jnp.zeros_like(dataset.action[0])
    actor = iql.TanhGaussianActor(len(action), mean, std)
    qvalue, value = iql.DualQNetwork(mean, std), iql.StateValueFunction(mean, std)
    key, *keys = jax.random.split(jax.random.PRNGKey(0), 4)
    state = iql.AgentTrainState(
        actor=iql.create_train_state(args, keys[0], actor, [observation]),
        dual_q=iql.create_train_state(args, keys[1], qvalue, [observation, action]),
        dual_q_target=iql.create_train_state(args, keys[1], qvalue, [observation, action]),
        value=iql.create_train_state(args, keys[2], value, [observation]),
    )
    step = iql.make_train_step(args, actor.apply, qvalue.apply, value.apply, dataset)

    def run() -> None:
        nonlocal key, state
        (key, state), _ = jax.lax.scan(step, (key, state), None, number)
        jax.block_until_ready(state)

    return run
