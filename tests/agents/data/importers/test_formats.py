"""Formats: every value is, bit for bit, what the format's own reader gives; damaged files are a line."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from agents.data.units import Units, read_units
from agents.errors import ConfigError, DataError

NAMES = ["flow_in", "level", "valve", "cost", "run"]


@pytest.fixture
def columns() -> dict[str, list[float] | list[int]]:
    """Eleven rows of numbers whose decimals are awkward, in two runs."""
    rng = np.random.default_rng(1)
    flow, level, valve, cost = rng.standard_normal((4, 11))
    return {
        "flow_in": flow.tolist(),
        "level": (1e-7 * level).tolist(),
        "valve": valve.tolist(),
        "cost": (1e9 * cost).tolist(),
        "run": [3] * 5 + [1] * 6,
    }


def by_run(table: pa.Table) -> list[dict[str, np.ndarray]]:
    runs = table["run"].to_numpy()
    return [{name: table[name].to_numpy()[runs == run] for name in NAMES} for run in dict.fromkeys(runs.tolist())]


def assert_equal_to(table: pa.Table, episodes: list) -> None:
    recordings = by_run(table)
    assert len(episodes) == len(recordings) == 2
    for episode, recording in zip(episodes, recordings):
        observations = np.stack([recording["flow_in"], recording["level"]], axis=1)
        assert episode.observations.tobytes() == observations.tobytes()
        assert episode.actions.tobytes() == recording["valve"][:-1].tobytes()  # the last row gives the last observation
        assert episode.rewards.tobytes() == recording["cost"][:-1].tobytes()
        assert episode.truncations.tolist() == [False] * (len(episode.rewards) - 1) + [True]


USES = {"observation": ["flow_in", "level"], "action": ["valve"], "earned": "cost", "episode": "run"}


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("csv.gz", ","), ("tsv", "\t"), ("csv", ";")])
def test_values_of_csv_are_those_of_its_reader(columns, take, episodes, ending, separator) -> None:
    lines = [NAMES, *(map(repr, row) for row in zip(*columns.values()))]
    text = "".join(separator.join(line) + "\n" for line in lines).encode()
    Path(f"log.{ending}").write_bytes(gzip.compress(text) if ending.endswith("gz") else text)
    take(f"log.{ending}", **USES)
    options = pyarrow.csv.ParseOptions(delimiter=separator)
    assert_equal_to(pyarrow.csv.read_csv(f"log.{ending}", parse_options=options), episodes())


def test_blocks_of_csv_end_no_episode_and_may_hold_other_types(columns, take, episodes, monkeypatch) -> None:
    """The first block has whole numbers alone, and no cost at all."""
    table = pa.table(columns)
    for name in ("valve", "level"):
        table = table.set_column(NAMES.index(name), name, pa.array([2.0] * 3 + table[name].to_pylist()[3:]))
    rows = [[*row] for row in zip(*table.to_pydict().values())]
    text = "\n".join([",".join(NAMES), *(",".join(map("{:.17g}".format, row)) for row in rows)]) + "\n"
    Path("log.csv").write_text(text)
    monkeypatch.setattr("agents.data.importers.csv_tables.BLOCK", 96)
    take("log.csv", **USES)
    assert_equal_to(table, episodes())
    Path("log.csv").write_text(text.replace(text.splitlines()[-1], ",1,2,3,1"))
    with pytest.raises(DataError, match="line 12 of log.csv: observation 'flow_in' is missing"):
        take("log.csv", **USES, dry_run=True)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "stream.arrow", "folder", "*.parquet"])
def test_values_of_parquet_and_arrow_are_those_of_their_reader(columns, take, episodes, ending) -> None:
    table = pa.table(columns)
    Path("folder").mkdir()
    source = ending if "folder" in ending or "*" in ending else f"log.{ending}"
    if "stream" in ending:
        with pa.ipc.new_stream(source, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    elif ending == "arrow":
        pyarrow.feather.write_feather(table, source, chunksize=4)
    else:  # episodes go on in the next file, and 2 comes before 10
        folder = "folder/" if ending == "folder" else ""
        for number, start, stop in ((2, 0, 3), (10, 3, 11)):
            pyarrow.parquet.write_table(table[start:stop], f"{folder}{number}.parquet", row_group_size=2)
        if ending == "parquet":
            pyarrow.parquet.write_table(table, source, row_group_size=4)
    take(source, **USES)
    assert_equal_to(table, episodes())


def test_lists_in_a_row_are_a_vector_beside_numbers(take, episodes) -> None:
    state = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    table = pa.table({"state": pa.array([*state]), "grip": pa.array(range(6), pa.float32()), "a.b": [0.5] * 6})
    pyarrow.parquet.write_table(table, "log.parquet")
    imported = take("log.parquet", observation=["state", "grip"], action=["a.b"])
    (episode,) = episodes()
    assert np.array_equal(episode.observations, np.c_[state, np.arange(6)]) and episode.observations.dtype == np.float32
    assert imported.meaning["observations"] == "state.0, state.1, grip (float32)"


def test_a_row_may_be_an_episode_of_lists(take, episodes) -> None:
    observations = [np.arange(8.0).reshape(4, 2), np.arange(4.0).reshape(2, 2)]
    actions = [[0.5, 1.5, 2.5, 3.5], [0.25, 0.75]]
    table = pa.table({"obs": [o.tolist() for o in observations], "act": actions, "failed": [True, False]})
    pyarrow.parquet.write_table(table, "log.parquet")
    take("log.parquet", observation=["obs"], action=["act"], terminated="failed")
    first, second = episodes()
    assert np.array_equal(first.observations[:4], observations[0]) and first.actions.ravel().tolist() == actions[0]
    assert first.terminations.tolist() == [False, False, False, True]
    assert np.array_equal(second.observations, observations[1]) and second.truncations.tolist() == [True]


def assert_steps(steps: dict[str, np.ndarray], episodes: list) -> None:
    """Of ``steps``: the first episode terminates, so that all its steps count; of the other the last is dropped."""
    assert [len(episode.rewards) for episode in episodes] == [5, 6]
    for episode, rows, end in zip(episodes, (slice(0, 5), slice(5, 12)), (5, 11)):
        assert episode.observations[: rows.stop - rows.start].tobytes() == steps["observations"][rows].tobytes()
        assert episode.actions.tobytes() == steps["actions"][rows.start : end].tobytes()
        assert episode.rewards.tobytes() == steps["rewards"][rows.start : end].tobytes()
    assert [bool(episode.terminations[-1]) for episode in episodes] == [True, False]


@pytest.mark.parametrize("ending", ["hdf5", "npz"])
def test_values_of_d4rl_are_those_of_the_file_and_a_timeout_is_no_termination(steps, take, episodes, ending) -> None:
    if ending == "hdf5":
        with h5py.File("log.hdf5", "w") as file:
            for name, array in steps.items():
                file.create_dataset(name, data=array)
            file.create_dataset("metadata/algorithm", data="sac")
    else:
        np.savez_compressed("log.npz", **steps, infos=np.array([{}] * 12))
    imported = take(f"log.{ending}")
    assert_steps(steps, episodes())
    assert "1 terminated, 1 truncated, by 'terminals'" in imported.meaning["ends"]


def test_next_observations_of_a_file_are_its_last_ones(steps, take, episodes) -> None:
    following = np.roll(steps["observations"], -1, axis=0)
    following[[4, 11]] = 9.0
    np.savez("log.npz", **steps, next_observations=following)
    take("log.npz")
    assert [len(episode.rewards) for episode in episodes()] == [5, 7]
    for episode, last in zip(episodes(), (4, 11)):
        assert np.array_equal(episode.observations[-1], following[last])


@pytest.mark.parametrize("size", [4, 5])  # of the latter, the first ends with the first episode
def test_arrays_are_read_piece_by_piece(steps, take, episodes, monkeypatch, size) -> None:
    monkeypatch.setattr("agents.data.importers.layouts.PIECE", size)
    np.savez("log.npz", **steps)
    take("log.npz")
    assert_steps(steps, episodes())


def test_d3rlpy_1_ends_episodes_by_its_own_flag(steps, take, episodes) -> None:
    ends = steps.pop("timeouts") | steps["terminals"]
    with h5py.File("log.h5", "w") as file:
        for name, array in {**steps, "episode_terminals": ends.astype(np.float32)[:, None]}.items():
            file.create_dataset(name, data=array)
        file.create_dataset("version", data="1.0")
    take("log.h5")
    assert_steps(steps, episodes())


def test_d3rlpy_2_has_arrays_for_each_episode(steps, take, episodes) -> None:
    """As its ``dump`` writes them."""
    with h5py.File("log.h5", "w") as file:
        file.create_dataset("columns", data=["observations", "actions", "rewards", "terminated"])
        file.create_dataset("num_episodes", data=2)
        for index, rows in enumerate((slice(0, 5), slice(5, 12))):
            file.create_dataset(f"observations_{index}", data=steps["observations"][rows])
            file.create_dataset(f"actions_{index}", data=steps["actions"][rows])
            file.create_dataset(f"rewards_{index}", data=steps["rewards"][rows, None])
            file.create_dataset(f"terminated_{index}", data=index == 0)
        file.create_dataset("version", data="2.1")
    take("log.h5")
    assert_steps(steps, episodes())


def test_trajectories_of_imitation_are_cut_as_its_reader_does(take, episodes) -> None:
    rng = np.random.default_rng(0)
    lengths = [3, 1, 4]
    data = {
        "obs": rng.standard_normal((sum(lengths) + 3, 2)),
        "acts": rng.integers(0, 3, sum(lengths)),
        "rews": rng.standard_normal(sum(lengths)),
        "terminal": np.array([True, True, False]),
        "indices": np.cumsum(lengths)[:-1],
        "infos": np.array([{}] * sum(lengths)),
    }
    np.savez("log.npz", **data)
    imported = take("log.npz")
    observations = np.split(data["obs"], data["indices"] + np.arange(2) + 1)  # as imitation.data.serialize.load
    for episode, obs, acts, rews in zip(
        episodes(), observations, np.split(data["acts"], data["indices"]), np.split(data["rews"], data["indices"])
    ):
        assert episode.observations.tobytes() == obs.tobytes()
        assert episode.actions.tolist() == acts.tolist() and episode.rewards.tobytes() == rews.tobytes()
    assert imported.meaning["last observation"] == "in 3 given"
    assert "'terminal' does not say which" in imported.meaning["ends"]


def test_a_generator_of_episodes_is_a_source(take, episodes) -> None:
    def record():
        for index in range(3):
            observations = np.full((index + 3, 2), index, np.float32)
            yield {"observation": observations, "action": np.arange(index + 2), "reward": [1.0] * (index + 2)}

    imported = take(record(), end="terminated")
    assert [len(episode.rewards) for episode in episodes()] == [2, 3, 4]
    assert all(episode.terminations[-1] and episode.observations.dtype == np.float32 for episode in episodes())
    assert imported.meaning["kind of actions"].startswith("discrete")


def cut(path: str, share: float = 0.5) -> None:
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(share * len(content))])


def test_truncated_files_are_a_line(steps, take, columns, store) -> None:
    pyarrow.parquet.write_table(pa.table(columns), "log.parquet")
    pyarrow.feather.write_feather(pa.table(columns), "log.feather")
    np.savez("log.npz", **steps)
    with h5py.File("log.hdf5", "w") as file:
        file.create_dataset("observations", data=np.zeros((2000, 3)))
        file.create_dataset("actions", data=np.zeros((2000, 3)))
    text = "flow_in,level,valve,cost,run\n" + "0.1,0.2,0.3,0.4,1\n" * 5000
    Path("log.csv.gz").write_bytes(gzip.compress(text.encode()))
    for path in ("log.parquet", "log.feather", "log.npz", "log.hdf5", "log.csv.gz"):
        cut(path)
        with pytest.raises(DataError, match="cannot be (opened|read)"):
            take(path, **(USES if path not in ("log.npz", "log.hdf5") else {}))
    assert not [*store.glob("robot*")] and not [*store.glob(".importing*")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,c\n1,2,3\n1,x,3\n", r"line 3 of log.csv: the column 'b' holds 'x', no number"),
        ("a,b,c\n1,2\n", r"log.csv cannot be read as CSV: line 2 has 2 values, where the first names 3"),
        ("a,b,a\n1,2,3\n", r"log.csv has two columns 'a'"),
        ("", r"cannot be read as CSV \(Empty CSV file\)"),
        ("a,b,c\n", r"log.csv has no rows"),
    ],
)
def test_what_is_wrong_in_a_csv_file_is_said_with_its_line(take, text, says) -> None:
    Path("log.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        take("log.csv", observation=["b"], action=["c"])


def test_words_for_yes_and_no_are_numbers_in_csv(take, episodes) -> None:
    Path("log.csv").write_text("t,pump,a,over\n2026-01-01,true,1,False\n2026-01-02,false,0,True\n")
    take("log.csv", observation=["pump"], action=["a"], terminated="over", time="t")
    assert episodes()[0].observations.ravel().tolist() == [1, 0, 0] and episodes()[0].terminations[-1]
    Path("log.csv").write_text("t,pump,a\n2026-01-01,true,1\nsoon,false,0\n")
    with pytest.raises(DataError, match="the times in 't' are neither all numbers nor all dates"):
        take("log.csv", observation=["pump"], action=["a"], time="t", dry_run=True)


def test_vectors_without_a_reward_may_be_of_steps(take, episodes) -> None:
    table = pa.table({"s": [[1.0, 2.0, 3.0, 4.0]] * 3, "a": [[0.1, 0.2]] * 3})
    pyarrow.parquet.write_table(table, "log.parquet")
    with pytest.raises(
        DataError, match="row 1 of log.parquet: a row with lists is an episode, .* 2 to 4 values, .*rows=steps"
    ):
        take("log.parquet", observation=["s"], action=["a"])
    take("log.parquet", observation=["s"], action=["a"], rows="steps")
    assert episodes()[0].observations.shape == (3, 4)


def test_text_in_a_column_of_parquet_is_said_with_its_row(take) -> None:
    pyarrow.parquet.write_table(pa.table({"a": ["1", "x"], "b": [1.0, 2.0]}), "log.parquet")
    with pytest.raises(DataError, match="row 1 of log.parquet: the column 'a' holds '1', no number"):
        take("log.parquet", observation=["a"], action=["b"])


def test_vectors_of_different_width_are_refused(take) -> None:
    pyarrow.parquet.write_table(pa.table({"a": [[1.0, 2.0], [1.0]], "b": [1.0, 2.0]}), "log.parquet")
    with pytest.raises(DataError, match="row 2 of log.parquet: 'a' has 1 values, and 2 in the rows before"):
        take("log.parquet", observation=["a"], action=["b"])


def test_files_with_other_columns_and_of_several_formats_are_refused(take) -> None:
    Path("a").mkdir()
    Path("a/1.csv").write_text("s,a\n1,2\n")
    Path("a/2.csv").write_text("s,b\n1,2\n")
    with pytest.raises(DataError, match="a/2.csv has no column 'a', which a/1.csv has"):
        take("a", observation=["s"], action=["a"], last_observation="repeat")
    Path("a/3.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"files of several formats are there, CSV and NPZ; choose by a pattern"):
        take("a")
    for source in ("nowhere.csv", "no*.csv"):
        with pytest.raises(DataError, match="no such file or folder; known are files that end in .csv,"):
            take(source)


def test_what_programs_hide_in_a_folder_is_no_data(take, table, episodes) -> None:
    for folder in (".ipynb_checkpoints", "_delta_log", "day=1"):
        Path("logs", folder).mkdir(parents=True)
        table("s,a", [[1, 0.5], [2, 0.5]], f"logs/{folder}/1.csv")
    take("logs", observation=["s"], action=["a"])
    assert len(episodes()) == 1
    Path("logs/day=1/1.csv").unlink()
    with pytest.raises(DataError, match="source=logs: no log in a known format is there"):
        take("logs", observation=["s"], action=["a"])


def test_endings_may_be_of_capital_letters(columns, take, episodes) -> None:
    pyarrow.parquet.write_table(pa.table(columns), "LOG.PARQUET")
    take("LOG.PARQUET", **USES)
    assert_equal_to(pa.table(columns), episodes())


def test_next_observations_of_a_format_follow_its_own_observations_alone(steps, take, episodes) -> None:
    """Beside others of the same width, every step would be an episode of its own."""
    other = np.random.default_rng(1).standard_normal((12, 3))
    np.savez("log.npz", **steps, next_observations=np.roll(steps["observations"], -1, 0), other=other)
    take("log.npz", observation=["other"])
    assert [len(each.rewards) for each in episodes()] == [5, 6]
    take("log.npz", "robot/arm-v1", observation=["obs*"])
    assert [len(each.rewards) for each in episodes("robot/arm-v1")] == [5, 7]


def test_arrays_of_different_length_are_refused(steps, take) -> None:
    steps["rewards"] = steps["rewards"][:-1]
    np.savez("log.npz", **steps)
    with pytest.raises(DataError, match="'rewards' has 11 rows, the other arrays 12: all need one for each step"):
        take("log.npz")


def test_what_is_pickled_in_a_file_is_never_loaded(steps, take) -> None:
    np.savez("log.npz", **steps, extra=np.array([print], object))
    with pytest.raises(ConfigError, match="has no column 'extra'"):
        take("log.npz", observation=["extra"])
    np.savez("log.npz", **steps | {"observations": np.array([print] * 12, object)})
    with pytest.raises(DataError, match="'observations' holds Python objects, which are not read; save it as numbers"):
        take("log.npz")


def test_single_values_in_an_npz_are_no_columns(take) -> None:
    np.savez("log.npz", observations=np.zeros((3, 1)), actions=np.full((3, 1), 0.5), version=np.float64(2))
    assert take("log.npz", dry_run=True).meaning["episodes"].startswith("1 of 2 steps")
    np.savez("log.npz", observations=np.float64(1), actions=np.zeros((3, 1)))
    with pytest.raises(ConfigError, match="columns.observation must name"):
        take("log.npz", dry_run=True)


@pytest.mark.parametrize("source", [5, None, {"observation": [1, 2], "action": [0]}])
def test_what_is_no_source_is_a_line(take, source) -> None:
    with pytest.raises(DataError, match="a source is a path, or a list or generator of episodes"):
        take(source)


def test_arrays_by_columns_are_those_by_rows(steps, take, episodes, monkeypatch) -> None:
    monkeypatch.setattr("agents.data.importers.layouts.PIECE", 5)
    np.savez("log.npz", **steps | {"observations": np.asfortranarray(steps["observations"])})
    take("log.npz")
    assert_steps(steps, episodes())


def test_values_in_another_file_are_not_read(steps, take) -> None:
    """HDF5 can name any file as the place of an array."""
    Path("secret").write_bytes(bytes(48))
    with h5py.File("log.hdf5", "w") as file:
        file["actions"] = steps["actions"]
        file.create_dataset("observations", (12, 4), np.uint8, external=[("secret", 0, 48)])
    with pytest.raises(DataError, match="the values of /observations are in another file, which is not read"):
        take("log.hdf5")


def test_what_is_no_array_is_overlooked_and_what_is_there_twice_is_a_line(steps, take, episodes) -> None:
    np.savez("log.npz", **steps)
    with zipfile.ZipFile("log.npz", "a") as archive:
        archive.writestr("readme.txt", "of June")
    take("log.npz")
    assert_steps(steps, episodes())
    table = pa.Table.from_arrays([pa.array([0.5, 1.5])] * 3, names=["s", "s", "a"])
    pyarrow.parquet.write_table(table, "log.parquet")
    with pytest.raises(DataError, match="log.parquet has two columns 's': rename one of them"):
        take("log.parquet", observation=["s"], action=["a"])


TYPES = {
    "nothing": (pa.array([[]] * 2, pa.list_(pa.float64())), r"observations of shape \[0\] hold nothing"),
    "dates": (pa.array([0, 1], pa.timestamp("s")), "'1970-01-01T00:00:00.*', no number; write what matters of it"),
    "structs": (pa.array([{"x": 1.0}] * 2), "row 1 of log.parquet: the column 's' holds \"{'x': 1.0}\", no number"),
    "empty": (pa.nulls(2), "row 1 of log.parquet: the column 's' holds 'None', no number"),
    "a_missing_list": (pa.array([[1.0], None]), "row 2 of log.parquet: 's' has 0 values, and 1 in the rows before"),
    "lists_of_lists": (pa.array([[[1.0], [2.0, 3.0]]] * 2), "'s' has 2 values, and 1 in the rows before"),
}


@pytest.mark.parametrize("name", TYPES)
def test_what_is_no_number_in_parquet_is_a_line(take, name) -> None:
    values, says = TYPES[name]
    pyarrow.parquet.write_table(pa.table({"s": values, "a": [0.5, 0.7]}), "log.parquet")
    with pytest.raises(DataError, match=says):
        take("log.parquet", observation=["s"], action=["a"])


def test_numbers_of_other_kinds_are_those_of_their_reader(take, episodes) -> None:
    """Decimals, numbers by a dictionary and missing whole numbers; times may be durations."""
    columns = {
        "s": pa.array(["1.50", "2.25", "0.75"]).cast(pa.decimal128(6, 2)),
        "code": pa.array([7, 9, 7]).dictionary_encode(),
        "count": pa.array([3, None, 5], pa.int64()),
        "a": [0.5, 0.7, 0.1],
        "t": pa.array([0, 10, 20], pa.duration("s")),
    }
    pyarrow.parquet.write_table(pa.table(columns), "log.parquet")
    chosen = {"observation": ["s", "code", "count"], "action": ["a"], "time": "t"}
    assert take("log.parquet", **chosen, missing="forward-fill").meaning["time between steps"] == "10"
    assert episodes()[0].observations.tolist() == [[1.5, 7.0, 3.0], [2.25, 9.0, 3.0], [0.75, 7.0, 5.0]]


def test_units_of_a_format_are_told(steps, take) -> None:
    fields = [pa.field("s", pa.list_(pa.float64(), 2), metadata={"units": "m"}), pa.field("a", pa.float64())]
    arrays = [pa.array([[1.0, 2.0]] * 2, fields[0].type), pa.array([0.5, 0.7])]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    pyarrow.parquet.write_table(table, "log.parquet")
    take("log.parquet", observation=["s"], action=["a"])
    assert read_units("robot/arm-v0") == Units(("m", "m"), (None,))
    with h5py.File("log.hdf5", "w") as file:
        for name, array in steps.items():
            file[name] = array
        file["actions"].attrs["units"] = "N m"
        file["observations"].attrs["units"] = np.bytes_("rad")  # of a fixed length
    take("log.hdf5", overwrite=True)
    assert read_units("robot/arm-v0") == Units(("rad",) * 3, ("N m",) * 2)


def test_a_number_of_episodes_in_another_file_is_not_read(take) -> None:
    with h5py.File("secret.hdf5", "w") as file:
        file["n"] = 1
    with h5py.File("log.hdf5", "w") as file:
        names = ["observations", "actions", "rewards", "terminated"]
        file["num_episodes"] = h5py.ExternalLink("secret.hdf5", "n")
        file.create_dataset("columns", data=names)
        for name in names:
            file[f"{name}_0"] = np.zeros((3, 1))
    with pytest.raises(DataError, match="the values of /n are in another file, which is not read"):
        take("log.hdf5")
