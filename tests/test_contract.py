"""What every registered algorithm promises; a new one is tested by its line in the registry."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Categorical

import agents
from agents.algorithms.registry import check_actions
from agents.checkpoint import load, load_policy, save
from agents.data.layout import DEFAULT_KEYS, OPTIONAL_KEYS
from agents.evaluation.held_out import HeldOut
from agents.training.generators import random_generator
from agents.training.stack import AgentStack
from tests.conftest import PRESETS
from tests.worlds import WORLDS, environment_id, record

Batches = Callable[..., TensorDict]  # seed and, unless it is 16, the number of transitions
Path = tuple[str, ...]
# what makes an update quick, and three of them enough to see a difference
SMALL = {"hidden_sizes": [16, 16], "width": 16, "num_layers": 1, "context_length": 4, "warm_up": 2}
CONFIGS = {**agents.ALGORITHMS, **PRESETS}
LARGE = ("cal_ql", "cql", "rlpd", "wsrl")  # many actions or many critics
LONG_TO_COMPILE = (*LARGE, "bc_top", "edac", "rebrac", "sac", "td3_bc")  # what they are made of is in the others too
LONG_TO_TRACE = (*LONG_TO_COMPILE, "awac", "discrete_iql", "dt", "iql")  # as stacks; test_iql_options.py has one of iql
TRACED = [name for name in CONFIGS if name != "wsrl"]  # which has the loss of rlpd
DISCRETE = [name for name, config in agents.ALGORITHMS.items() if config.actions == "discrete"]
# the worlds that each algorithm can learn in; the other tests are on vectors, with a Box or one Discrete action
SUITED = [
    (name, world)
    for name in agents.ALGORITHMS
    for world, (_, actions) in WORLDS.items()
    if isinstance(actions, gym.spaces.Box) == (name not in DISCRETE)
]


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(name: str) -> Any:
    """The algorithm's defaults with small networks."""
    config = CONFIGS[name]()
    for path in settings(config):
        if path[-1] in SMALL:
            config = changed(config, path, SMALL[path[-1]])
        elif path[-1] == "every" and value_of(config, path) > 2:  # few updates are made
            config = changed(config, path, 1)
    return config


@pytest.fixture
def specs(config: Any, specs: agents.Specs, discrete_specs: agents.Specs) -> agents.Specs:
    """Of the kind of data that the algorithm learns from."""
    return {"continuous": specs, "discrete": discrete_specs}[config.actions]


@pytest.fixture
def batches(config: Any, specs: agents.Specs, batches_for: Callable[..., Batches]) -> Batches:
    return batches_for(specs, config.build(specs))


@pytest.fixture
def unsuited_specs(specs: agents.Specs) -> agents.Specs:
    """Of data that the algorithm cannot learn from."""
    action = Bounded(-torch.ones(3), torch.ones(3)) if specs.discrete else Categorical(3)
    return dataclasses.replace(specs, action=action)


