"""From a checkpoint to a file: the policy as a graph with a dynamic batch, in one of the formats, and its contract."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.checkpoint import Checkpoint
from agents.data.dataset import OfflineDataset
from agents.deployment.contract import Contract
from agents.deployment.describing import data_range, describe
from agents.deployment.formats import check_format, module_of
from agents.deployment.graph import PolicyGraph
from agents.deployment.memory import core_of
from agents.errors import PolicyError, one_line
from agents.files import write_atomically

LARGEST_BATCH = 1 << 20


def export_policy(
    checkpoint: Checkpoint,
    dataset: OfflineDataset,
    path: str | Path,
    *,
    format: str = "onnx",
    precision: str = "float32",
    guard: bool = False,
    rate: float | None = None,
    score: Mapping[str, Any] | None = None,
) -> Contract:
    """Write the policy of a checkpoint as a file, and its contract as the file beside it that ends in ``.json``.

    Nothing says here that the file acts as the policy does: :func:`agents.deployment.parity.compare` does.

    Args:
        dataset: that it was trained on, without what was held out: its range is in the contract.
        format: a name of ``FORMATS``.
        precision: of the weights; ``float16`` and ``int8`` are for ONNX alone, and act a little otherwise.
        guard: have a further output, how far an observation lies outside the data.
        rate: steps a second that it was trained for, to be in the contract.
        score: of the run, to be in the contract.

    Raises:
        PolicyError: the policy cannot have this format.
        ConfigError: what writes the format is not installed.
    """
    check_format(format, precision)
    policy = checkpoint.build_agent().policy.eval().requires_grad_(False)
    path, specs = Path(path), checkpoint.specs()
    core = core_of(policy)
    contract = describe(checkpoint, dataset, core, guard=guard, precision=precision, rate=rate, score=score)
    graph = PolicyGraph(core, specs, data_range=data_range(dataset) if guard else None)
    content = module_of(format).encode(trace(graph.eval(), contract), contract)
    write_policy(path, content, contract.to_json().encode())
    return contract


def write_policy(path: Path, content: bytes, contract: bytes) -> None:
    """A policy and its contract beside it; where a kill comes in between, it has none rather than that of another."""
    with contextlib.suppress(OSError):  # the writing says it
        contract_file(path).unlink()
    write_atomically(path, content)
    write_atomically(contract_file(path), contract)


def contract_file(path: Path) -> Path:
    """Where the contract lies beside a policy."""
    return path.with_suffix(".json")


def trace(graph: PolicyGraph, contract: Contract) -> torch.export.ExportedProgram:
    """The graph of tensors, whose batch is of any size."""
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    resets = {each.name: each.reset for each in contract.memory}
    examples = tuple(
        torch.full((3, *shape), resets.get(name, 0.0), dtype=getattr(torch, kind))
        for name, kind, shape in contract.inputs
    )
    for i, part in enumerate(contract.observations):
        if part.categories:
            examples[i].view(3, -1)[:] = torch.tensor(part.starts)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = {"inputs": tuple({0: batch} for _ in examples)}
            return torch.export.export(graph, examples, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # a policy from elsewhere may do anything
        problem = f"torch.export cannot follow this policy: {one_line(error)[:300]}"
        raise PolicyError(f"{problem}; only tensors and shapes that follow from them can be exported") from error
