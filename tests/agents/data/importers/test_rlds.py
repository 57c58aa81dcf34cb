"""RLDS: every value is what TensorFlow Datasets read of the fixture that it wrote, and damaged files are a line."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

import agents
from agents.data.importers import rlds, tfrecord
from agents.data.importers.crc32c import crc32c
from agents.data.importers.formats import find_files
from agents.data.importers.tfrecord import example, records
from agents.errors import ConfigError, DataError

FIXTURE = Path(__file__).parent / "rlds"
SHARDS = [FIXTURE / f"arm-train.tfrecord-{index:05}-of-00002" for index in range(2)]
VALUES = np.load(FIXTURE.with_name("rlds_values.npz"))
EPISODES = range(3)


def value(episode: int, name: str) -> np.ndarray:
    return VALUES[f"{episode}/{name}"]


@pytest.fixture
def copy() -> Path:
    return Path(shutil.copytree(FIXTURE, "arm"))


def rewrite(copy: Path, **features: object) -> None:
    """Features of the steps, anew or (None) not any more."""
    path = copy / "features.json"
    described = json.loads(path.read_text())
    steps = described["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    for name, feature in features.items():
        steps[name] = feature
        if feature is None:
            del steps[name]
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("content", "value"), [(b"", 0), (b"a", 0xC1D04330), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA)]
)
def test_sums_are_castagnoli_s(content, value) -> None:
    assert crc32c(content) == value


@pytest.mark.parametrize("length", [4, 255, 256, 257, 1000, 256 * 8 + 3])
def test_a_sum_of_pieces_is_that_of_bytes_one_by_one(length) -> None:
    content = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    assert crc32c(content) == register ^ 0xFFFFFFFF


@pytest.mark.parametrize("episode", EPISODES)
def test_every_value_is_what_tensorflow_reads(episode) -> None:
    log = rlds.Rlds.open(find_files(str(FIXTURE)))
    rows = [*log.read(dict.fromkeys(log.columns, "any"))][episode]
    for name, column in rows.columns.items():
        if name == "observation/camera":  # decoders of JPEG differ: the bytes are the same
            assert [each for each in column] == VALUES[f"bytes of {episode}/{name}"].tolist()
        elif log.columns[name] == "text":
            theirs = np.broadcast_to(value(episode, name), len(column))
            assert [each.encode() for each in column] == theirs.tolist()
        elif log.columns[name] == "number" or "[" in log.columns[name]:
            theirs = value(episode, name)
            theirs = theirs if log.features[name].of_step else theirs.repeat(len(column))
            assert column.dtype == theirs.dtype and np.array_equal(column, theirs)
    names = {name.partition("/")[2] for name in VALUES.files if name[0].isdigit()}
    assert names == set(log.columns)


@pytest.mark.parametrize("episode", EPISODES)
def test_pictures_of_the_dataset_are_those_that_tensorflow_decodes(take, episodes, episode) -> None:
    take(FIXTURE)
    observations = episodes()[episode].observations
    for name in ("wrist", "grey", "depth"):
        assert np.array_equal(observations[name], value(episode, f"observation/{name}").squeeze())
    theirs = VALUES[f"accurately {episode}/observation/camera"]  # its default is a faster, less accurate transform
    assert np.array_equal(observations["camera"], theirs)


def test_the_last_step_is_there_for_its_observation(take, episodes) -> None:
    """Its action and reward mean nothing, and that it is terminal is no time limit."""
    imported = take(FIXTURE)
    for index, there in zip(EPISODES, episodes()):
        observations = [
            value(index, f"observation/{name}") for name in ("angle", "gripper", "packed", "state", "touch")
        ]
        flat = np.concatenate([each.reshape(len(each), -1) for each in observations], axis=1)
        np.testing.assert_array_equal(there.observations["observation"], flat)
        actions = np.c_[value(index, "action/close"), value(index, "action/move")][:-1]
        np.testing.assert_array_equal(there.actions, actions)
        np.testing.assert_array_equal(there.rewards, value(index, "reward")[:-1])
        assert bool(there.terminations[-1]) is bool(value(index, "is_terminal")[-1])
        assert there.infos["language_instruction"][0].decode() == "öffne die Tür"
        np.testing.assert_array_equal(there.infos["force"], value(index, "force")[:-1])
    assert imported.meaning["last observation"].startswith("in 3 that of the last step, whose action and reward mean")
    assert imported.meaning["of episodes"].startswith("episode_metadata/file_path, episode_metadata/success")


def test_a_reward_that_is_lost_with_the_last_step_is_said(take, copy) -> None:
    """As of demonstrations with a reward at their success alone: here its place has the flag of the end."""
    rewrite(copy, reward=None)
    imported = take(copy, earned="is_terminal", dry_run=True)
    assert imported.meaning["last observation"].endswith(
        "In 2 of these it is the only reward: last_observation=repeat keeps it"
    )


def test_who_recorded_demonstrations_otherwise_keeps_their_last_step(take, episodes) -> None:
    take(FIXTURE, last_observation="repeat")
    assert [len(there.rewards) for there in episodes()] == [len(value(index, "reward")) for index in EPISODES]
    for index, there in zip(EPISODES, episodes()):
        np.testing.assert_array_equal(there.rewards, value(index, "reward"))


def test_an_episode_may_say_of_its_end_whether_it_was_a_success(take, episodes) -> None:
    take(FIXTURE, success="episode_metadata/success", reward="last", pictures="drop")
    ends = [bool(value(index, "episode_metadata/success")) for index in EPISODES]
    assert [there.rewards[-1] for there in episodes()] == [float(end) for end in ends] and 0 < sum(ends) < 3
    assert all(not there.rewards[:-1].any() for there in episodes())


def test_it_trains_on_the_numbers_alone(take) -> None:
    take(FIXTURE, pictures="drop")
    dataset = agents.load_dataset("robot/arm-v0", progress=False)
    assert dataset.specs.observation_names[:3] == (
        "angle",
        "gripper",
        "packed.0",
    )


def test_what_is_not_is_last_was_cut_off(take, episodes, copy) -> None:
    """Its last action counts, but what it led to is not recorded."""
    rewrite(copy, is_last=None)
    imported = take(copy)
    assert "that of the last row, whose action and reward are left out" in imported.meaning["last observation"]
    assert [len(there.rewards) for there in episodes()] == [
        len(value(index, "reward")) - (not value(index, "is_terminal")[-1]) for index in EPISODES
    ]


def test_a_compressed_file_is_read_too(tmp_path) -> None:
    path = tmp_path / "arm.tfrecord"
    path.write_bytes(gzip.compress(SHARDS[0].read_bytes()))
    assert [*records(path)] == [*records(SHARDS[0])]


@pytest.mark.parametrize("place", [0, 9, 20, -1])
def test_a_bit_that_differs_is_seen(tmp_path, place) -> None:
    content = bytearray(SHARDS[1].read_bytes())
    content[place] ^= 4
    path = tmp_path / "arm.tfrecord"
    path.write_bytes(content)
    with pytest.raises(DataError, match="record 0 of .*arm.tfrecord cannot be read .the sum of its .* differs"):
        [*records(path)]


@pytest.mark.parametrize("length", [5, 11, 12, 100, -2])
def test_a_truncated_file_is_a_line(tmp_path, length) -> None:
    path = tmp_path / "arm.tfrecord"
    path.write_bytes(SHARDS[1].read_bytes()[:length])
    with pytest.raises(DataError, match="the file is truncated, damaged or no TFRecord; fetch it again"):
        [*records(path)]


def test_a_file_that_ends_between_its_episodes_is_truncated_too(take, copy) -> None:
    path = copy / SHARDS[0].name
    first = next(records(path))
    path.write_bytes(path.read_bytes()[: len(first) + 16])
    with pytest.raises(DataError, match="00000-of-00002 has 1 episodes, 2 by dataset_info.json: it is truncated"):
        take(copy)


def test_another_description_of_the_same_records_is_another_log(take, copy) -> None:
    take(copy)
    assert take(copy).unchanged
    rewrite(copy, force=None)
    with pytest.raises(DataError, match="is there already; overwrite=true"):
        take(copy)


def test_a_part_of_the_files_is_said(take, copy) -> None:
    (copy / SHARDS[1].name).unlink()
    assert take(copy, dry_run=True).meaning["not there"] == "1 of 2 files of train, by dataset_info.json"


def framed(content: bytes) -> bytes:
    header = struct.pack("<Q", len(content))
    sums = [struct.pack("<I", tfrecord.masked_sum(each)) for each in (header, content)]
    return header + sums[0] + content + sums[1]


@pytest.mark.parametrize(
    ("content", "says"), [(b"\xff\xff", "it holds no tf.train.Example"), (b"", "lacks 'steps/is_first'")]
)
def test_a_record_of_something_else_is_a_line(take, copy, content, says) -> None:
    (copy / SHARDS[0].name).write_bytes(framed(content))
    with pytest.raises(DataError, match=f"episode 0 of .*{says}"):
        take(copy)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({"reward": {"pythonClassName": "Tensor", "tensor": {"shape": {"dimensions": ["3"]}, "dtype": "float32"}}},
         "has . numbers of 'reward' in steps of 3"),
        ({"reward": {"pythonClassName": "Tensor", "tensor": {"shape": {"dimensions": ["2"]}, "dtype": "float32"}}},
         "has 2 steps with 'reward', and 4 with 'is_first'|numbers of 'reward'"),
        ({"reward": {"pythonClassName": "Text", "text": {}}}, "has numbers where its bytes should be"),
        ({"reward": {"pythonClassName": "Tensor", "tensor": {"dtype": "float33"}}}, "features.json cannot be read"),
        ({"observation": {"pythonClassName": "Graph"}}, "columns.observation must name"),
    ],
)  # fmt: skip
def test_features_that_do_not_fit_are_a_line(take, copy, store, features, says) -> None:
    rewrite(copy, **features)
    with pytest.raises((ConfigError, DataError), match=says) as refusal:
        take(copy)
    assert "\n" not in str(refusal.value) and not [*store.glob("*")]


def test_records_without_their_description_are_a_line(take, copy) -> None:
    (copy / "features.json").unlink()
    with pytest.raises(DataError, match="features.json cannot be read .*it belongs beside the records"):
        take(copy)
    Path("two").mkdir()
    for name in "ab":
        shutil.copytree(FIXTURE, f"two/{name}")
    with pytest.raises(DataError, match="several datasets are there, two/a and two/b: give the folder of one"):
        take("two")


def test_numbers_may_be_packed_or_not() -> None:
    """A field of two floats: in one piece, and one by one."""
    numbers = struct.pack("<ff", 1.5, -2.0)

    def nested(tag: int, content: bytes) -> bytes:
        return bytes([tag << 3 | 2, len(content)]) + content

    for float_list in (nested(1, numbers), b"\x0d" + numbers[:4] + b"\x0d" + numbers[4:]):
        entry = nested(1, b"x") + nested(2, nested(2, float_list))
        numbers_read = example(nested(1, nested(1, entry)))["x"]
        assert isinstance(numbers_read, np.ndarray) and numbers_read.tolist() == [1.5, -2.0]