def settings(config: Any, path: Path = ()) -> Iterator[Path]:
    """Where every setting of a config and of its nested parts is: the names that lead there."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, (*path, field.name))
        else:
            yield *path, field.name


def value_of(config: Any, path: Path) -> Any:
    return functools.reduce(getattr, path, config)


def changed(config: Any, path: Path, value: Any) -> Any:
    """A copy of a config with another value of one setting.

    Raises:
        ConfigError: if the value is refused.
    """
    name, *rest = path
    return dataclasses.replace(config, **{name: changed(getattr(config, name), rest, value) if rest else value})


def trained(config: Any, specs: agents.Specs, batches: Batches, num_updates: int = 3) -> agents.Agent:
    torch.manual_seed(0)
    agent = config.build(specs)
    for seed in range(num_updates):
        agent.update(batches(seed))
    return agent


def tensors(agent: agents.Agent) -> dict[str, Tensor]:
    """Parameters, targets and buffers."""
    state = agent.loss_module.state_dict()
    return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    assert first.keys() == second.keys()
    return {name for name, value in first.items() if not torch.equal(value, second[name])}


def observations(batch: TensorDict) -> Tensor:
    """Of all transitions, ``[B, O]``, also where those are in windows."""
    return batch["observation"].flatten(0, -2)


def act(policy: Any, observation: Tensor) -> Tensor:
    with torch.no_grad():
        return policy(TensorDict({"observation": observation}, observation.shape[:1]))["action"]


# Config --------------------------------------------------------------------------------------------------------------


def test_the_config_is_a_dataclass_whose_defaults_are_plain_values(name) -> None:
    config = CONFIGS[name]()
    plain = dataclasses.asdict(config)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert config == CONFIGS[name]()


def test_building_leaves_the_config_as_it_was(config, specs, batches) -> None:
    before = copy.deepcopy(config)
    trained(config, specs, batches)
    assert config == before


def test_an_unknown_name_is_refused_with_the_known_ones(config, specs) -> None:
    for path in settings(config):
        if isinstance(value_of(config, path), str):
            assert value_of(config, path) in choices(config, path, specs)


def choices(config: Any, path: Path, specs: agents.Specs) -> list[str]:
    """The names that the refusal of an unknown one gives."""
    with pytest.raises(agents.ConfigError) as caught:
        changed(config, path, "no-such-name").build(specs)
    message = str(caught.value)
    assert "\n" not in message and path[-1] in message and "'no-such-name'" in message
    return re.search("choose from (.+)$", message)[1].split(", ")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in CONFIGS], indirect=True
)
def test_every_setting_has_an_effect(config, specs, batches) -> None:
    bases = {repr(base): base for base in (config, *variants(config, specs))}
    usual = functools.cache(lambda text: trained(bases[text], specs, batches, num_effective(config)))
    for path in settings(config):
        assert any(has_effect(base, path, specs, batches, usual(text)) for text, base in bases.items()), path


def num_effective(config: Any) -> int:
    """Updates with two steps of an actor's at every second one: Adam's first has the size of no gradient."""
    return 5 if getattr(getattr(config, "actor_optimizer", None), "every", 1) == 2 else 3


def variants(config: Any, specs: agents.Specs) -> Iterator[Any]:
    """The config with one of its names changed, or one option on: some settings belong to one way to do a thing."""
    for path in settings(config):
        value = value_of(config, path)
        if isinstance(value, str):
            yield from (changed(config, path, name) for name in choices(config, path, specs) if name != value)
        elif value is None:
            yield changed(config, path, 1)


def has_effect(config: Any, path: Path, specs: agents.Specs, batches: Batches, usual: agents.Agent) -> bool:
    """Whether another value of the setting gives another agent than the ``usual`` one, which this config gives."""
    for value in alternatives(value_of(config, path), lambda: choices(config, path, specs)):
        with contextlib.suppress(agents.ConfigError):  # not all of them are in the range
            other = trained(changed(config, path, value), specs, batches, num_effective(config))
            if differ(usual, other, observations(batches(9))):
                return True
    return False


def alternatives(value: Any, names: Callable[[], list[str]]) -> list[Any]:
    """Other values of a setting; not all of them need to be in its range, nor to make a difference."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return [name for name in names() if name != value]
    if isinstance(value, list):
        return [value[:-1]]
    if isinstance(value, dict):  # a class of torch.optim's or torch.optim.lr_scheduler's
        return [{"name": "SGD"}, {"name": "ExponentialLR", "gamma": 0.1}]
    if value is None:
        return [1, 1e-3]
    if isinstance(value, int):
        # two, as a delay of one update makes no difference to what is due at every second; one, for a length of time
        return [value + 1, value + 2, 1]
    return [value / 100, value + 0.25, value + 5.5, value - 2.5, 0.5]


