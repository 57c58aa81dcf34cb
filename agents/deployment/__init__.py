"""Policies that leave the lab: one file with its contract, and how such a file acts.

To load and run an ONNX file takes NumPy and onnxruntime alone; to make one, or to run torch's own formats, torch.
"""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.deployment.contract import Contract as Contract
    from agents.deployment.exporting import export_policy as export_policy
    from agents.deployment.formats import FORMATS as FORMATS
    from agents.deployment.formats import load as load
    from agents.deployment.policy import DeployedPolicy as DeployedPolicy

resolve_lazily(__name__)
