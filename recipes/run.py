"""One run's folder: what is in it, how it is begun, resumed or overwritten, and how a run is interrupted.

The folder:

    <run_dir>/config.yaml        resolved settings
              run.json           versions, dataset fingerprint and means, algorithm, W&B id, how updates are computed
              metrics.csv        a row per log point: step, then the keys of the dashboard
              evaluations.csv    a row per evaluation
              returns.png        the evaluations as a curve, beside a random policy and the dataset
              training.png       the columns of metrics.csv as curves
              videos/            with eval_videos=true
              checkpoints/       last, previous and best, as safetensors
              output.log         what it printed, where several are made at the same time
              wandb/             with logger=wandb
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tensordict import TensorDictBase
from torch import Generator
from torchrl.data import TensorDictReplayBuffer
from yaml import YAMLError

from agents import metrics
from agents.agent import Agent
from agents.algorithms import ALGORITHMS
from agents.checkpoint import Checkpoint, CheckpointFolder, write_atomically
from agents.compilation import choose_matmul_precision
from agents.data import OfflineDataset
from agents.envs import EvaluationEnv
from agents.errors import ConfigError, NonFiniteLossError
from agents.stack import default_generator
from config import TrainConfig, build, require_place
from versions import versions

Result = TypeVar("Result")
# settings that change where and how a run goes on; another kind of device ends bit-exactness, with a warning
FREE_ON_RESUME = (
    "resume",
    "device",
    "compile",
    "storage",
    "logger",
    "wandb",
    "num_eval_envs",
    "checkpoint_every",
    "eval_videos",
    "keep_videos",
    "trust_env",
)
ASIDE = ("overwritten", "discarded")  # endings of hidden folders beside a run that is being overwritten


class RunFolder:
    """The files of one run; see the module's docstring."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.info_file = self.path / "run.json"
        self.metrics_file = self.path / "metrics.csv"
        self.evaluations_file = self.path / "evaluations.csv"
        self.plot_file = self.path / "returns.png"
        self.training_plot_file = self.path / "training.png"
        self.checkpoints = CheckpointFolder(self.path / "checkpoints")

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun there; others may have a config.yaml too."""
        return self.config_file.exists() and self.info_file.exists()

    @property
    def has_checkpoint(self) -> bool:
        return self.checkpoints.last.exists() or self.checkpoints.previous.exists()

    @property
    def had_checkpoint(self) -> bool:
        """Whether there was one for certain: each is saved before the next evaluation."""
        return self.evaluations_file.exists() and len(read_csv(self.evaluations_file)) > 1

    @property
    def info(self) -> dict[str, Any]:
        return json.loads(self.info_file.read_text())

    def add_info(self, **values: Any) -> None:
        known = self.info if self.info_file.exists() else {}
        write_atomically(self.info_file, json.dumps({**known, **values}, indent=2).encode())


def open_run(cfg: DictConfig) -> tuple[RunFolder, TrainConfig, bool]:
    """Find the run that the settings describe; nothing is written or deleted yet.

    Returns:
        The folder, the settings, and whether the run goes on from where it stopped.

    Raises:
        ConfigError: if the folder holds another run, or none where one should be resumed.
    """
    folder = RunFolder(cfg.resume if cfg.resume is not None else cfg.run_dir)
    _undo_overwrite(folder)
    if cfg.resume is not None:
        return (*_resume(cfg), True)
    if folder.path.exists() and (not folder.path.is_dir() or any(folder.path.iterdir())):
        if not folder.holds_run:
            raise ConfigError(f"{folder.path} holds something that is not a run; choose another run_dir")
        if not cfg.overwrite:
            raise ConfigError(
                f"{folder.path} already holds a run: go on with it by resume={folder.path}, start over with "
                "overwrite=true, or choose another run_dir"
            )
    require_place("run_dir", folder.path)
    return folder, build(cfg, "train"), False


def claim(folder: RunFolder) -> FileLock:
    """Keep other processes off the run's folder, as long as the lock lives; the system frees it after a kill.

    Raises:
        ConfigError: if another process works there, or the folder cannot be written.
    """
    lock = FileLock(folder.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"another process is at work in {folder.path}; wait for it, or stop it first") from error
    except OSError as error:
        raise ConfigError(f"cannot write to {folder.path}: {error.strerror}; choose another run_dir") from error
    return lock


def speed_up(
    agent: Agent, example: TensorDictBase, config: TrainConfig, *, before: Mapping[str, str]
) -> dict[str, str]:
    """Choose how updates are computed, in one line for the user.

    Args:
        example: a batch, to be measured with.
        before: what an earlier part of the run chose: it is taken again, since another way rounds differently.

    Returns:
        What ``run.json`` keeps: ``compile`` and ``matmul_precision``, as they are in force.

    Raises:
        ConfigError: if the settings ask for a way that cannot be had here.
    """
    wanted = {"compile": config.compile, "matmul_precision": config.matmul_precision}
    chosen = {name: before.get(name, value) if value == "auto" else value for name, value in wanted.items()}
    matmul_precision = choose_matmul_precision(chosen["matmul_precision"], agent.device)
    dtype = getattr(torch, config.precision)
    try:
        compilation = agent.compile(example, chosen["compile"], dtype=dtype)
    except ConfigError as error:
        if config.compile != "auto":
            raise
        print(f"warning: {error}; the run goes on with other rounding errors", file=sys.stderr)
        compilation = agent.compile(example, "auto", dtype=dtype)
    print(f"{compilation}, {config.precision}, matmul_precision={matmul_precision}")
    return {"compile": compilation.mode, "matmul_precision": matmul_precision}


@contextmanager
def begin(
    folder: RunFolder, cfg: DictConfig, config: TrainConfig, dataset: OfflineDataset, speed: Mapping[str, str]
) -> Iterator[None]:
    """Make the folder of a new run; if the block, which starts the run, fails, all is as it was before.

    The run that is overwritten goes only afterwards, when everything is known to work. A kill in between is undone by
    the next :func:`open_run`.
    """
    path = folder.path.resolve()  # a link to a folder stays one
    staged, overwritten, discarded = (path.with_name(f".{path.name}.{end}") for end in ("new", *ASIDE))
    for leftover in (staged, discarded):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder.path}: {error.strerror}; choose another run_dir") from error
    try:
        new = RunFolder(staged)
        new.add_info(
            algorithm=_algorithm_choice(),
            algorithm_config=type(config.algorithm).__name__,
            dataset_fingerprint=dataset.fingerprint,
            wandb_id=_wandb_id(),
            versions=versions(),
            data=None if dataset.names_another_env(config.eval_env) else metrics.data(dataset),
            **speed,
        )
        write_atomically(new.config_file, OmegaConf.to_yaml(cfg, resolve=True).encode())
        if path.exists() and any(path.iterdir()):
            _set_aside(folder, overwritten, overwrite=cfg.overwrite)
        if path.exists():  # empty, and perhaps the current folder
            for file in (new.info_file, new.config_file):
                file.rename(path / file.name)
            staged.rmdir()
        else:
            staged.rename(path)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        _undo_overwrite(folder)
        raise
    try:
        yield
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        _undo_overwrite(folder)
        raise
    if overwritten.exists():
        overwritten.rename(discarded)  # from here on the new run is the run, whatever becomes of the old one's files
        shutil.rmtree(discarded, ignore_errors=True)


def _set_aside(folder: RunFolder, overwritten: Path, *, overwrite: bool) -> None:
    path = folder.path.resolve()
    if not overwrite:
        raise ConfigError(f"another process has begun a run in {path} meanwhile; choose another run_dir")
    if Path.cwd().is_relative_to(path):
        raise ConfigError(f"{path} cannot be overwritten from inside it; change to another folder first")
    claim(folder).release()
    path.rename(overwritten)


def _undo_overwrite(folder: RunFolder) -> None:
    """Bring back the run that was to be overwritten, if the new one has not started."""
    path = folder.path.resolve()
    overwritten = path.with_name(f".{path.name}.{ASIDE[0]}")
    if not overwritten.exists():
        return
    if path.exists():
        claim(folder).release()  # refused while the other process is still starting
        shutil.rmtree(path)
    overwritten.rename(path)


def _resume(cfg: DictConfig) -> tuple[RunFolder, TrainConfig]:
    folder = RunFolder(cfg.resume)
    if not folder.holds_run:
        raise ConfigError(f"no run to resume in {folder.path}: it has no config.yaml and run.json")
    if folder.had_checkpoint and not folder.has_checkpoint:  # a run that was killed before its first one begins anew
        raise ConfigError(
            f"{folder.path} has results and no checkpoint to go on from: put its checkpoints/ back, or start a new run "
            "in another run_dir"
        )
    saved = read_settings(folder)
    given = [override.split("=", 1)[0].lstrip("+~") for override in HydraConfig.get().overrides.task]
    if {"run_dir", "overwrite"} & set(given):
        raise ConfigError(f"resume={folder.path} goes on in that folder; leave out run_dir and overwrite")
    _refuse_differences(folder, saved, cfg, given)
    saved.trust_env = False  # the folder may be somebody else's: only who types it gives this permission
    if ":" in (saved.eval_env or "") and "eval_env" not in given:
        raise ConfigError(
            f"the run in {folder.path} is evaluated in {saved.eval_env!r}, which has a module imported; if you trust "
            f"it, add eval_env={saved.eval_env}"
        )
    for key in given:
        if key.split(".")[0] in FREE_ON_RESUME:
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    saved.run_dir = str(folder.path)
    return folder, OmegaConf.to_object(saved)


def read_settings(folder: RunFolder) -> DictConfig:
    """The settings of the run in a folder; those that it does not name have their defaults.

    Raises:
        ConfigError: if they cannot be read.
    """
    classes = {config.__name__: config for config in ALGORITHMS.values()}
    try:
        info = folder.info
        _, _, name = info["algorithm"], info["wandb_id"], info["algorithm_config"]
        if name in classes:
            saved = OmegaConf.structured(TrainConfig)
            saved.algorithm = OmegaConf.structured(classes[name])
            return OmegaConf.merge(saved, OmegaConf.load(folder.config_file))
    except (KeyError, TypeError, ValueError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot resume {folder.path}: its config.yaml or run.json is damaged or of another version ({reason}); "
            "mend it, or start a new run in another run_dir"
        ) from error
    raise ConfigError(
        f"cannot resume {folder.path} here: its algorithm, {name}, is not registered; resume it by the script that "
        "made it"
    )


def _refuse_differences(folder: RunFolder, saved: DictConfig, cfg: DictConfig, given: list[str]) -> None:
    differences = []
    for key in given:
        if key.split(".")[0] in FREE_ON_RESUME:
            continue
        there = folder.info["algorithm"] if key == "algorithm" else OmegaConf.select(saved, key)
        here = _algorithm_choice() if key == "algorithm" else OmegaConf.select(cfg, key)
        if there != here:
            differences.append(f"{key} is {there} there, {here} here")
    if differences:
        raise ConfigError(
            f"the run in {folder.path} has other settings: {'; '.join(differences)}; leave them out to resume it, or "
            "start a new run in another run_dir"
        )


def _wandb_id() -> str:
    """A new id; in a trial of W&B's agent, the one that the agent chose: W&B takes no other there."""
    chosen = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
    return chosen or uuid.uuid4().hex[:8]


