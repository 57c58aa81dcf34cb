"""Checkpoints of one run."""

from __future__ import annotations

import dataclasses
import sys

import torch
from torch import Generator
from torchrl.data import TensorDictReplayBuffer

from agents.checkpoint import Checkpoint
from agents.data.dataset import OfflineDataset
from agents.environments.environment import EvaluationEnv
from agents.errors import ConfigError, NonFiniteLossError
from agents.training.agent import Agent
from agents.training.generators import default_generator
from recipes.runs.folder import RunFolder
from recipes.runs.versions import versions
from recipes.settings.schema import TrainConfig


class Saver:
    """Checkpoints of one run: the agent, the random generators, and what an evaluation of the policy needs.

    Args:
        generator: what the agent draws from; None: torch's default one of its device.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        dataset: OfflineDataset,
        env: EvaluationEnv | None,
        agent: Agent,
        buffer: TensorDictReplayBuffer,
        generator: Generator | None = None,
    ) -> None:
        self._folder, self._checkpoints = folder, folder.checkpoints
        self._config, self._dataset, self._agent = config, dataset, agent
        self._random = generator or default_generator(agent.device)
        self._batches = buffer._rng  # TorchRL gives no public way to the generator, all that a resume needs of a buffer
        self._best_return: float | None = None
        self._saved_step = 0
        reference = env.reference if env else dataset.reference
        self._extra = {
            "algorithm": folder.info["algorithm"],
            "dataset": dataset.id,
            "dataset_fingerprint": dataset.fingerprint,
            "eval_env": env and env.spec.to_json(),
            "reference": dataclasses.astuple(reference) if reference else None,
            "versions": versions(),
            "devices": self._devices(),
        }

    def save(self, mean_return: float | None = None) -> None:
        """Write a checkpoint of this moment, once.

        Args:
            mean_return: of an evaluation made with these parameters; decides about ``best``.
        """
        if self._saved_step == self._agent.num_updates:
            return
        self._refuse_broken_parameters()
        is_best = mean_return is not None and (self._best_return is None or mean_return > self._best_return)
        if is_best:
            self._best_return = mean_return
        self._checkpoints.save(
            self._agent,
            is_best=is_best,
            config=self._config.algorithm,
            specs=self._dataset.specs,
            generators=self._generators(),
            extra={**self._extra, "best_return": self._best_return},
        )
        self._saved_step = self._agent.num_updates

    def _refuse_broken_parameters(self) -> None:
        """An update from finite losses can still end in infinite parameters; the next loss would show it, too late."""
        parameters = self._agent.loss_module.parameters()
        if not all(parameter.isfinite().all() for parameter in parameters):
            raise NonFiniteLossError(
                f"parameters are no longer finite after step {self._agent.num_updates}; the last checkpoint stays: "
                "lower the learning rate, or clip gradients (algorithm.max_grad_norm=1.0)"
            )

    def restore(self) -> int:
        """Go back to the newest readable checkpoint; returns its step, 0 when there is none yet."""
        if not self._folder.has_checkpoint:
            return 0
        checkpoint, warning = self._checkpoints.load_latest()
        if warning:
            print(f"warning: {warning}", file=sys.stderr)
        if checkpoint.extra["dataset_fingerprint"] != self._dataset.fingerprint:
            raise ConfigError(
                f"the data of {self._dataset.id} are not those that this run was trained on "
                f"({self._dataset.fingerprint[:12]} here, {checkpoint.extra['dataset_fingerprint'][:12]} there); start "
                "a new run"
            )
        checkpoint.restore(self._agent)
        self._restore_generators(checkpoint)
        self._best_return = checkpoint.extra["best_return"]
        self._saved_step = checkpoint.num_updates
        return checkpoint.num_updates

    def _restore_generators(self, checkpoint: Checkpoint) -> None:
        there = checkpoint.extra.get("devices", self._devices())
        if there != self._devices():
            text = f"the run was on {there}, this is {self._devices()}: it goes on with other batches"
            print(f"warning: {text}", file=sys.stderr)
            return
        states = checkpoint.generator_states()
        self._random.set_state(states["torch"])
        self._batches.set_state(states["buffer"])

    def _devices(self) -> list[str]:
        """Kinds of device of the agent and of the generator of the batches."""
        return [self._agent.device.type, self._batches.device.type]

    def _generators(self) -> dict[str, torch.Tensor]:
        return {"torch": self._random.get_state(), "buffer": self._batches.get_state()}
