"""Sources: found, made or downloaded whole or not at all, and one clear line for damaged files."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest

from agents.data import episodes, opening
from agents.errors import DataError
from tests.agents.handmade import (
    ACTION_SPACE,
    DATASET,
    ENDS,
    adroit_env_spec,
    assert_transitions,
    caches,
    create,
    edit_episode,
    edit_metadata,
    episode,
    load,
    refusal,
)

pytestmark = pytest.mark.usefixtures("root")

# Finding, making, downloading ----------------------------------------------------------------------------------------


def test_unknown_datasets_are_answered_with_close_ones_and_the_way_without_a_network(root: Path) -> None:
    create(*ENDS)
    message = refusal("D4RL/pen/humn-v2")
    assert "did you mean D4RL/pen/human-v2" in message
    assert "no network" in message
    for way_out in ("test/hand-v0", "demo/pen/mixed-v1", str(root / "D4RL/pen/humn-v2")):
        assert way_out in message
    assert "did you mean test/hand-v0" in refusal("test/hnd-v0")
    assert "demo/pen/mixed-v1" in refusal("demo/pen/mixd-v1")
    assert "(not an id such as D4RL/pen/human-v2). Without a network" in refusal("x y")
    assert "not an id" in refusal("")


def test_a_store_that_cannot_be_made_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.parent.joinpath("file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root.parent / "file" / "minari"))
    with pytest.raises(DataError, match="cannot use Minari's folder .*; set MINARI_DATASETS_PATH to another one"):
        load()


def test_built_in_datasets_are_made_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(dataset_id: str, *, progress: bool) -> None:
        made.append((dataset_id, progress))
        create(*ENDS, dataset_id=dataset_id)

    monkeypatch.setattr(opening.demos, "make", make)
    assert_transitions(load("demo/pen/mixed-v1"), ENDS)
    load("demo/pen/mixed-v1")
    assert made == [("demo/pen/mixed-v1", False)]


class FakeHub:
    """A remote that Minari can be pointed at; ``breaks`` is the file during whose transfer the connection fails."""

    source = Path()
    breaks: str | None = None
    transferred: list[str] = []

    def __init__(self, name: str, token: str | None) -> None:
        pass

    def list_namespaces(self) -> list[str]:
        return ["test"]

    def list_datasets(self, prefix: str | None = None) -> Iterator[str]:
        yield from (dataset_id for dataset_id in (DATASET,) if dataset_id.startswith(prefix or ""))

    def get_dataset_metadata(self, dataset_id: str) -> dict:
        return json.loads((self.source / "metadata.json").read_text())

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        (path / namespace).mkdir(parents=True, exist_ok=True)
        (path / namespace / "namespace_metadata.json").write_text("{}")

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        target = path / dataset_id / "data"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("metadata.json", "main_data.hdf5"):
            if name == self.breaks:
                (target / name).write_bytes(b"half of it")
                raise ConnectionError("connection reset\nby peer")
            shutil.copy(self.source / name, target)
            self.transferred.append(name)


@pytest.fixture
def hub(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeHub]:
    shutil.move(create(*ENDS), tmp_path / "remote")
    shutil.rmtree(root)
    monkeypatch.setattr(FakeHub, "source", tmp_path / "remote")
    monkeypatch.setattr(FakeHub, "transferred", [])
    monkeypatch.setitem(minari.storage.remotes._registry, "fake", lambda: FakeHub)
    monkeypatch.setenv("MINARI_REMOTE", "fake://hub")
    return FakeHub


def test_download(hub: type[FakeHub], root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert_transitions(load(), ENDS)
    load()
    assert hub.transferred == ["metadata.json", "main_data.hdf5"]  # once
    assert capfd.readouterr().out == ""  # Minari's chatter is not on stdout
    assert os.environ["MINARI_DATASETS_PATH"] == str(root)
    assert (root / "test" / "namespace_metadata.json").exists()
    assert list(minari.list_local_datasets()) == [DATASET]


@pytest.mark.parametrize("breaks", ["metadata.json", "main_data.hdf5"])
def test_a_download_that_fails_half_way_leaves_nothing_that_looks_whole(
    hub: type[FakeHub], root: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    monkeypatch.setattr(hub, "breaks", breaks)
    assert "the download failed: connection reset by peer" in refusal()
    assert not (root / DATASET).exists()
    assert minari.list_local_datasets() == {}
    monkeypatch.setattr(hub, "breaks", None)
    assert_transitions(load(), ENDS)


def test_ids_that_the_hub_does_not_have(hub: type[FakeHub], root: Path) -> None:
    assert "Couldn't find any version" in refusal("test/other-v0")
    assert "test/hand-v7, doesn't exist" in refusal("test/hand-v7")
    assert not (root / "test").exists()


# Metadata -------------------------------------------------------------------------------------------------------------


def test_no_task_where_the_observation_is_not_the_environments() -> None:
    path = create(*ENDS)
    edit_metadata(path, env_spec=adroit_env_spec())
    dataset = load()
    assert dataset.env_spec.id == "AdroitHandPen-v1"
    assert "d4rl" not in dataset.statistics.scores


def test_older_gymnasium_specs_are_understood() -> None:
    path = create(*ENDS, env="CartPole-v1")
    spec = {**json.loads(gym.spec("CartPole-v1").to_json()), "apply_api_compatibility": False, "autoreset": False}
    edit_metadata(path, env_spec=json.dumps(spec))
    assert load().env_spec.id == "CartPole-v1"


@pytest.mark.parametrize("changes", [{"env_spec": "{broken"}, {"ref_min_score": 1.0, "ref_max_score": 1.0}])
def test_unusable_extras_are_ignored_with_a_warning(changes: dict) -> None:
    edit_metadata(create(*ENDS), **changes)
    with pytest.warns(UserWarning, match="ignored"):
        dataset = load()
    assert dataset.env_spec is dataset.reference is None


PICTURE = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"observation_space": gym.spaces.Text(5)}, "observations are in a Text.* numbers and categories are"),
        (
            {"observation_space": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)},
            "'observation' is a picture, a Box of shape",
        ),
        ({"action_space": gym.spaces.Dict({"a": ACTION_SPACE})}, "actions are in a Dict of 'a'; supported are a Box, "),
    ],
)
def test_what_is_not_learned_from_is_named_with_the_way_out(spaces: dict, message: str) -> None:
    create(**spaces)
    assert re.search(message, refusal())


# Episodes -------------------------------------------------------------------------------------------------------------


def test_no_episode_is_lost_where_the_file_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "REOPEN_EVERY", 2)
    create(*ENDS[:5])
    assert_transitions(load(), ENDS[:5])


def truncate(path: Path) -> None:
    os.truncate(path / "main_data.hdf5", (path / "main_data.hdf5").stat().st_size // 2)


def shrink(path: Path) -> None:
    with h5py.File(path / "main_data.hdf5", "a") as file:
        del file["episode_4"]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"episode 0: cannot be read .*; copy it again from where it came, or write it again$"),
    "empty": (lambda path: os.truncate(path / "main_data.hdf5", 0), "episode 0: cannot be read"),
    "missing": (lambda path: (path / "main_data.hdf5").unlink(), "cannot be opened .*copy it again"),
    "no hdf5": (lambda path: (path / "main_data.hdf5").write_text("<html>404</html>"), "episode 0: cannot be read"),
    "episode gone": (shrink, "episode 4: cannot be read"),
    "array gone": (lambda path: edit_episode(path, 2, actions=None), "episode 2: cannot be read"),
    "no json": (lambda path: (path / "metadata.json").write_text("{"), r"cannot be opened .*metadata\.json"),
    "no metadata": (lambda path: (path / "metadata.json").unlink(), r"cannot be opened .*metadata\.json"),
    "list": (lambda path: (path / "metadata.json").write_text("[]"), r"cannot be opened .*metadata\.json"),
    "no version": (lambda path: edit_metadata(path, minari_version=None), r"cannot be opened .*metadata\.json"),
    "no spaces": (lambda path: edit_metadata(path, action_space=None), r"cannot be opened .*metadata\.json"),
    "odd space": (
        lambda path: edit_metadata(path, action_space='{"type": "Bx"}'),
        r"cannot be opened .*metadata\.json",
    ),
    "odd format": (lambda path: edit_metadata(path, data_format="csv"), r"cannot be opened .*metadata\.json"),
    "version": (lambda path: edit_metadata(path, minari_version="9.0.0"), r"Minari 9\.0\.0, .* use another version"),
    "no episodes": (lambda path: edit_metadata(path, total_episodes=0), "holds no steps"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files(root: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    damage(create(*ENDS))
    assert re.search(message, refusal())
    assert caches(root) == []


def test_what_can_be_had_again_is_to_be_moved_away_and_nothing_deleted(hub: type[FakeHub], root: Path) -> None:
    def remedy(dataset_id: str) -> str:
        return opening.open_source(dataset_id, progress=False).remedy

    for dataset_id, anew in {"demo/pen/mixed-v1": "made", "D4RL/pen/human-v2": "downloaded"}.items():
        create(*ENDS, dataset_id=dataset_id)
        assert remedy(dataset_id) == f"move {root / dataset_id} elsewhere to have it {anew} anew"
    load()
    assert remedy(DATASET) == f"move {root / DATASET} elsewhere to have it downloaded anew"
    (root / DATASET).rename(root / "kept")  # so that the new folder is another one for certain
    create(*ENDS)
    assert remedy(DATASET) == "copy it again from where it came, or write it again"
    create(dataset_id="test/empty-v0")
    assert "holds no steps; copy it again" in refusal("test/empty-v0")


HOLD = "import sys, h5py; file = h5py.File(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("dataset_id", [DATASET, "demo/pen/mixed-v1"])
def test_a_file_that_another_process_writes_is_not_called_damaged(root: Path, dataset_id: str) -> None:
    file = create(*ENDS, dataset_id=dataset_id) / "main_data.hdf5"
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "open\n"
        message = refusal(dataset_id)
        writer.stdin.close()
    assert f"another process has {file} open for writing; close it there, or wait" in message
    assert "damaged" not in message and "delete " not in message
    assert caches(root) == []
    assert_transitions(load(dataset_id), ENDS)


def test_a_lock_that_shows_with_the_metadata_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    file = create(*ENDS) / "main_data.hdf5"

    def read(path: Path) -> None:
        raise OSError(f"Unable to open file (unable to lock file, errno = {errno.EAGAIN}, error message = 'busy')")

    monkeypatch.setattr(opening.MinariStorage, "read", read)
    assert f"another process has {file} open for writing" in refusal()


def test_metadata_without_spaces_have_no_environment_made(tmp_path: Path) -> None:
    spec = {"id": "Command-v0", "entry_point": "subprocess:Popen", "kwargs": {"args": ["touch", str(tmp_path / "ran")]}}
    edit_metadata(create(*ENDS), observation_space=None, env_spec=json.dumps({**spec, "additional_wrappers": []}))
    assert "cannot be opened (no observation_space)" in refusal()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_damaged_arrow_files(data_format: str) -> None:
    path = create(*ENDS, data_format=data_format)
    (path / "3" / f"part-0.{data_format}").write_bytes(b"nothing")
    assert "episode 3: cannot be read" in refusal()
    shutil.rmtree(path / "1")
    assert "episode 1: cannot be read" in refusal()


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("observations", ENDS[2]["observations"][:-1]),
        ("observations", ENDS[2]["observations"][:, :-1]),
        ("actions", ENDS[2]["actions"][:-1]),
        ("actions", ENDS[2]["actions"][:, 0]),
        ("rewards", ENDS[2]["rewards"][:-1]),
        ("rewards", np.zeros(0)),
        ("rewards", np.float64(1.0)),
        ("rewards", np.array([b"a"] * 5)),
        ("terminations", np.zeros(6, bool)),
        ("truncations", np.zeros((5, 2), bool)),
    ],
)
def test_wrong_shapes(name: str, array: np.ndarray) -> None:
    edit_episode(create(*ENDS), 2, **{name: array})
    message = refusal()
    assert "episode 2: " in message
    assert re.search("write the dataset again, with (one observation more than actions|[a-z]+ as expected)", message)


@pytest.mark.parametrize("discrete", [False, True])
def test_columns_are_as_good_as_vectors(discrete: bool) -> None:
    actions = {"actions": np.array([2, 0, 1])} if discrete else {}
    spaces = {"action_space": gym.spaces.Discrete(3)} if discrete else {}
    path = create(episode(3, seed=1, truncated=True, **actions), **spaces)
    before = load()
    names = ["rewards", "terminations", "truncations", *actions]
    with h5py.File(path / "main_data.hdf5") as file:
        columns = {name: file[f"episode_0/{name}"][:].reshape(-1, 1) for name in names}
    edit_episode(path, 0, **columns)
    after = load()
    assert after.fingerprint == before.fingerprint and after.rows.equal(before.rows)


def test_discrete_actions_are_whole_numbers() -> None:
    path = create(episode(3, seed=1, actions=np.array([2, 0, 1])), action_space=gym.spaces.Discrete(3))
    edit_episode(path, 0, actions=np.array([2.0, 0.5, 1.0]))
    assert "episode 0: action 0.5 at step 1 is no whole number" in refusal()


def test_arrow_arrays_that_are_too_short_are_not_mistaken_for_padding() -> None:
    path = create(*ENDS, data_format="arrow")
    metadata = json.loads((path / "2" / "metadata.json").read_text())
    (path / "2" / "metadata.json").write_text(json.dumps({**metadata, "total_steps": 6}))
    assert "episode 2: observations are float64[6, 3], expected numbers [7, 3]" in refusal()


def test_several_episodes_in_one_are_refused() -> None:
    create(episode(5, seed=1, truncations=np.array([0, 1, 0, 0, 1], bool)))
    assert "episode 0: truncated at step 1 of 5, before its end; " in refusal()


@pytest.mark.parametrize("dataset_id", ["../store/demo/pen/mixed-v1", "/store/demo/pen/mixed-v1", "demo/../pen-v0"])
def test_a_path_is_not_an_id(dataset_id) -> None:
    with pytest.raises(DataError, match="is a path, not the id of a dataset"):
        opening.open_source(dataset_id, progress=False)
