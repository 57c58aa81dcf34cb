"""Save, load, resume: everything that the next update depends on, in one safetensors file.

A file holds parameters, targets, optimizer moments, specs and random-generator states as plain tensors, and the
algorithm's config and what the caller adds as JSON text, and the SHA-256 of all of this: a file in which a bit has
changed is refused. Equal states are equal bytes. Nothing in it is ever executed: TensorDict payloads of
TorchRL's own ``torchrl.checkpoint`` may hold pickles.
"""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.data import Bounded, Categorical, MultiCategorical, TensorSpec, Unbounded

from agents.algorithms.registry import ALGORITHMS, config_of, config_with
from agents.data.specs import Specs
from agents.environments.adapter import Spaces
from agents.errors import CheckpointError, one_line
from agents.files import absent, flatten, link, unflatten, write_atomically
from agents.networks.bounds import action_bounds
from agents.networks.policies import LimitedPolicy
from agents.seal import FORMAT, WITHOUT_CHECKSUM, check_seal, read_header, seal
from agents.training.agent import Agent


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory."""

    path: Path  # of the file that it was read from
    tensors: dict[str, Tensor]  # by ``/``-separated names
    metadata: dict[str, Any]  # num_updates, algorithm (config: its class's name, fields) and the caller's extra
    is_sealed: bool = True  # nothing of it has changed since it was written

    @property
    def num_updates(self) -> int:
        return self.metadata["num_updates"]

    @property
    def extra(self) -> dict[str, Any]:
        return self.metadata["extra"]

    @property
    def settings(self) -> dict[str, Any]:
        """Of the algorithm."""
        return self.metadata["algorithm"]["fields"]

    def build_agent(self, config: Any = None, *, device: torch.device | str = "cpu") -> Agent:
        """The agent as it was saved.

        Args:
            config: the algorithm's config; needed only for one that is not in :data:`agents.ALGORITHMS`.

        Raises:
            CheckpointError: if the algorithm is unknown or does not fit the tensors.
        """
        config = self._config() if config is None else config
        with torch.random.fork_rng(devices=[]):  # initialising draws from the global generator
            agent = config.build(self.specs(), device=device)
        self.restore(agent)
        return agent

    def restore(self, agent: Agent) -> None:
        """Load parameters, targets, optimizer moments and the number of updates into an agent of the same shape.

        Raises:
            CheckpointError: if the shapes differ; the agent is as it was.
        """
        state = {"loss_module": {}, "optimizer": {}, **unflatten(self.tensors), "num_updates": self.num_updates}
        try:
            agent.load_state_dict(state)
        except (ValueError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{self.path} does not fit this algorithm's networks: {error}") from error

    def generator_states(self) -> dict[str, Tensor]:
        """Random-generator states by name, as given to :func:`save`."""
        return unflatten(self.tensors).get("generators", {})

    def specs(self) -> Specs:
        """Shapes, bounds and statistics of the data that the agent was built for."""
        stored = unflatten(self.tensors).get("specs", {})
        bounds = {"num_actions"} if "num_actions" in stored else {"action_low", "action_high"}
        if missing := {"observation_mean", "observation_std", *bounds} - stored.keys():
            raise CheckpointError(f"{self.path} lacks {', '.join(sorted(missing))} of the specs of its data")
        if "num_actions" in stored:
            number = stored["num_actions"]
            action: TensorSpec = MultiCategorical(number) if number.ndim else Categorical(int(number))
        else:
            action = Bounded(stored["action_low"], stored["action_high"], stored["action_low"].shape)
        declared, limited = ({f"{name}_low", f"{name}_high"} <= stored.keys() for name in ("declared", "limit"))
        return Specs(
            observation=Unbounded(stored["observation_mean"].shape),
            action=action,
            observation_mean=stored["observation_mean"],
            observation_std=stored["observation_std"],
            max_return=stored["max_return"].item() if "max_return" in stored else None,
            spaces=self._spaces(),
            declared_bounds=(stored["declared_low"], stored["declared_high"]) if declared else None,
            limits=(stored["limit_low"], stored["limit_high"]) if limited else None,
        )

    def _spaces(self) -> Spaces | None:
        """Those of the data; None in a file of before they were written, when all observations were vectors."""
        values = self.metadata.get("spaces")
        try:
            return None if values is None else Spaces.from_json(values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{self.path} does not say what its observations are: {one_line(error)}") from error

    def _config(self) -> Any:
        algorithm = self.metadata["algorithm"]
        defaults = config_of(algorithm["config"])
        if defaults is None:
            known = ", ".join(config.__name__ for config in ALGORITHMS.values())
            raise CheckpointError(
                f"{self.path} was written by {algorithm['config']!r}, which is not among the registered {known}: "
                "register it in agents.ALGORITHMS first, or pass its config to build_agent"
            )
        try:
            config = config_with(defaults, algorithm["fields"])
        except (AttributeError, TypeError) as error:
            way_out = "is damaged or of another version of this project"
            raise CheckpointError(f"{self.path} {way_out}: in its algorithm, {one_line(error)}") from error
        missing = [*absent(dataclasses.asdict(defaults), algorithm["fields"])]
        if missing and not self.is_sealed:  # else the version that wrote it had none of these
            warnings.warn(f"{self.path} does not say {', '.join(missing)}: taken as by default", stacklevel=4)
        return config


def save(
    path: str | Path,
    agent: Agent,
    *,
    config: Any,
    specs: Specs,
    generators: Mapping[str, Tensor] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write or replace a checkpoint; the file appears whole or not at all, also when the process is killed.

    Args:
        config: the algorithm's config dataclass.
        generators: states of random generators by name (uint8 tensors).
        extra: JSON-compatible values to keep beside it.

    Raises:
        WriteError: if the file cannot be written; what was there before is untouched.
    """
    state = agent.state_dict()
    tensors = flatten(
        {
            "loss_module": {name: value for name, value in state["loss_module"].items() if isinstance(value, Tensor)},
            "optimizer": state["optimizer"],
            "specs": _as_tensors(specs),
            "generators": dict(generators or {}),
        },
        sep="/",
    )
    metadata = {
        "num_updates": state["num_updates"],
        "algorithm": {"config": type(config).__name__, "fields": dataclasses.asdict(config)},
        "spaces": None if specs.spaces is None else specs.spaces.to_json(),
        "extra": dict(extra or {}),
    }
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path = Path(path)
    write_atomically(path, seal(to_bytes(contiguous), json.dumps(metadata)))
    return path


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint without executing anything from it.

    Raises:
        CheckpointError: if the file is missing, truncated or no checkpoint of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        payload = path.read_bytes()  # once: another process may replace the file meanwhile
        header = read_header(payload)[0].get("__metadata__", {})
        if header.get("format") not in (FORMAT, WITHOUT_CHECKSUM):
            raise CheckpointError(f"{path} is not a checkpoint of this project (format {header.get('format')!r})")
        check_seal(payload, header)
        tensors = from_bytes(payload)
        metadata = json.loads(header["metadata"])
        _check_metadata(metadata)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged, truncated or not a checkpoint: {one_line(error)}") from error
    return Checkpoint(path, tensors, metadata, is_sealed=header["format"] != WITHOUT_CHECKSUM)


