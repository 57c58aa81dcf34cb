"""Writes ``robomimic.hdf5`` by robomimic's own scripts, and ``robomimic.npz`` as its own dataset reads that file.

In an environment of its own, beside the CPU build of torch (torchvision's compiled operators are not used):

    pip install --no-deps robomimic==0.3.0 tensorboardX psutil termcolor six torchvision==0.22.1
    python write_robomimic.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from robomimic.envs.env_base import EnvBase, EnvType  # noqa: E402
from robomimic.scripts import dataset_states_to_obs, split_train_val  # noqa: E402
from robomimic.utils import env_utils, obs_utils  # noqa: E402
from robomimic.utils.dataset import SequenceDataset  # noqa: E402

HERE = Path(__file__).parent / "robots"
GOAL = 0.6
LENGTHS = (7, 5, 9, 4)


class Slider(EnvBase):
    """A cart that is pushed along two axes to a goal, with a camera of 8 x 6 pixels above it."""

    def __init__(self, **settings):
        self.settings, self.position = settings, np.zeros(2)

    def reset(self):
        return self.reset_to({"states": np.zeros(2)})

    def reset_to(self, state):
        self.position = np.array(state["states"], float)
        return self.get_observation()

    def step(self, action):
        self.position = self.position + 0.2 * action
        return self.get_observation(), self.get_reward(), self.is_done(), {}

    def get_observation(self):
        picture = np.full((6, 8, 3), 40, np.uint8)
        row, column = np.clip(np.rint(self.position * 5), 0, 5).astype(int)
        picture[row, column] = (250, 10, 120)
        return {"cart_pos": self.position.copy(), "object": GOAL - self.position, "agentview_image": picture}

    def get_state(self):
        return {"states": self.position}

    def get_reward(self):
        return float(self.is_success()["task"])

    def is_success(self):
        return {"task": bool((self.position > GOAL).all())}

    def is_done(self):
        return False

    def serialize(self):
        return {"env_name": "Slider", "type": self.type, "env_kwargs": self.settings}

    def render(self, *args, **kwargs): ...
    def get_goal(self): ...
    def set_goal(self, **kwargs): ...

    action_dimension = 2
    name = "Slider"
    type = EnvType.GYM_TYPE
    version = "1"
    rollout_exceptions = ()

    @classmethod
    def create_for_data_processing(cls, *args, **kwargs):
        return cls(control_freq=20)


def record(path: Path) -> None:
    """Demonstrations as a teleoperation leaves them: states and actions alone."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(Slider(control_freq=20).serialize())
        for number, length in enumerate(LENGTHS):
            actions = rng.uniform(0.2, 1.0, (length, 2))
            states = np.concatenate([np.zeros((1, 2)), 0.2 * actions.cumsum(0)[:-1]])
            demo = data.create_group(f"demo_{number}")
            demo.create_dataset("actions", data=actions)
            demo.create_dataset("states", data=states)


def convert(raw: Path, path: Path) -> None:
    settings = {"shaped": False, "camera_names": ["agentview"], "camera_height": 6, "camera_width": 8, "n": None}
    switches = {"done_mode": 2, "copy_rewards": False, "copy_dones": False, "exclude_next_obs": False, "compress": True}
    args = argparse.Namespace(dataset=str(raw), output_name=path.name, **settings, **switches)
    with mock.patch.object(env_utils, "create_env_for_data_processing", Slider.create_for_data_processing):
        dataset_states_to_obs.dataset_states_to_obs(args)
    np.random.seed(0)
    split_train_val.split_train_val_from_hdf5(str(path), val_ratio=0.25)


def read(path: Path) -> dict[str, np.ndarray]:
    """Each demonstration as robomimic's own dataset gives its steps."""
    obs_utils.initialize_obs_utils_with_obs_specs(
        {"obs": {"low_dim": ["cart_pos", "object"], "rgb": ["agentview_image"]}}
    )
    values: dict[str, list[np.ndarray]] = {}
    for subset in ("train", "valid"):
        keys = ["cart_pos", "object", "agentview_image"]
        dataset = SequenceDataset(
            str(path), keys, ["actions", "rewards", "dones"], hdf5_use_swmr=False, filter_by_attribute=subset
        )
        for index in range(len(dataset)):
            item, demo = dataset[index], dataset._index_to_demo_id[index]
            for group in ("obs", "next_obs"):
                for key in keys:
                    values.setdefault(f"{subset}/{demo}/{group}/{key}", []).append(item[group][key][0])
            for key in ("actions", "rewards", "dones"):
                values.setdefault(f"{subset}/{demo}/{key}", []).append(item[key][0])
    return {name: np.stack(steps) for name, steps in values.items()}


if __name__ == "__main__":
    raw, path = HERE / "raw.hdf5", HERE / "robomimic.hdf5"
    record(raw)
    convert(raw, path)
    raw.unlink()
    np.savez_compressed(HERE / "robomimic.npz", **read(path))
