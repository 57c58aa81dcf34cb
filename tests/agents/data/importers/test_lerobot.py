"""LeRobot: folders that two versions of its library wrote, held against what its own dataset reads in them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.data import load_dataset
from agents.data.importers import lerobot_info
from agents.errors import AgentsError, ConfigError, DataError

FOLDER = Path(__file__).parent / "robots"
VERSIONS = ("v2.1", "v3.0")
DATASET = "robot/arm-v0"
LENGTHS = (6, 4, 5)
MOTORS = ["shoulder_pan.pos", "elbow_flex.pos", "gripper.pos"]
TASKS = ["pick the cube", "open the drawer"]
NAMES = [f"{part}.{motor}" for part in ("state", "velocity") for motor in MOTORS] + [f"task={task}" for task in TASKS]


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest) -> Path:
    """A copy of a dataset."""
    return Path(shutil.copytree(FOLDER / f"lerobot_{request.param}", "arm"))


@pytest.fixture
def theirs(folder: Path) -> list[dict[str, np.ndarray]]:
    """What LeRobot's own dataset reads, by episode."""
    version = json.loads((folder / "meta" / "info.json").read_text())["codebase_version"]
    with np.load(FOLDER / f"lerobot_{version}.npz") as values:
        frames = {name: values[name] for name in values.files}
    rows = [frames["episode_index"] == index for index in range(len(LENGTHS))]
    return [{name: values[each] for name, values in frames.items()} for each in rows]


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def tables(folder: Path) -> list[Path]:
    return sorted((folder / "data").rglob("*.parquet"))


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_values_are_those_that_lerobot_reads(theirs, take, episodes) -> None:
    imported = take("arm", end="terminated", pictures="drop")
    assert [len(episode.rewards) for episode in episodes()] == [*LENGTHS]
    for episode, frames in zip(episodes(), theirs):
        vectors = episode.observations[:-1]
        for start, name in ((0, "observation.state"), (3, "observation.velocity")):
            assert vectors[:, start : start + 3].tobytes() == frames[name].tobytes()
        assert vectors[:, 6:].argmax(1).tolist() == frames["task_index"].tolist()
        assert [TASKS[task] for task in vectors[:, 6:].argmax(1)] == frames["task"].tolist()
        assert episode.actions.tobytes() == frames["action"].tobytes()
        assert episode.rewards.tobytes() == frames["next.reward"].tobytes()
        assert episode.infos["success"].tolist() == frames["next.success"].ravel().tolist()
    assert imported.meaning["observations"] == f"{', '.join(NAMES)} (float32)"
    assert imported.meaning["actions"] == f"{', '.join(MOTORS)} (float32)"
    assert imported.meaning["rate"] == "10 steps a second, by meta/info.json"
    assert imported.meaning["time between steps"] == "0.1"
    assert imported.meaning["robot"] == "so100_follower" and "told apart" in imported.meaning["tasks"]
    metadata = minari.load_dataset(DATASET).storage.metadata
    assert (metadata["steps_per_second"], metadata["tasks"]) == (10, TASKS)
    assert load_dataset(DATASET, progress=False).specs.observation_names == tuple(NAMES)


def test_pictures_are_those_that_lerobot_decodes(theirs, take, episodes) -> None:
    pytest.importorskip("av")
    imported = take("arm")
    assert imported.meaning["pictures"].startswith(
        "front (64 x 96 x 3), wrist (6 x 8 x 3): kept, and left out of training"
    )
    for episode, frames in zip(episodes(), theirs):
        for part in ("front", "wrist"):
            assert episode.observations[part].tobytes() == frames[f"observation.images.{part}"].tobytes()
    with pytest.warns(UserWarning, match="left out of training: front"):
        assert load_dataset(DATASET, progress=False).specs.observation_names == tuple(NAMES)


def test_a_camera_is_chosen_by_name_and_repeated_behind_a_termination(theirs, take, episodes) -> None:
    take("arm", picture=["*.wrist"], end="terminated")
    for episode, frames in zip(episodes(), theirs):
        wrist = frames["observation.images.wrist"]
        assert [*episode.observations] == ["observation", "wrist"]
        assert np.array_equal(episode.observations["wrist"], [*wrist, wrist[-1]])


def test_pictures_keep_to_their_steps_at_another_rate(theirs, take, episodes) -> None:
    imported = take("arm", picture=["*.wrist"], end="terminated", time_step=0.2)
    assert imported.meaning["time between steps"].startswith("0.1, resampled to 0.2")
    assert minari.load_dataset(DATASET).storage.metadata["steps_per_second"] == 5
    for episode, frames in zip(episodes(), theirs):
        wrist = frames["observation.images.wrist"][::2]
        assert np.array_equal(episode.observations["wrist"], [*wrist, wrist[-1]])
        assert np.array_equal(episode.observations["observation"][:-1, :3], frames["observation.state"][::2])


