"""``pt2``: torch's own graph (``torch.export``), for programs that have torch; the contract is an extra file in it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.deployment.contract import Contract
from agents.deployment.observing import Arrays
from agents.deployment.policy import Run
from agents.errors import PolicyError, one_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

ENDING = ".pt2"
DEFAULT = "policy.graph.pt2"  # name of a file
CONTRACT = "policy.json"


def encode(program: ExportedProgram, contract: Contract) -> bytes:
    """The file's content."""
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={CONTRACT: contract.to_json()})
    return buffer.getvalue()


def open_file(path: Path, threads: int) -> tuple[Contract, Run]:
    """The contract, and the graph as a function on torch's own threads."""
    import torch

    extra = {CONTRACT: ""}
    try:
        program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
    except Exception as error:  # of many kinds, where bytes are missing
        raise PolicyError(f"{path} is damaged, truncated or no policy: {one_line(error)[:200]}") from error
    text: Any = extra[CONTRACT]
    contract = Contract.from_json(text.decode() if isinstance(text, bytes) else text, str(path))
    return contract, as_function(program.module(), contract)


def as_function(graph: Any, contract: Contract) -> Run:
    """A graph of torch's, from arrays to arrays."""
    import torch

    names, outputs = [name for name, *_ in contract.inputs], contract.outputs

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            results = graph(*(torch.from_numpy(arrays[name]) for name in names))
        return {name: result.numpy() for name, result in zip(outputs, results)}

    return run