def differ(first: agents.Agent, second: agents.Agent, observation: Tensor) -> bool:
    """In what they learnt, in what they do, or in what they want to learn from."""
    one, other = tensors(first), tensors(second)
    return (
        {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in other.items()}
        or bool(differing(one, other))
        or not torch.equal(act(first.policy, observation), act(second.policy, observation))
        or first.sampling != second.sampling
    )


def test_data_with_the_other_kind_of_actions_are_refused_with_the_algorithms_for_them(config, unsuited_specs) -> None:
    suited = [other for other, known in agents.ALGORITHMS.items() if known.actions != config.actions]
    (name,) = (name for name, known in agents.ALGORITHMS.items() if known is type(config))
    with pytest.raises(agents.ConfigError) as caught:
        check_actions(config, unsuited_specs)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{name} learns from {config.actions} actions")
    assert message.endswith(f"; choose from {', '.join(suited)}")


def test_networks_refuse_the_other_kind_of_actions_in_one_line(config, unsuited_specs) -> None:
    with pytest.raises(agents.ConfigError, match=f"^this algorithm needs {config.actions} actions.*$"):
        config.build(unsuited_specs)


# Update --------------------------------------------------------------------------------------------------------------


def test_an_update_returns_finite_detached_scalars(config, specs, batches) -> None:
    agent = trained(config, specs, batches)
    statistics = agent.update(batches(3))
    assert all(isinstance(key, str) for key in statistics.keys(include_nested=True))
    assert any(key.startswith("loss_") for key in statistics.keys())
    for value in statistics.values():
        assert value.shape == () and value.isfinite() and not value.requires_grad
    assert all(math.isfinite(rate) and rate > 0.0 for rate in agent.learning_rates.values())


def test_an_update_changes_the_trained_parameters_and_targets_and_nothing_else(config, specs, batches) -> None:
    agent = trained(config, specs, batches)
    batch, before = batches(3), tensors(agent)
    states = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), agent.loss_module.training
    generators = random.getstate(), np.random.get_state()[1].tolist()
    agent.update(batch)
    learnt = {name for name, parameter in agent.loss_module.named_parameters() if parameter.requires_grad}
    targets = {name for name in before if name.startswith("target_") and name.removeprefix("target_") in learnt}
    assert learnt and differing(before, tensors(agent)) == learnt | targets
    assert agent.num_updates == 4
    batch = batch.exclude("td_error")  # TorchRL's losses say it, of each transition
    assert set(batch.keys(True)) == set(batches(3).keys(True)) and (batch == batches(3)).all()
    assert not any(value.requires_grad for value in batch.values(True, True))
    assert all(parameter.grad is None for parameter in agent.loss_module.parameters())
    assert states == (
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(), agent.loss_module.training
    )  # fmt: skip
    assert generators == (random.getstate(), np.random.get_state()[1].tolist())


def test_a_look_at_held_out_steps_is_finite_and_changes_nothing(config, specs, batches) -> None:
    agent, twin = trained(config, specs, batches), trained(config, specs, batches)
    held_out, generator = HeldOut(agent, specs, batches(7)), torch.get_rng_state()
    measures = held_out.measure()
    assert measures == held_out.measure() and all(map(math.isfinite, measures.values()))
    assert {name for name in agent.update(batches(3)).keys() if name.startswith("loss_")} < measures.keys()
    assert {"accuracy"} < measures.keys() if specs.discrete else {"action_error"} < measures.keys()
    torch.set_rng_state(generator)
    twin.update(batches(3))
    assert not differing(tensors(agent), tensors(twin))


def test_an_update_is_a_plain_step_of_adam_on_the_sum_of_the_losses(config, specs, batches) -> None:
    agent, twin = trained(config, specs, batches, 0), trained(config, specs, batches, 0)
    due = [(parameters, adam) for parameters, adam in twin.rule.groups.values() if adam.due(1)]
    groups = [{"params": params, "lr": adam.lr_at(0), "weight_decay": adam.weight_decay} for params, adam in due]
    torch.manual_seed(1)
    losses = twin.loss_module(batches(0))
    sum(loss for name, loss in losses.items() if name.startswith("loss_")).backward()
    if twin.rule.max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(twin.loss_module.parameters(), twin.rule.max_grad_norm)
    torch.optim.AdamW(groups, foreach=False, fused=False).step()
    torch.manual_seed(1)
    agent.update(batches(0))
    for (name, ours), theirs in zip(agent.loss_module.named_parameters(), twin.loss_module.parameters()):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7, msg=lambda text: f"{name}: {text}")  # noqa: B023


