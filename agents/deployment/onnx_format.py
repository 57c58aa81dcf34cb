"""``onnx``: a graph that onnxruntime runs, in Python, C++, C#, Java or JavaScript; the contract is in its metadata."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.deployment.contract import Contract
from agents.deployment.observing import Arrays
from agents.deployment.onnx_precision import reduce_precision
from agents.deployment.policy import Run
from agents.errors import PolicyError, one_line, optional_package

if TYPE_CHECKING:
    from torch.export import ExportedProgram

ENDING = ".onnx"
DEFAULT = "policy.onnx"  # name of a file
METADATA = "policy.json"  # key of the contract among the file's properties
SEAL = 76  # bytes
OPSET = 20  # of ONNX's operators: onnxruntime 1.17 and later


def encode(program: ExportedProgram, contract: Contract) -> bytes:
    """The file's content, with the names of the contract; a ConfigError without the packages that it takes."""
    with optional_package("onnx", "format=onnx"):
        import onnxruntime  # noqa: F401  # what the parity report needs
        import onnxscript  # noqa: F401
    import torch

    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # else it says that there is no torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own code
            graph: Any = torch.onnx.export(
                program,
                input_names=[name for name, *_ in contract.inputs],
                output_names=contract.outputs,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    model = graph.model_proto
    if contract.precision != "float32":
        model = reduce_precision(model, contract.precision)
    model.metadata_props.add(key=METADATA, value=contract.to_json())
    content = model.SerializeToString()
    return content + _seal(content)


def open_file(path: Path, threads: int) -> tuple[Contract, Run]:
    """The contract, and the graph as a function; a PolicyError where the file is none of :func:`write`'s."""
    with optional_package("onnx", f"{path.name}"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # its errors are raised, and said once
    content = path.read_bytes()
    if not content.endswith(_seal(content[:-SEAL])):
        raise PolicyError(f"{path} is damaged, truncated, or changed since offline-agents export wrote it")
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        properties = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # onnxruntime has its own exceptions, with no base
        raise PolicyError(f"{path} cannot be run by this onnxruntime: {one_line(error)[:200]}") from error
    contract = Contract.from_json(properties.get(METADATA, "{}"), str(path))
    names = [entry.name for entry in session.get_inputs()]
    if names != [name for name, *_ in contract.inputs]:
        raise PolicyError(f"{path} is damaged: its inputs are {names}, and not those of its contract")
    outputs = contract.outputs

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, map(np.asarray, session.run(outputs, arrays))))

    return contract, run


def _seal(content: bytes) -> bytes:
    """One more property of a graph, the SHA-256 of all before it, as protobuf has it: a change anywhere is noticed."""
    return b"\x72\x4a\x0a\x06sha256\x12\x40" + hashlib.sha256(content).hexdigest().encode()
