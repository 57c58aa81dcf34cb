"""The RLDS fixture, written and read by TensorFlow Datasets (tensorflow-cpu 2.21.0, tensorflow-datasets 4.9.10)::

    pip install tensorflow-cpu tensorflow-datasets
    python make_rlds.py

``rlds_values.npz`` is what TensorFlow read of it: every value by its name, pictures decoded, and JPEG, which its fast
transform does not decode as others do, as the bytes they are and decoded by its accurate transform.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

FOLDER = Path(__file__).parent / "rlds"
LENGTHS = (4, 3, 2)  # steps of each episode, the last one included
FEATURES = tfds.features.FeaturesDict(
    {
        "steps": tfds.features.Dataset(
            {
                "observation": {
                    "camera": tfds.features.Image(shape=(32, 40, 3), encoding_format="jpeg"),
                    "wrist": tfds.features.Image(shape=(32, 40, 3), encoding_format="png"),
                    "grey": tfds.features.Image(shape=(32, 32, 1), encoding_format="png"),
                    "depth": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint16, encoding_format="png"),
                    "state": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                    "angle": tfds.features.Scalar(dtype=np.float64),
                    "gripper": tfds.features.Scalar(dtype=np.int32),
                    "touch": tfds.features.Tensor(shape=(2,), dtype=np.bool_),
                    "packed": tfds.features.Tensor(shape=(2,), dtype=np.float32, encoding="zlib"),
                },
                "action": {
                    "move": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                    "close": tfds.features.Scalar(dtype=np.float32),
                },
                "reward": tfds.features.Scalar(dtype=np.float32),
                "discount": tfds.features.Scalar(dtype=np.float32),
                "is_first": tfds.features.Scalar(dtype=np.bool_),
                "is_last": tfds.features.Scalar(dtype=np.bool_),
                "is_terminal": tfds.features.Scalar(dtype=np.bool_),
                "phase": tfds.features.ClassLabel(names=["reach", "grasp"]),
                "language_instruction": tfds.features.Text(),
                "force": tfds.features.Tensor(shape=(2, 2), dtype=np.float32),
            }
        ),
        "episode_metadata": {"success": np.bool_, "file_path": tfds.features.Text()},
    }
)


def steps(rng: np.random.Generator, length: int, *, terminal: bool):
    for index in range(length):
        last = index == length - 1
        yield {
            "observation": {
                "camera": rng.integers(0, 256, (32, 40, 3), np.uint8),
                "wrist": np.repeat(rng.integers(0, 256, (32, 1, 3), np.uint8), 40, axis=1),
                "grey": np.repeat(rng.integers(0, 256, (32, 1, 1), np.uint8), 32, axis=1),
                "depth": rng.integers(0, 2**16, (8, 8, 1), np.uint16),
                "state": rng.standard_normal(3).astype(np.float32),
                "angle": rng.standard_normal(),
                "gripper": rng.integers(-5, 1_000_000),
                "touch": rng.integers(0, 2, 2).astype(bool),
                "packed": rng.standard_normal(2).astype(np.float32),
            },
            "action": {"move": rng.uniform(-1, 1, 2).astype(np.float32), "close": np.float32(rng.uniform())},
            "reward": np.float32(rng.standard_normal()),
            "discount": np.float32(not (last and terminal)),
            "is_first": index == 0,
            "is_last": last,
            "is_terminal": last and terminal,
            "phase": int(rng.integers(0, 2)),
            "language_instruction": "öffne die Tür",
            "force": rng.standard_normal((2, 2)).astype(np.float32),
        }


class Arm(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=FEATURES)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rng = np.random.default_rng(0)
        for index, length in enumerate(LENGTHS):
            metadata = {"success": index == 0, "file_path": f"/log/{index}"}
            yield index, {"steps": [*steps(rng, length, terminal=index < 2)], "episode_metadata": metadata}


def flat(values: dict, path: str = "") -> dict[str, np.ndarray]:
    leaves: dict[str, np.ndarray] = {}
    for name, value in values.items():
        leaves |= flat(value, f"{path}{name}/") if isinstance(value, dict) else {path + name: np.asarray(value)}
    return leaves


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        builder = Arm(data_dir=folder)
        shards = tfds.download.DownloadConfig(num_shards=2)
        builder.download_and_prepare(download_config=shards)
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(builder.data_path, FOLDER)
        values = {**read(builder, None, ""), **read(builder, SKIP, "bytes of ")}
        values |= {  # TensorFlow's default is a faster and less accurate transform
            name.replace("bytes of ", "accurately "): np.stack(
                [tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE").numpy() for content in contents]
            )
            for name, contents in values.items()
            if name.startswith("bytes of ")
        }
    np.savez_compressed(FOLDER.with_name("rlds_values.npz"), **values)
    print(tf.__version__, tfds.__version__, sorted(values))


SKIP = {"steps": {"observation": {"camera": tfds.decode.SkipDecoding()}}}


def read(builder: Arm, decoders: dict | None, prefix: str) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    episodes = builder.as_dataset(split="train", shuffle_files=False, decoders=decoders)
    for number, episode in enumerate(tfds.as_numpy(episodes)):
        rows = [flat(step) for step in episode.pop("steps")]
        values |= {f"{prefix}{number}/{name}": np.stack([row[name] for row in rows]) for name in rows[0]}
        values |= {f"{prefix}{number}/{name}": value for name, value in flat(episode).items()}
    texts = {name: value.astype("S") for name, value in values.items() if value.dtype == object}
    values |= texts
    return values if not prefix else {name: value for name, value in values.items() if name.endswith("camera")}


if __name__ == "__main__":
    main()