def test_an_update_needs_only_the_keys_that_the_loss_names(config, specs, batches) -> None:
    asked = config.build(specs).loss_module.in_keys
    assert set(asked) <= {*DEFAULT_KEYS, *OPTIONAL_KEYS}
    whole = tensors(trained(config, specs, batches))
    assert not differing(whole, tensors(trained(config, specs, lambda seed: batches(seed).select(*asked))))


def test_the_seed_decides_everything(config, specs, batches) -> None:
    first, second = trained(config, specs, batches), trained(config, specs, batches)
    assert not differing(tensors(first), tensors(second))
    torch.manual_seed(1)
    assert differing(tensors(config.build(specs)), tensors(first))


@functools.cache
def compiler_problem() -> str | None:
    """Why torch cannot compile on this machine; None where it can."""
    try:
        torch.compile(torch.sin)(torch.ones(8))
    except Exception as error:
        return str(error).strip().splitlines()[0]
    return None


# ten seconds of C++ each: `make test-slow` runs it; every compilation checks its results anyway
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=[pytest.mark.slow] * (mode == "inductor" or name in LONG_TO_COMPILE))
        for name in TRACED
        for mode in ("trace", "inductor")
    ],
    indirect=["name"],
)
def test_a_compiled_update_equals_the_eager_one(config, specs, batches, mode) -> None:
    """Over many updates, with the random numbers of the eager one."""
    if mode == "inductor" and compiler_problem():
        pytest.skip(f"torch cannot compile here: {compiler_problem()}")
    eager, compiled = trained(config, specs, batches), trained(config, specs, batches)
    generator = torch.get_rng_state()
    compiled.compile(batches(9), mode)
    assert torch.equal(torch.get_rng_state(), generator), "compiling draws random numbers"
    assert not differing(tensors(compiled), tensors(eager)), "compiling changes the agent"
    for seed in range({"trace": 10, "inductor": 100}[mode]):
        torch.manual_seed(seed)
        expected = eager.update(batches(seed)).to_dict()
        torch.manual_seed(seed)
        torch.testing.assert_close(compiled.update(batches(seed)).to_dict(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tensors(compiled), tensors(eager), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("discrete_cql", "trace"),
        ("discrete_iql", "trace"),
        *(pytest.param(name, "inductor", marks=pytest.mark.slow) for name in DISCRETE),
    ],
)
def test_a_compiled_update_on_actions_with_parts_equals_the_eager_one(
    config, factored_specs, batches_for, mode
) -> None:
    batches = batches_for(factored_specs, config.build(factored_specs))
    test_a_compiled_update_equals_the_eager_one(config, factored_specs, batches, mode)


