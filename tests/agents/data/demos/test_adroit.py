"""The policies that ship, and as they are used; most tests have a bundle of random policies for pen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import agents
from agents.data.demos import adroit
from agents.environments.adroit import ADROIT_TASKS
from agents.environments.environment import EvaluationEnv

NUM_OBSERVATIONS, NUM_ACTIONS = 45, 24  # of pen


class Noiseless:
    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


@pytest.mark.parametrize("name", ["expert", "weak"])
def test_a_bundled_policy_equals_the_torch_policy_that_it_came_from(policies, name) -> None:
    bundled = getattr(adroit.load_bundle("pen"), name)
    rng = np.random.default_rng(0)
    for observation in (*rng.standard_normal((20, NUM_OBSERVATIONS)), np.zeros(NUM_OBSERVATIONS)):
        action = bundled(observation, Noiseless())
        with torch.no_grad():
            expected = policies[name].module(torch.from_numpy(observation).float()[None])[0].numpy()
        assert action.dtype == np.float32
        np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-6)


def test_noise_is_gaussian_with_its_own_spread_per_dimension_and_clipped(policies) -> None:
    bundled = adroit.load_bundle("pen").expert
    observation = np.zeros(NUM_OBSERVATIONS)
    mean, noise = bundled(observation, Noiseless()), np.random.default_rng(3).standard_normal(NUM_ACTIONS)
    expected = mean + np.linspace(0.05, 0.2, NUM_ACTIONS) * noise
    step = 2.0**-20  # of the grid: the mean and the sum are each rounded to it
    np.testing.assert_allclose(bundled(observation, np.random.default_rng(3)), expected.clip(-1, 1), rtol=0, atol=step)

    class Storm:
        def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
            return np.full(shape, 1000.0)

    assert (bundled(observation, Storm()) == 1.0).all()


def test_the_policies_that_ship_are_small_and_there_for_every_task() -> None:
    files = list(adroit.POLICIES.glob("*.safetensors"))
    assert {file.stem for file in files} == set(ADROIT_TASKS)
    assert sum(file.stat().st_size for file in files) < 500_000


@pytest.mark.parametrize(
    ("task", "num_observations", "num_actions"),
    [("pen", 45, 24), ("hammer", 46, 26), ("door", 39, 28), ("relocate", 39, 30)],
)
def test_each_bundle_fits_its_task(task, num_observations, num_actions) -> None:
    bundle = adroit.load_bundle(task)
    observation = np.random.default_rng(0).standard_normal(num_observations)
    actions = [policy(observation, Noiseless()) for policy in (bundle.expert, bundle.weak)]
    assert all(action.shape == (num_actions,) and np.isfinite(action).all() for action in actions)
    assert not np.allclose(*actions)
    assert (bundle.expert.noise_std > 0).all()
    assert 0.0 < bundle.expert_share < 1.0
    assert bundle.ref_min_score < bundle.ref_max_score


def test_the_expert_of_pen_is_clearly_better_than_the_weak_policy() -> None:
    bundle = adroit.load_bundle("pen")
    with EvaluationEnv("AdroitHandPen-v1", num_envs=2) as env:
        expert, weak = (agents.evaluate(policy, env, 2).returns.mean() for policy in (bundle.expert, bundle.weak))
    assert bundle.ref_min_score < weak < 0.5 * expert
