"""Checkpoints of one run."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

from agents.checkpoint import Checkpoint
from agents.errors import CheckpointError, ConfigError, NonFiniteLossError, one_line
from agents.files import unflatten
from agents.training.generators import default_generator
from recipes.runs.training import Training
from recipes.runs.validation import note_split
from recipes.runs.versions import versions


class Saver:
    """Checkpoints of one run: the agent, the random generators, and what an evaluation of the policy needs."""

    def __init__(self, run: Training) -> None:
        self._run, self._agent, self._checkpoints = run, run.agent, run.folder.checkpoints
        # TorchRL gives no public way to the generator, all that a resume needs of a buffer
        self._generators = {"torch": run.generator or default_generator(run.agent.device), "buffer": run.buffer._rng}
        if run.online is not None:
            self._generators["experience"] = run.online.generator
        self._devices = [run.agent.device.type, run.buffer._rng.device.type]
        # what the best checkpoint has most of
        self._measure = "best_return" if run.env or not run.estimation else "best_estimate"
        self._best: float | None = None
        self._saved_at: tuple[int, int, bool] | None = None
        self._said = False  # that a return is not finite
        reference = run.env.reference if run.env else run.dataset.reference
        self._extra = {
            "algorithm": run.folder.info["algorithm"],
            "dataset": run.dataset.id,
            "dataset_fingerprint": run.dataset.fingerprint,
            **note_split(run.config),
            "eval_env": run.env and run.env.spec.to_json(),
            "reference": dataclasses.astuple(reference) if reference else None,
            "reward_scale": run.reward_scale,
            "versions": versions(),
            "devices": self._devices,
        }

    def save(self, merit: float | None = None, *, anew: bool = False) -> None:
        """Write a checkpoint of this moment, once unless ``anew``; how good the policy is decides about ``best``.

        Args:
            merit: its mean return or, where there is no environment, its estimate; None: not known, or meaningless.
        """
        if self._saved_at == self._moment and merit is None and not anew:
            return
        # finite losses can still end in infinite parameters, which the next loss would show, too late
        if not all(parameter.isfinite().all() for parameter in self._agent.loss_module.parameters()):
            raise NonFiniteLossError(
                f"parameters are no longer finite after step {self._agent.num_updates}; the last checkpoint stays: "
                "lower the learning rate, or clip gradients (algorithm.max_grad_norm=1.0)"
            )
        if merit is not None and not math.isfinite(merit):
            if not self._said:
                step = self._agent.num_updates
                print(f"warning: the mean return at step {step} is {merit}: never the best", file=sys.stderr)
            self._said, merit = True, None
        is_best = merit is not None and (self._best is None or merit > self._best)
        if is_best:
            self._best = merit
        self._checkpoints.save(
            self._agent,
            is_best=is_best,
            config=self._run.config.algorithm,
            specs=self._run.specs,
            generators={name: generator.get_state() for name, generator in self._generators.items()},
            extra={**self._extra, **self._note_experience(), "best_return": None, self._measure: self._best},
        )
        self._saved_at = self._moment

    @property
    def _moment(self) -> tuple[int, int, bool]:
        """Updates, steps in the environment, and whether the offline policy is back."""
        online = self._run.online
        place = (0, False) if online is None else (online.env_step, online.stopped)
        return self._agent.num_updates, place[0], place[1]

    def _note_experience(self) -> dict[str, Any]:
        return {} if self._run.online is None else {"online": self._run.online.save()}

    def restore(self) -> int:
        """Go back to the newest readable checkpoint; returns its step, 0 when there is none yet."""
        if not self._run.folder.has_checkpoint:
            return 0
        checkpoint, warning = self._checkpoints.load_latest(self._use)
        if warning:
            print(f"warning: {warning}", file=sys.stderr)
        best = checkpoint.extra.get(self._measure)
        # earlier versions kept a NaN, against which no return is better
        self._best = best if isinstance(best, (int, float)) and math.isfinite(best) else None
        self._saved_at = self._moment
        return checkpoint.num_updates

    def _use(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint; a CheckpointError, if that cannot be."""
        here, there = self._run.dataset.fingerprint, checkpoint.extra.get("dataset_fingerprint")
        if not isinstance(there, str):
            raise CheckpointError(f"{checkpoint.path} does not say which data it was trained on")
        if here != there:
            differing = f"{here[:12]} here, {there[:12]} there"
            data = f"the data of {self._run.dataset.id}"
            raise ConfigError(f"{data} are not those that this run was trained on ({differing}); start a new run")
        adam = not any(self._agent.rule.optimizer.others)  # which always has a state
        if adam and checkpoint.num_updates and not unflatten(checkpoint.tensors).get("optimizer"):
            raise CheckpointError(f"{checkpoint.path} lacks the state of the optimizer")
        if self._run.online is not None:
            self._run.online.restore(checkpoint)
        checkpoint.restore(self._agent)
        self._restore_generators(checkpoint)

    def _restore_generators(self, checkpoint: Checkpoint) -> None:
        there = checkpoint.extra.get("devices", self._devices)
        if there != self._devices:
            where = f"the run was on {there}, this is {self._devices}"
            print(f"warning: {where}: it goes on with other batches", file=sys.stderr)
            return
        states = checkpoint.generator_states()
        for name, generator in self._generators.items():
            try:
                generator.set_state(states[name])
            except (KeyError, RuntimeError, TypeError) as error:
                why = f"no usable state of the random generator {name!r}: {one_line(error)}"
                raise CheckpointError(f"{checkpoint.path} has {why}") from error