def alone(agent: agents.Agent, generator: torch.Generator, batch: TensorDict) -> TensorDict:
    """An update that draws its random numbers from a generator of its own."""
    torch.set_rng_state(generator.get_state())
    statistics = agent.update(batch)
    generator.set_state(torch.get_rng_state())
    return statistics


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=[pytest.mark.slow] * (mode == "trace" and name in LONG_TO_TRACE))
        for name in TRACED
        for mode in ("off", "trace")
    ],
    indirect=["name"],
)
def test_stacked_agents_are_what_each_is_alone(config, specs, batches, tmp_path, mode) -> None:
    """Over many updates: losses, parameters, targets and what a checkpoint holds."""
    num_updates = {"off": 3, "trace": 10}[mode]  # the former is the updates of each, one after the other
    singles, parts, generators = [], [], []
    for seed in (0, 1):
        torch.manual_seed(seed)
        singles.append((config.build(specs), random_generator(torch.device("cpu"))))
        torch.manual_seed(seed)
        parts.append(config.build(specs))
        generators.append(random_generator(torch.device("cpu")))
    stack = AgentStack(parts, generators)
    stack.compile(torch.stack([batches(0), batches(1)]), mode)
    for step in range(num_updates):
        different = [batches(2 * step), batches(2 * step + 1)]
        together = stack.update(torch.stack(different)).to_dict()
        expected = [alone(*single, batch).to_dict() for single, batch in zip(singles, different)]
        for index, statistics in enumerate(expected):
            mine = {key: value[index] for key, value in together.items()}
            torch.testing.assert_close(mine, statistics, rtol=1e-5, atol=1e-5)
    for (agent, _), part in zip(singles, parts):
        torch.testing.assert_close(tensors(part), tensors(agent), rtol=1e-5, atol=1e-5)
        assert part.num_updates == num_updates and part.learning_rates == agent.learning_rates
        saved = load(save(tmp_path / "a", part, config=config, specs=specs)).build_agent()
        assert saved.state_dict()["optimizer"].keys() == agent.state_dict()["optimizer"].keys()
        assert not differing(tensors(saved), tensors(part))
        torch.testing.assert_close(
            saved.state_dict()["optimizer"], agent.state_dict()["optimizer"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", DISCRETE)
def test_stacked_agents_on_actions_with_parts_are_what_each_is_alone(
    config, factored_specs, batches_for, tmp_path
) -> None:
    batches = batches_for(factored_specs, config.build(factored_specs))
    test_stacked_agents_are_what_each_is_alone(config, factored_specs, batches, tmp_path, "trace")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in (*LARGE, "dt", "edac"))) for name in TRACED],
    indirect=True,
)
def test_the_number_of_threads_changes_nothing_that_matters(name, specs, batches) -> None:
    """Of the losses, that is: Adam turns a gradient's rounding error around zero into a step of full length."""
    config = CONFIGS[name]()  # networks of the real size, so that torch does split the work
    results, before = [], torch.get_num_threads()
    try:
        for num_threads in (1, 2):
            torch.manual_seed(0)
            agent = config.build(specs)
            torch.set_num_threads(num_threads)
            updates = [agent.update(batches(seed, 256)) for seed in range(2)]  # the second loss is after a step
            results.append([statistics.to_dict() for statistics in updates])
            torch.set_num_threads(before)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_before_anything_changes(config, specs, batches) -> None:
    agent, batch = trained(config, specs, batches), batches(3)
    before = tensors(agent)
    batch["observation"][0] = math.nan
    with pytest.raises(agents.NonFiniteLossError, match="loss_.* = nan at step 4") as caught:
        agent.update(batch)
    assert "\n" not in str(caught.value)
    assert not differing(before, tensors(agent))
    assert agent.num_updates == 3


# Checkpoint ----------------------------------------------------------------------------------------------------------


def test_training_goes_on_after_loading_as_if_it_had_never_stopped(config, specs, batches, tmp_path) -> None:
    agent = trained(config, specs, batches)
    path = save(tmp_path / "a", agent, config=config, specs=specs, generators={"torch": torch.get_rng_state()})
    expected = [agent.update(batches(seed)).to_dict() for seed in range(3, 6)]

    torch.manual_seed(99)
    checkpoint = load(path)
    restored = checkpoint.build_agent()
    torch.set_rng_state(checkpoint.generator_states()["torch"])
    assert [restored.update(batches(seed)).to_dict() for seed in range(3, 6)] == expected
    assert restored.num_updates == agent.num_updates == 6
    assert not differing(tensors(agent), tensors(restored))


