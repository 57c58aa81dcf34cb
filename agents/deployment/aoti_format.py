"""``aoti``: machine code by AOTInductor, for C++ and Python on such machines; the contract is in its metadata."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from agents.deployment.contract import Contract
from agents.deployment.policy import Run
from agents.deployment.pt2_format import CONTRACT, as_function
from agents.errors import ConfigError, PolicyError, one_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

ENDING = ".pt2"
DEFAULT = "policy.aoti.pt2"  # name of a file
INPUTS = "inputs"  # key of a short contract for C++, which has no JSON of its own


def encode(program: ExportedProgram, contract: Contract) -> bytes:
    """The file's content; a ConfigError where this machine cannot compile."""
    import torch
    from torch._inductor.exc import InvalidCxxCompiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "policy.pt2")
        metadata = {CONTRACT: contract.to_json(), INPUTS: _inputs(contract)}
        configs = {"aot_inductor.metadata": metadata}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch about its own code
                torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=configs)
        except InvalidCxxCompiler as error:
            raise ConfigError("format=aoti needs a C++ compiler: install g++ or clang, or name it by CXX=") from error
        return path.read_bytes()


def open_file(path: Path, threads: int) -> tuple[Contract, Run]:
    """The contract, and the machine code as a function: it is executed, so open what you trust alone."""
    import torch

    try:
        graph = torch._inductor.aoti_load_package(str(path))
        text = graph.loader.get_metadata().get(CONTRACT, "")  # pyright: ignore[reportAttributeAccessIssue]
    except RuntimeError as error:
        raise PolicyError(f"{path} is damaged, truncated or of another machine: {one_line(error)[:200]}") from error
    contract = Contract.from_json(text, str(path))
    return contract, as_function(graph, contract)


def _inputs(contract: Contract) -> str:
    """A line for each: name, type, the value at the first step of an episode, and the shape without the batch."""
    resets = {each.name: each.reset for each in contract.memory}
    return "\n".join(
        " ".join(map(str, (name, kind, resets.get(name, 0.0), *shape))) for name, kind, shape in contract.inputs
    )
