"""An ONNX graph with smaller weights, by the tools that come with onnxruntime: half as many bits, or a quarter."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any


def reduce_precision(model: Any, precision: str) -> Any:
    """The graph with weights in ``float16`` or ``int8``; inputs and outputs stay as they are.

    ``float16`` computes in it too. ``int8`` has a scale for each column of a matrix of weights, or one for those of
    several networks at once, and one for what it is multiplied by, measured at each call; all else stays float32.
    """
    if precision == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        return convert_float_to_float16(model, keep_io_types=True)
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # else it asks for a preparation that changes nothing in graphs of torch
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "policy.onnx")
            by_column = all(len(weights.dims) <= 2 for weights in model.graph.initializer)  # onnxruntime takes no more
            quantize_dynamic(model, path, weight_type=QuantType.QInt8, per_channel=by_column)
            return onnx.load(path)
    finally:
        logger.setLevel(level)