def _algorithm_choice() -> str:
    return HydraConfig.get().runtime.choices["algorithm"]


def resolve_device(name: str) -> torch.device:
    """The device that a setting names; ``auto`` is CUDA where there is one.

    Raises:
        ConfigError: if the device is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}; choose from auto, cpu, cuda, cuda:<n>") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unsupported device {name!r}; choose from auto, cpu, cuda, cuda:<n>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name}, but torch sees {torch.cuda.device_count()} CUDA devices; use device=cpu or auto"
        )
    return device


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


def default_num_envs() -> int:
    """Episodes to simulate at once: one per core, up to where Python's interpreter lock leaves nothing to gain."""
    return min(os.cpu_count() or 1, 4)


class CsvLog:
    """A CSV file of one row per step; a row with further columns adds them to the file.

    A newer version may have more to tell, and an environment its first success.

    Args:
        last_step: rows after this step, or broken off by a kill, are dropped; they will be written again. None: a new
            file.
    """

    def __init__(self, path: Path, *, last_step: int | None = None) -> None:
        self.path = path
        self._columns: list[str] | None = None
        rows = read_csv(path, last_step) if last_step is not None and path.exists() else []
        if rows:
            self._columns = list(rows[0])
        write_atomically(path, self._to_text(rows).encode())

    def write(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, **values}
        header = self._columns is None
        if header:
            self._columns = list(row)
        elif not row.keys() <= {*self._columns}:
            self._columns += [name for name in row if name not in self._columns]
            write_atomically(self.path, self._to_text(read_csv(self.path)).encode())
        with open(self.path, "a", newline="") as file:
            file.write(self._to_text([row], header=header))
            file.flush()
            os.fsync(file.fileno())  # as of a checkpoint: after a power cut a resume would not make the row again

    def _to_text(self, rows: list[Mapping[str, Any]], *, header: bool = True) -> str:
        if self._columns is None:
            return ""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def read_csv(path: Path, last_step: int | None = None) -> list[dict[str, str]]:
    """Whole rows of a CSV log up to a step, values as they were written."""
    lines = path.read_text().splitlines(keepends=True)
    rows = csv.DictReader(line for line in lines if line.endswith("\n"))
    whole = [row for row in rows if (row.get("step") or "").isdigit()]
    return [row for row in whole if last_step is None or int(row["step"]) <= last_step]


class Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a flag that the loop reads between updates; a second one stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Interrupt:
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


class Stopwatch:
    """Wall time per stage since the last reading, in seconds; a stage inside another one stops the outer."""

    def __init__(self, *stages: str) -> None:
        self._spent = dict.fromkeys(stages, 0.0)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._switch()
        self._running.append(stage)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def timed(self, stage: str, function: Callable[[], Result]) -> Callable[[], Result]:
        """The function, its calls counted as a stage."""

        def call() -> Result:
            with self(stage):
                return function()

        return call

    def read(self) -> dict[str, float]:
        spent, self._spent = self._spent, dict.fromkeys(self._spent, 0.0)
        return spent

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._running:
            self._spent[self._running[-1]] += now - self._since
        self._since = now
