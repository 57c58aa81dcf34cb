"""Our fitted Q evaluation beside d3rlpy's, of the same policies on the same logs, where true values are known.

    python -m venv peers/d3rlpy
    peers/d3rlpy/bin/pip install --no-deps d3rlpy==2.8.1 gym==0.26.2 gym_notices structlog colorama dataclasses-json \\
        marshmallow typing-inspect mypy_extensions scikit-learn joblib threadpoolctl narwhals scipy
    peers/d3rlpy/bin/python benchmarks/peers/fitted_q.py updates patients regulator

in an environment that also has this package and icu-sepsis. ``updates``: from the same weights, on the same batches,
with the same optimizer, both make the same updates. The others: the values that each comes to by itself with the same
networks, discount, batch size, rate and number of updates; what else differs stands in results/estimates/fitted_q.md,
with what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import d3rlpy
import numpy as np
import torch
from d3rlpy.models import VectorEncoderFactory
from d3rlpy.torch_utility import TorchMiniBatch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.data import Bounded, Unbounded

import agents
from agents.evaluation.offline import Estimate, FQEConfig, Policy, Transitions, fitted_q_evaluation, outside_support
from agents.evaluation.offline.policy import one_hot
from agents.networks.configs import MLPConfig, QValueConfig
from agents.objectives import DiscreteFQELoss, FQELoss
from agents.training.update_rule import ForeachSoftUpdate
from estimate_tasks import Sepsis, table_policy

LAYERS, BATCH, LR, TARGET_EVERY, NUM_UPDATES, SEEDS = [64, 64], 128, 1e-3, 50, 3_000, (0, 1)


@dataclass(frozen=True, eq=False)
class Task:
    """A log, and policies that do always the same in a state: d3rlpy takes no others."""

    steps: Transitions
    policies: list[Policy]
    truth: list[float]
    gamma: float


def patients() -> Task:
    """ICU-Sepsis, 1,000 episodes of clinicians; values are exact."""
    sepsis = Sepsis()
    log = sepsis.log(1_000, 100)
    rarest = np.where(sepsis.allowed, sepsis.expert, np.inf).argmin(1)
    tables = {name: sepsis.policies[name] for name in ("optimal", "likeliest", "arbitrary", "worst")}
    tables["rarest"] = np.eye(sepsis.num_actions)[rarest]
    policies = [Policy(name, log.steps.specs, act_of(log.steps.specs, table)) for name, table in tables.items()]
    return Task(log.steps, policies, [sepsis.value(table) for table in tables.values()], log.gamma)


def act_of(specs: agents.Specs, table: NDArray[np.float64]) -> Callable[[Tensor], Tensor]:
    return table_policy("", specs, table).act


GAINS = {"idle": (0.0, 0.0), "weak": (0.3, 0.2), "good": (0.8, 0.8), "hard": (3.0, 1.0), "wrong": (-0.5, 0.0)}


def regulator() -> Task:
    """A mass that is to stay at 0, pushed at random: continuous actions, and episodes that are cut off."""
    states, actions, rewards = rollouts((0.4, 0.4), 300, 30, 0.6)
    specs = agents.Specs(Unbounded((2,)), Bounded(-1.0, 1.0, (1,)), torch.zeros(2), torch.ones(2))
    steps = Transitions(
        dataset="regulator",
        specs=specs,
        observation=torch.from_numpy(states[:, :-1]).float().flatten(0, 1),
        action=torch.from_numpy(actions).float().flatten(0, 1),
        reward=torch.from_numpy(rewards).flatten(),
        terminated=torch.zeros(rewards.size, dtype=torch.bool),
        next_observation=torch.from_numpy(states[:, 1:]).float().flatten(0, 1),
        lengths=torch.full((len(rewards),), rewards.shape[1]),
    )
    gamma, policies, truth = 0.9, [], []
    for name, gains in GAINS.items():
        policies.append(Policy(name, specs, pushing(gains)))
        truth.append(float(rollouts(gains, 20_000, 150)[2].mean(0) @ gamma ** np.arange(150)))
    return Task(steps, policies, truth, gamma)


def pushing(gains: tuple[float, float]) -> Callable[[Tensor], Tensor]:
    return lambda observation: (-observation @ torch.tensor(gains)[:, None]).clamp(-1.0, 1.0)


def rollouts(gains: tuple[float, float], num: int, length: int, noise: float = 0.0) -> tuple[NDArray[np.float64], ...]:
    """Positions and speeds ``[E, T + 1, 2]``, actions ``[E, T, 1]`` and rewards ``[E, T]``."""
    rng = np.random.default_rng(1)
    state, states, actions, rewards = rng.normal(0.0, 0.7, (num, 2)), [], [], []
    for _ in range(length):
        action = (-state @ np.array(gains) + noise * rng.normal(size=num)).clip(-1.0, 1.0)
        states.append(state)
        actions.append(action[:, None])
        rewards.append(1.0 - state[:, 0] ** 2 - 0.1 * action**2)
        position, speed = state.T
        after = np.stack([position + 0.3 * speed, 0.9 * speed + 0.5 * action], 1)
        state = after + 0.1 * rng.normal(size=(num, 2))
    return np.stack([*states, state], 1), np.stack(actions, 1), np.stack(rewards, 1)


def d3rlpy_fqe(task: Task, policy: Policy) -> Any:
    """Their estimator of a policy, with our networks."""
    config = d3rlpy.ope.FQEConfig(
        learning_rate=LR,
        encoder_factory=VectorEncoderFactory(LAYERS),
        batch_size=BATCH,
        gamma=task.gamma,
        target_update_interval=TARGET_EVERY,
    )
    asked = SimpleNamespace(predict_best_action=lambda observation: policy.actions(observation.float()))
    algorithm: Any = SimpleNamespace(impl=asked)  # no more of it is read
    kind = d3rlpy.ope.DiscreteFQE if task.steps.specs.discrete else d3rlpy.ope.FQE
    fqe = kind(algorithm, config)
    fqe.create_impl((task.steps.observation.shape[1],), num_actions(task.steps.specs))
    return fqe


def d3rlpy_rows(steps: Transitions) -> TensorDict:
    """The transitions that they pick from the log: of an episode that was cut off, all but the last."""
    ends, terminated = torch.zeros(len(steps)), steps.terminated.float()
    ends[steps.last] = 1.0
    data = d3rlpy.dataset.MDPDataset(
        observations=steps.observation.numpy(),
        actions=(steps.action[:, None] if steps.specs.discrete else steps.action).numpy(),
        rewards=steps.reward.float()[:, None].numpy(),
        terminals=terminated.numpy(),
        timeouts=(ends - terminated).numpy(),
        action_space=d3rlpy.ActionSpace.DISCRETE if steps.specs.discrete else d3rlpy.ActionSpace.CONTINUOUS,
        action_size=num_actions(steps.specs),
    )
    pick = data.transition_picker
    picked = [pick(episode, index) for episode in data.episodes for index in range(episode.transition_count)]
    batch = d3rlpy.dataset.TransitionMiniBatch.from_transitions(picked)
    after = {
        "observation": torch.as_tensor(batch.next_observations),
        "reward": torch.from_numpy(batch.rewards),
        "terminated": torch.from_numpy(batch.terminals),
    }
    rows = {"observation": torch.as_tensor(batch.observations), "action": torch.from_numpy(batch.actions)}
    return TensorDict({**rows, "next": TensorDict(after, [len(batch)])}, [len(batch)])


def num_actions(specs: agents.Specs) -> int:
    spec: Any = specs.action
    return spec.n if specs.discrete else spec.shape[-1]


def d3rlpy_value(task: Task, policy: Policy, rows: TensorDict, seed: int) -> float:
    """The mean of their Q where episodes begin, which is what their InitialStateValueEstimationEvaluator reports."""
    d3rlpy.seed(seed)
    fqe = d3rlpy_fqe(task, policy)
    for update in range(1, NUM_UPDATES + 1):
        fqe.impl.inner_update(d3rlpy_batch(rows[torch.randint(len(rows), (BATCH,))]), update)
    first = task.steps.observation[task.steps.first]
    return float(fqe.predict_value(first.numpy(), policy.actions(first).numpy()).mean())


def of_values(task: Task) -> Iterator[list[str]]:
    config = FQEConfig(
        critic="network",
        gradient_steps=NUM_UPDATES,
        batch_size=BATCH,
        lr=LR,
        qvalue=MLPConfig(hidden_sizes=LAYERS, init="default"),
        compile="off",
    )
    ours = fitted_q_evaluation(task.policies, task.steps, config, gamma=task.gamma)
    by_default = [known(each, policy, task) for each, policy in zip(tables(task), task.policies)]
    rows = d3rlpy_rows(task.steps)
    for policy, truth, estimate, table in zip(task.policies, task.truth, ours, by_default or ours):
        theirs = [d3rlpy_value(task, policy, rows, seed) for seed in SEEDS]
        inside = "yes" if estimate.low <= np.mean(theirs) <= estimate.high else "no"
        values = ", ".join(f"{value:.3f}" for value in theirs)
        cells = shown(known(estimate, policy, task)), values, inside, shown(table) if by_default else ""
        yield [policy.name, f"{truth:.3f}", *cells]


def tables(task: Task) -> list[Estimate]:
    """What we do by default where states are few."""
    discrete = task.steps.specs.discrete
    return fitted_q_evaluation(task.policies, task.steps, gamma=task.gamma) if discrete else []


def known(estimate: Estimate, policy: Policy, task: Task) -> Estimate:
    """With what our recipe knows of it too."""
    return estimate.knowing(outside_support=outside_support(policy, task.steps))


def shown(estimate: Estimate) -> str:
    caution = f", {estimate.caution}" if estimate.caution else ""
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f}){caution}"


def of_updates(name: str, task: Task, num_updates: int = 500) -> Iterator[list[str]]:
    """How far both are apart at an update, the weights after it; in float64."""
    torch.manual_seed(0)
    policy = task.policies[0]
    fqe = d3rlpy_fqe(task, policy)
    theirs = fqe.impl.modules
    theirs.q_funcs.double(), theirs.targ_q_funcs.double()
    loss, rows = our_loss(task, policy)
    with torch.no_grad():
        for mine, parameter in pairs(loss, theirs.q_funcs):
            parameter.copy_(as_theirs(mine, parameter))
    fqe.impl.update_target()
    optimizer, copy = torch.optim.Adam(loss.parameters(), lr=LR), ForeachSoftUpdate(loss, tau=1.0)
    generator = torch.Generator().manual_seed(0)
    for update in range(1, num_updates + 1):
        batch = rows[torch.randint(len(rows), (BATCH,), generator=generator)]
        error = loss(batch)["loss_qvalue"]
        optimizer.zero_grad()
        error.backward()
        their_error = fqe.impl.inner_update(d3rlpy_batch(batch), update)["loss"]
        optimizer.step()
        if update % TARGET_EVERY == 0:
            copy.step()
        if update in (1, num_updates):
            both = pairs(loss, theirs.q_funcs)
            gradient = max(difference(mine.grad, parameter.grad) for mine, parameter in both)
            weight = max(difference(mine, parameter) for mine, parameter in both)
            yield [name, f"{update:,}", f"{error.item():.6f}", f"{their_error:.6f}", f"{gradient:.0e}", f"{weight:.0e}"]


def our_loss(task: Task, policy: Policy) -> tuple[Any, TensorDict]:
    """Our loss with a critic, and the data as it reads them.

    Of discrete actions d3rlpy's is Huber's: half the square where errors are below 1, as with half the reward they are.
    """
    steps, specs = task.steps, task.steps.specs
    config = QValueConfig(hidden_sizes=LAYERS, init="default", num_nets=1)
    network = (config.build_action_values if specs.discrete else config.build)(specs).double()
    loss = (DiscreteFQELoss if specs.discrete else FQELoss)(network, gamma=task.gamma)
    after = policy.actions(steps.next_observation)
    choice = {"action_probability": one_hot(after, specs).double()} if specs.discrete else {"action": after.double()}
    following = {
        "observation": steps.next_observation.double(),
        "reward": steps.reward[:, None] / 2.0,
        "terminated": steps.terminated[:, None],
    }
    action = steps.action if specs.discrete else steps.action.double()
    rows = TensorDict({"observation": steps.observation.double(), "action": action}, [len(steps)])
    rows["next"] = TensorDict({**following, **choice}, [len(steps)])
    rows["critic_weight"] = torch.full((len(steps), 1), 0.5 if specs.discrete else 1.0, dtype=torch.float64)
    return loss, rows


def d3rlpy_batch(batch: TensorDict) -> TorchMiniBatch:
    after, action = batch["next"], batch["action"]
    none = torch.zeros(len(batch), 1)
    return TorchMiniBatch(
        observations=batch["observation"],
        actions=action[:, None] if action.ndim == 1 else action,
        rewards=after["reward"],
        next_observations=after["observation"],
        next_actions=none,
        returns_to_go=none,
        terminals=after["terminated"].to(after["reward"].dtype),
        intervals=none + 1.0,
        device="cpu",
    )


def pairs(loss: Any, q_funcs: nn.Module) -> list[tuple[Any, Any]]:
    """Our parameters and theirs, layer by layer."""
    return [*zip(loss.parameters(), q_funcs.parameters(), strict=True)]


def as_theirs(mine: Tensor, theirs: Tensor) -> Tensor:
    return mine[0].T.reshape(theirs.shape)  # [1, in, out] -> [out, in], [1, 1, out] -> [out]


def difference(mine: Tensor, theirs: Tensor) -> float:
    """The largest, over the largest number."""
    return ((as_theirs(mine, theirs) - theirs).abs().max() / theirs.abs().max()).item()


def show(header: list[str], rows: Iterator[list[str]]) -> None:
    for cells in chain((header, ["---"] * len(header)), rows):
        print(f"| {' | '.join(cells)} |", flush=True)


TASKS = {"patients": patients, "regulator": regulator}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for part in sys.argv[1:]:
        if part == "updates":
            rows = (row for name, task in TASKS.items() for row in of_updates(name, task()))
            show(["log", "update", "our loss", "d3rlpy's", "gradients differ by", "weights differ by"], rows)
        else:
            show(
                ["policy", "true", "ours", "d3rlpy's, two seeds", "inside", "ours by default"], of_values(TASKS[part]())
            )
        print()
