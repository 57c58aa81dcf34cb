"""What a run took: ``cost`` in ``run.json``."""

from __future__ import annotations

import statistics
from typing import Any

import torch

import agents
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import read_csv


def cost(folder: RunFolder, agent: agents.Agent, seconds: float) -> dict[str, Any]:
    """Minutes by the clock, of earlier parts too (what a kill cut off nobody noted), speed, device and size.

    Args:
        seconds: of this part of the run.
    """
    rows = read_csv(folder.metrics_file)
    speeds = [float(row["time/updates_per_second"]) for row in rows if row.get("time/updates_per_second")]
    device = agent.device
    return {
        "minutes": round(folder.info.get("cost", {}).get("minutes", 0.0) + seconds / 60, 3),
        "updates_per_second": round(statistics.median(speeds), 1) if speeds else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "parameters": sum(each.numel() for each in agent.loss_module.parameters()),
    }