def test_success_may_be_what_ends_an_episode(folder, take, episodes) -> None:
    """Of three, the first and the last reach their goal; behind the other a step has no observation that follows."""
    imported = take("arm", pictures="drop", terminated="next.success")
    assert [bool(episode.terminations[-1]) for episode in episodes()] == [True, False, True]
    assert [len(episode.rewards) for episode in episodes()] == [6, 3, 5]
    assert "next.success" in imported.meaning["next.success"] and "ends nothing" in imported.meaning["next.done"]
    taken_as_cut_off = take("arm", "robot/cut-v0", pictures="drop").meaning["last observation"]
    assert "In 2 of these it is the only reward: end=terminated" in taken_as_cut_off


def test_a_split_is_a_subset(folder, take, episodes, theirs) -> None:
    edit(folder / "meta" / "info.json", lambda info: info["splits"].update(train="0:2", test="2:3"))
    imported = take("arm", pictures="drop", subset="test", end="terminated")
    assert imported.meaning["subset"] == "'test' alone, as set; there are train 2, test 1 episodes"
    (episode,) = episodes()
    assert episode.actions.tobytes() == theirs[2]["action"].tobytes()
    take("arm", "robot/train-v0", pictures="drop", subset="train", end="terminated")
    assert [len(episode.rewards) for episode in episodes("robot/train-v0")] == [*LENGTHS[:2]]


def test_one_task_is_no_observation(folder, take) -> None:
    for name in ("tasks.jsonl", "tasks.parquet"):
        (folder / "meta" / name).unlink(missing_ok=True)
    (folder / "meta" / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": TASKS[0]}))
    pq.write_table(pa.table({"task_index": [0], "task": TASKS[:1]}), folder / "meta" / "tasks.parquet")
    meaning = take("arm", pictures="drop", dry_run=True).meaning
    assert meaning["task"] == TASKS[0] and "task=" not in meaning["observations"]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["a", "b"], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"b": 1, "a": 0}, ("a", "b")),
        (["a"], ()),
        (None, ()),
    ],
)
def test_names_of_motors_come_in_several_ways(names, labels) -> None:
    assert lerobot_info._feature({"dtype": "float32", "shape": [2], "names": names}).names == labels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"codebase_version": "v4.0"}, "arm is a LeRobot dataset of version v4.0; read are v2.0, v2.1, v3.0"),
        ({"codebase_version": "v1.6"}, "arm is a LeRobot dataset of version v1.6"),
        ({"total_episodes": 7}, "info.json says 7 episodes with 15 frames, and meta/episodes lists 3 with 15"),
        ({"fps": None}, "info.json is not as LeRobot writes it"),
        ({"fps": 0}, r"info.json is not as LeRobot writes it \(fps is 0\)"),
        ({"fps": 30}, "its steps are 0.1 s apart, and meta/info.json says 30 a second"),
        (
            {"data_path": "../{episode_chunk}{chunk_index}.parquet"},
            "is not as LeRobot writes it .*no 'chunk_index'|no 'ep",
        ),
        ({"data_path": "/etc/passwd"}, "leads out of the folder"),
        ({"data_path": "data/../../x.parquet"}, "leads out of the folder"),
        ({"data_path": "{episode_index.__class__}"}, "is missing"),
        ({"features": {}}, "info.json is not as LeRobot writes it .*no 'timestamp'"),
    ],
)
def test_a_description_that_cannot_be_followed_is_a_line(folder, take, change, says) -> None:
    edit(folder / "meta" / "info.json", lambda info: info.update(change))
    with pytest.raises(DataError, match=says):
        take("arm", pictures="drop")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("info.json", {"chunks_size": 0}, "division"),
        ("episodes.jsonl", {"episode_index": 10**300}, "makes a name of more than 255 letters"),
        ("episodes.jsonl", {"length": None}, "NoneType"),
        ("tasks.jsonl", {"task_index": 7}, "no 0"),
    ],
)
def test_entries_that_lead_nowhere_are_a_line(take, name, change, says) -> None:
    path = Path(shutil.copytree(FOLDER / "lerobot_v2.1", "arm"), "meta", name)
    entries, _, others = path.read_text().partition("\n" if name.endswith("l") else "\0")
    path.write_text(f"{json.dumps({**json.loads(entries), **change})}\n{others}")
    with pytest.raises(DataError, match=f"is not as LeRobot writes it .*{says}"):
        take("arm", pictures="drop")