def test_a_loaded_policy_scales_observations_by_itself(config, specs, batches, tmp_path) -> None:
    config.normalize_observations = True
    agent = trained(config, specs, batches)
    loaded = load_policy(save(tmp_path / "a", agent, config=config, specs=specs))
    observation = observations(batches(9))
    agent.policy.eval()
    assert torch.equal(act(loaded, observation), act(agent.policy, observation))

    moved = dataclasses.replace(specs, observation_mean=specs.observation_mean + 10.0)
    torch.manual_seed(0)
    first = config.build(specs).policy.eval()
    torch.manual_seed(0)
    second = config.build(moved).policy.eval()
    torch.testing.assert_close(act(second, observation + 10.0), act(first, observation))
    assert not torch.allclose(act(second, observation), act(first, observation))


# Data ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], agents.OfflineDataset]]:
    """The data of a world, recorded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
        yield functools.cache(record)


@pytest.mark.parametrize(("name", "world"), SUITED)
def test_it_learns_from_every_kind_of_data_and_acts_where_they_come_from(config, world, data_of, tmp_path) -> None:
    dataset = data_of(world)
    torch.manual_seed(0)
    agent = config.build(dataset.specs)
    buffer = dataset.replay_buffer(16, **agent.sampling)
    for _ in range(2):
        batch = buffer.sample()
        assert all(value.isfinite() for value in agent.update(batch).values())
    path = save(tmp_path / "a", agent, config=config, specs=dataset.specs)
    with load(path).specs().environment(environment_id(world), owner="the policy") as env:
        result = agents.evaluate(load_policy(path), env, 2)  # an action that is none of its own would be refused
        np.testing.assert_array_equal(result.returns, agents.evaluate(agent.policy, env, 2).returns)


# Policy --------------------------------------------------------------------------------------------------------------


def test_the_policy_acts_inside_the_bounds_whatever_it_sees(config, specs, batches) -> None:
    policy = trained(config, specs, batches).policy.eval()
    assert specs.discrete or not torch.equal(specs.action.space.low, -specs.action.space.high)
    for scale in (0.0, 1.0, 1e6):
        action = act(policy, scale * observations(batches(3)))
        assert action.shape == (16, *specs.action.shape) and action.dtype == specs.action.dtype
        assert specs.action.is_in(action)


def test_bounds_that_are_no_round_numbers_and_a_locked_dimension(config, specs, batches) -> None:
    """Where center and half range are rounded, their sum may be beyond the bound; where bounds are equal, it is 0."""
    if not specs.discrete:
        low, high = torch.tensor([-3.0718, -0.35, 0.5]), torch.tensor([-0.0698, 1.2, 0.5])
        specs = dataclasses.replace(specs, action=Bounded(low, high))

    def moved(seed: int) -> TensorDict:
        batch = batches(seed)
        for part in (batch, batch["next"]) if not specs.discrete else ():
            if "action" in part:
                part["action"] = low + (high - low) * torch.rand_like(part["action"])
        return batch

    has_choice = ("actor", "distribution") in settings(config)
    for kind in ("normal", "tanh_normal") if has_choice else (None,):
        config = config if kind is None else changed(config, ("actor", "distribution"), kind)
        policy = trained(config, specs, moved).policy
        for scale in (1.0, 1e6):
            assert specs.action.is_in(act(policy, scale * observations(batches(3))))


def test_the_policy_is_deterministic_and_acts_on_each_row_alone(config, specs, batches) -> None:
    policy = trained(config, specs, batches).policy.eval()
    observation = observations(batches(3))
    together = act(policy, observation)
    assert torch.equal(act(policy, observation), together)
    one_by_one = torch.cat([act(policy, row) for row in observation.split(1)])
    torch.testing.assert_close(one_by_one, together)


def test_the_policy_is_what_is_trained(config, specs, batches) -> None:
    agent = trained(config, specs, batches)
    agent.policy.eval()
    observation = observations(batches(9, 10_000))  # of which some are where one discrete action gives way to another
    before = act(agent.policy, observation)
    agent.loss_module.train()
    agent.update(batches(3))
    agent.policy.eval()
    assert not torch.equal(act(agent.policy, observation), before)
