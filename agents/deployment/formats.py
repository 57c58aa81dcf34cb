"""The formats of a policy in a file, and what reads any of them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.deployment.contract import PRECISIONS
from agents.deployment.policy import DeployedPolicy
from agents.errors import PolicyError, require, require_choice

FORMATS = {"onnx": "onnx_format", "pt2": "pt2_format", "aoti": "aoti_format"}  # modules of this package


def check_format(name: str, precision: str = "float32") -> None:
    """A ConfigError for a format that there is not, or that has no such precision."""
    require_choice("format", name, FORMATS)
    require_choice("precision", precision, PRECISIONS)
    require(name == "onnx" or precision == "float32", "precision", f"be float32 with format={name}", precision)


def module_of(name: str) -> Any:
    """The module of a format: ``ENDING``, ``DEFAULT``, ``encode`` and ``open_file``."""
    return importlib.import_module(f"agents.deployment.{FORMATS[name]}")


def load(
    path: str | Path, *, names: Sequence[str] | None = None, threads: int = 1, trust: bool = False
) -> DeployedPolicy:
    """The policy in a file, at the start of an episode.

    Args:
        names: of the numbers of your observations, in your order; refused where the policy has others.
        threads: of one call, >= 1.
        trust: open a file of torch's, which can run any code then; an ONNX file cannot, and is opened without.

    Raises:
        PolicyError: the file is missing, truncated, of another version, no policy, or to be trusted first.
        ConfigError: the package that runs it is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise PolicyError(f"no policy at {path}; offline-agents export makes one of a checkpoint")
    kind = _format_of(path)
    if kind != "onnx" and not trust:
        problem = f"{path} is a file of torch's, and can run any code when it is opened"
        raise PolicyError(
            f"{problem}: if you trust whoever made it, say trust_policy=true, in Python load(path, trust=True); "
            "format=onnx needs no trust"
        )
    contract, run = module_of(kind).open_file(path, threads)
    return DeployedPolicy(contract, run, names=names)


def _format_of(path: Path) -> str:
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix != ".pt2":
        raise PolicyError(f"{path} ends neither in .onnx nor in .pt2, as policies in files do")
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return "aoti" if any("/aotinductor/" in name for name in archive.namelist()) else "pt2"
    except (OSError, zipfile.BadZipFile) as error:
        raise PolicyError(f"{path} is damaged, truncated or no policy: {error}") from error