def _check_metadata(metadata: Any) -> None:
    """Raise a ValueError, TypeError or KeyError where JSON is not what :func:`save` writes."""
    algorithm, extra = metadata["algorithm"], metadata["extra"]
    kinds = {int: metadata["num_updates"], str: algorithm["config"], dict: {**algorithm["fields"], **extra}}
    for kind, value in kinds.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{value!r} is no {kind.__name__}")


def load_policy(path: str | Path, *, device: torch.device | str = "cpu") -> TensorDictModule:
    """The policy of a checkpoint, to deploy: deterministic ``observation [B, O] -> action [B, A]``, in eval mode.

    One that remembers the episode has further ``in_keys``, see :mod:`agents.evaluation.rollouts`. Bounds of what it did
    while it learned online hold; a largest change of actions does not, which needs the action before.
    """
    checkpoint = load(path)
    policy = checkpoint.build_agent(device=device).policy
    if (limits := checkpoint.specs().limits) is not None:
        network = LimitedPolicy(cast(torch.nn.Module, policy.module), *limits).to(device)
        policy = TensorDictModule(network, policy.in_keys, policy.out_keys)
    return policy.eval().requires_grad_(False)


class CheckpointFolder:
    """``last``, ``previous`` (what it replaced: the way back when a disk breaks the newest file) and ``best``."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.last = self.folder / "last.safetensors"
        self.previous = self.folder / "previous.safetensors"
        self.best = self.folder / "best.safetensors"

    def save(self, agent: Agent, *, is_best: bool, extra: Mapping[str, Any], **kwargs: Any) -> None:
        """Write ``last`` by :func:`save`, keep the one before as ``previous``, and link ``best`` where it is that."""
        for leftover in self.folder.glob(".*.tmp"):  # of a process that was killed while it saved
            leftover.unlink(missing_ok=True)
        staged = self.folder / "last.staged"
        save(staged, agent, extra={**extra, "is_best": is_best}, **kwargs)
        if self.last.exists():
            link(self.last, self.previous)  # linked, not moved: at no moment is there no last
        os.replace(staged, self.last)
        if is_best:
            link(self.last, self.best)

    def load_latest(self, use: Callable[[Checkpoint], None] = lambda _: None) -> tuple[Checkpoint, str | None]:
        """The newest usable checkpoint, and one line about the newer one that was not, if any.

        Args:
            use: raises a CheckpointError where what can be read is of no use.

        Raises:
            CheckpointError: if none can be used.
        """
        try:
            checkpoint, warning = load(self.last), None
            use(checkpoint)
        except CheckpointError as error:
            if not self.previous.exists():
                raise
            checkpoint = load(self.previous)
            use(checkpoint)
            warning = f"{error}; going on from {self.previous} (step {checkpoint.num_updates})"
            if self.last.exists():  # set aside: the next save would put it in the place of the previous one
                os.replace(self.last, self.folder / "last.unreadable")
        if checkpoint.extra.get("is_best"):
            link(checkpoint.path, self.best)  # a kill may have come between writing last and best
        return checkpoint, warning


def _as_tensors(specs: Specs) -> dict[str, Tensor]:
    tensors = {"observation_mean": specs.observation_mean, "observation_std": specs.observation_std}
    if isinstance(specs.action, MultiCategorical):
        tensors["num_actions"] = specs.action.nvec  # [K], of each part
    elif isinstance(specs.action, Categorical):
        tensors["num_actions"] = torch.tensor(specs.action.n)
    else:
        tensors["action_low"], tensors["action_high"] = action_bounds(specs.action)
    if specs.declared_bounds is not None:
        tensors["declared_low"], tensors["declared_high"] = specs.declared_bounds
    if specs.limits is not None:
        tensors["limit_low"], tensors["limit_high"] = specs.limits
    if specs.max_return is not None:
        tensors["max_return"] = torch.tensor(specs.max_return, dtype=torch.float64)
    return tensors
