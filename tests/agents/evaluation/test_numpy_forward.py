"""A network in NumPy against itself in torch, and the networks that stay in torch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torchrl.data import MultiCategorical

import agents
from agents.evaluation.numpy_forward import as_numpy
from agents.networks.configs import ActorConfig
from agents.networks.policies import deterministic_policy


def in_torch(network: nn.Module, observations: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([network(row) for row in torch.from_numpy(observations).split(1)]).numpy()


def in_numpy(network: nn.Module, observations: np.ndarray) -> np.ndarray:
    forward = as_numpy(network, observations.shape[1:])
    return np.stack([forward(row) for row in observations])


def evaluated(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).eval()


MORE_THAN_PERCEPTRONS = ("diffusion_bc", "dt")  # they stay in torch
PERCEPTRONS = [
    name
    for name, known in agents.ALGORITHMS.items()
    if known.actions == "continuous" and name not in MORE_THAN_PERCEPTRONS
]


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return evaluated(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 3, bias=False))


def draw_observations(scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(0).standard_normal((100, 5), dtype=np.float32)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("algorithm", PERCEPTRONS)
def test_the_policy_of_an_algorithm_acts_as_in_torch(algorithm, normalize, scale, specs) -> None:
    torch.manual_seed(0)
    observations = draw_observations(scale)
    network = agents.ALGORITHMS[algorithm](normalize_observations=normalize).build(specs).policy.module
    actions = in_numpy(network, observations)
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions, in_torch(network, observations), rtol=1e-5, atol=1e-5)
    assert (actions >= specs.action.space.low.numpy()).all() and (actions <= specs.action.space.high.numpy()).all()


def test_a_categorical_actor_acts_as_in_torch(discrete_specs) -> None:
    torch.manual_seed(0)
    network = agents.DiscreteIQLConfig(normalize_observations=True).build(discrete_specs).policy.module
    actions = in_numpy(network, draw_observations())
    assert len(set(actions)) > 1
    np.testing.assert_array_equal(actions, in_torch(network, draw_observations()))


def test_an_actor_whose_parts_have_equally_many_values_acts_as_in_torch_and_another_stays_there(factored_specs) -> None:
    torch.manual_seed(0)
    binary = dataclasses.replace(factored_specs, action=MultiCategorical(torch.tensor([2, 2, 2, 2])))
    network = agents.DiscreteIQLConfig().build(binary).policy.module
    actions = in_numpy(network, draw_observations())
    assert actions.shape == (100, 4) and len(np.unique(actions, axis=0)) > 1
    np.testing.assert_array_equal(actions, in_torch(network, draw_observations()))
    assert as_numpy(agents.DiscreteIQLConfig().build(factored_specs).policy.module, (5,)) is None


def test_tanh_layers_and_layers_without_bias_act_as_in_torch(specs) -> None:
    actor = deterministic_policy(ActorConfig(activation="tanh").build(specs)).module
    observations = draw_observations()
    for network in (perceptron(), evaluated(perceptron(), nn.Tanh()), actor):
        expected = in_torch(network, observations)
        np.testing.assert_allclose(in_numpy(network, observations), expected, rtol=1e-5, atol=1e-5)


def test_observations_are_left_as_they_are() -> None:
    network = evaluated(nn.ReLU(inplace=True), nn.Linear(5, 3))
    observation = -np.ones(5, dtype=np.float32)
    as_numpy(network, (5,))(observation)
    assert (observation == -1.0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_passes_through_without_a_warning(value: float) -> None:
    observations = np.full((1, 5), value, dtype=np.float32)
    action = in_numpy(perceptron(), observations)
    np.testing.assert_array_equal(np.isnan(action), np.isnan(in_torch(perceptron(), observations)))


class Users(nn.Module):
    """Does something that a record of its calls to torch does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)
        self.num_calls = 0

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        self.num_calls += 1
        return self.linear(observation) * self.num_calls


def test_modules_that_are_neither_torchs_nor_ours_stay_in_torch_and_are_not_called() -> None:
    users = Users().eval()
    assert as_numpy(users, (5,)) is None and as_numpy(evaluated(users), (5,)) is None
    assert users.num_calls == 0
    assert as_numpy(evaluated(parametrizations.weight_norm(nn.Linear(5, 3))), (5,)) is None


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_modules_with_a_hook_stay_in_torch(register: str) -> None:
    network = perceptron()
    getattr(network[0], register)(lambda *_: pytest.fail("called"))
    assert as_numpy(network, (5,)) is None


def test_modules_in_training_mode_stay_in_torch() -> None:
    network = perceptron()
    network[2].train()
    assert as_numpy(network, (5,)) is None


@pytest.mark.parametrize("layer", [nn.GELU(), nn.Softplus(), nn.Flatten(0)])
def test_functions_without_a_numpy_counterpart_stay_in_torch(layer: nn.Module) -> None:
    assert as_numpy(evaluated(layer, nn.Linear(5, 3)), (5,)) is None


@pytest.mark.parametrize("shape", [(), (5, 5), (2, 5, 5)])
def test_observations_that_are_no_vectors_stay_in_torch(shape: tuple[int, ...]) -> None:
    assert as_numpy(nn.Linear(5, 5).eval(), shape) is None
