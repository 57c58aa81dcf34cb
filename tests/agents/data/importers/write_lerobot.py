"""Writes ``lerobot_v2.1/`` or ``lerobot_v3.0/`` by LeRobot's own code, and an ``.npz`` of all that it reads there.

In two environments of their own, beside the CPU build of torch (torchvision's compiled operators are not used):

    pip install --no-deps lerobot==0.3.3 av datasets==3.6.0 huggingface_hub==0.36.0 pandas==2.3.3 numpy==2.2.6 \
        torchvision==0.22.1 draccus jsonlines accelerate einops termcolor deepdiff dill multiprocess xxhash fsspec \
        aiohttp
    python write_lerobot.py        # and the same with lerobot==0.4.4 and datasets==4.1.1, which write version 3
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": tempfile.mkdtemp()}

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from lerobot.datasets.lerobot_dataset import CODEBASE_VERSION, LeRobotDataset  # noqa: E402

HERE = Path(__file__).parent / "robots"
MOTORS = ["shoulder_pan.pos", "elbow_flex.pos", "gripper.pos"]
LENGTHS, TASKS = (6, 4, 5), ("pick the cube", "open the drawer", "pick the cube")
PIXELS = ["height", "width", "channels"]
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": MOTORS},
    "observation.velocity": {"dtype": "float32", "shape": (3,), "names": {"motors": MOTORS}},
    "action": {"dtype": "float32", "shape": (3,), "names": MOTORS},
    "observation.images.front": {"dtype": "video", "shape": (64, 96, 3), "names": PIXELS},
    "observation.images.wrist": {"dtype": "image", "shape": (6, 8, 3), "names": PIXELS},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
    "next.done": {"dtype": "bool", "shape": (1,), "names": None},
    "next.success": {"dtype": "bool", "shape": (1,), "names": None},
}


def picture(rng: np.random.Generator, step: int) -> np.ndarray:
    """A square that moves over a soft background, and grain that no video keeps."""
    rows, columns = np.mgrid[:64, :96]
    pixels = np.stack([2 * rows, columns, np.full_like(rows, 90)], axis=-1).astype(np.uint8)
    pixels[20:36, 8 * step : 8 * step + 16] = (240, 40, 30)
    return pixels + rng.integers(0, 20, pixels.shape, dtype=np.uint8)


def record(root: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = LeRobotDataset.create("made/arm", fps=10, features=FEATURES, root=root, robot_type="so100_follower")
    task_is_argument = "task" in inspect.signature(LeRobotDataset.add_frame).parameters
    for length, task in zip(LENGTHS, TASKS):
        success = task.startswith("pick")
        for step in range(length):
            last = step == length - 1
            frame = {
                name: rng.standard_normal(3).astype(np.float32)
                for name in ("observation.state", "observation.velocity", "action")
            }
            frame |= {
                "observation.images.front": picture(rng, step),
                "observation.images.wrist": rng.integers(0, 256, (6, 8, 3), dtype=np.uint8),
                "next.reward": np.array([float(last and success)], np.float32),
                "next.done": np.array([last]),
                "next.success": np.array([last and success]),
            }
            if task_is_argument:
                dataset.add_frame(frame, task=task)
            else:
                dataset.add_frame({**frame, "task": task})
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()
    shutil.rmtree(root / "images", ignore_errors=True)  # which are in the tables


def read(root: Path) -> dict[str, np.ndarray]:
    """Every frame as LeRobot's own dataset gives it; pictures in its floats, back in whole numbers."""
    dataset = LeRobotDataset("made/arm", root=root, video_backend="pyav")
    items = [dataset[index] for index in range(len(dataset))]
    values = {}
    for name in items[0]:
        if name == "task":
            values[name] = np.array([item[name] for item in items])
        else:
            values[name] = np.stack([np.asarray(item[name]) for item in items])
        if "images" in name:
            pixels = values[name].transpose(0, 2, 3, 1) * 255
            values[name] = np.rint(pixels).astype(np.uint8)
            assert np.abs(pixels - values[name]).max() < 1e-3
    return values


if __name__ == "__main__":
    root = HERE / f"lerobot_{CODEBASE_VERSION}"
    shutil.rmtree(root, ignore_errors=True)
    record(root)
    np.savez_compressed(f"{root}.npz", **read(root))