def test_a_width_that_contradicts_the_description_is_a_line(folder, take) -> None:
    edit(folder / "meta" / "info.json", lambda info: info["features"]["action"].update(shape=[4]))
    with pytest.raises(
        DataError, match="episode 0 of arm: 'action' has 3 numbers in a row, where meta/info.json says 4"
    ):
        take("arm", pictures="drop")


@pytest.mark.parametrize(("wider", "says"), [(5, "4 numbers in a row, where"), (2, "4 numbers, and 3 in the row")])
def test_episodes_of_different_width_are_a_line(folder, take, wider, says) -> None:
    """Of the last episode, all rows or two."""

    def widen(rows: pa.Table) -> pa.Table:
        actions = rows["action"].to_pylist()
        longer = [*actions[:-wider], *([*action, 0.0] for action in actions[-wider:])]
        return rows.set_column(rows.column_names.index("action"), "action", pa.array(longer, pa.list_(pa.float32())))

    rewrite(tables(folder)[-1], widen)
    with pytest.raises(DataError, match=f"episode 2 of arm: 'action' has {says}"):
        take("arm", pictures="drop")


def test_without_actions_nothing_is_learned(folder, take) -> None:
    edit(folder / "meta" / "info.json", lambda info: info["features"].pop("action"))
    with pytest.raises(DataError, match="arm has no actions to learn from; its features are observation.state"):
        take("arm")


def test_what_is_missing_or_cut_off_is_a_line(folder, take, store) -> None:
    table = tables(folder)[0]
    content = table.read_bytes()
    table.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{table} cannot be read"):
        take("arm", pictures="drop")
    table.unlink()
    with pytest.raises(DataError, match=f"{table} is missing; copy the whole folder again"):
        take("arm", pictures="drop")
    description = folder / "meta" / "info.json"
    description.write_text(description.read_text()[:-30])
    with pytest.raises(DataError, match="info.json is not as LeRobot writes it"):
        take("arm", pictures="drop")
    description.unlink()
    with pytest.raises(DataError, match="arm is laid out as LeRobot's, and has no meta/info.json"):
        take("arm", pictures="drop")
    assert not [*store.glob("robot*")]


def test_a_folder_of_datasets_is_told_from_one(folder, take) -> None:
    Path("robots").mkdir()
    folder.rename("robots/arm")
    with pytest.raises(DataError, match="source=robots: LeRobot datasets lie in it; name one, as source=robots/arm"):
        take("robots")


def test_rows_that_are_not_where_the_description_has_them_are_a_line(folder, take) -> None:
    table = tables(folder)[-1]
    rewrite(table, lambda rows: rows.slice(0, len(rows) - 1))
    with pytest.raises(DataError, match="episode 2 of arm has 4 rows from .* where meta/ says 5"):
        take("arm", pictures="drop")
    rewrite(table, lambda rows: rows.drop_columns("action"))
    with pytest.raises(DataError, match="has no column 'action'"):
        take("arm", pictures="drop")


def test_videos_without_a_decoder_are_a_line(folder, take, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        ConfigError, match=r"unless pictures=drop, needs a package: pip install 'offline-agents\[video\]'"
    ):
        take("arm", dry_run=True)


def test_a_broken_video_is_a_line(folder, take, store) -> None:
    pytest.importorskip("av")
    video = sorted(folder.rglob("*.mp4"))[-1]
    content = video.read_bytes()
    for part in (content[: len(content) // 2], b"no video", sorted(folder.rglob("*.mp4"))[0].read_bytes()[:-2000]):
        video.write_bytes(part)
        with pytest.raises(
            AgentsError, match=f"{video} (cannot be read|has no picture at)|the video {video} cannot be read"
        ):
            take("arm", overwrite=True)
    video.unlink()
    with pytest.raises(DataError, match=f"{video} is missing; copy the whole folder again, or set pictures=drop"):
        take("arm", dry_run=True)
    assert not [*store.glob("robot*")] and not [*store.glob(".importing*")]


def test_a_video_of_another_episode_is_a_line(take) -> None:
    """It has four pictures, where five are needed."""
    pytest.importorskip("av")
    folder = Path(shutil.copytree(FOLDER / "lerobot_v2.1", "arm"))
    _, other, video = sorted(folder.rglob("*.mp4"))
    shutil.copy(other, video)
    with pytest.raises(DataError, match=f"{video} has no picture at 0.400 s: it is truncated, or of another episode"):
        take("arm")


def test_pictures_that_are_in_no_table_are_a_line(folder, take) -> None:
    camera = {"dtype": "image", "shape": [4, 4, 3], "names": None}
    edit(folder / "meta" / "info.json", lambda info: info["features"].update({"observation.images.top": camera}))
    with pytest.raises(DataError, match="has no column 'observation.images.top'"):
        take(folder)
