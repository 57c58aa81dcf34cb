"""Imports at scale: time and peak memory of each format with 1,000,000 rows of 40 columns, without pictures.

    python benchmarks/importing.py                 one format after the other, each in a process of its own
    python benchmarks/importing.py rows=100000

Each log has episodes of 1,000 steps. It is written first, and imported by ``agents.import_dataset``. Time is of the
wall clock and of the processor, with the start of Python in it. Written to results/importing.json.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

RESULTS = Path(__file__).parent / "results" / "importing.json"
ROWS, COLUMNS, LENGTH = 1_000_000, 40, 1_000
PIECE = 100_000  # rows written at a time
SOURCES = {kind: f"log.{kind}" for kind in ("csv", "parquet", "npz", "hdf5")}
SOURCES |= {"tfrecord": "rlds/log.tfrecord", "lerobot": "lerobot"}
LIMITS = {"csv": 60.0, "parquet": 20.0}  # seconds, on two cores
MEMORY = 1.5e9  # bytes

IMPORT = """
import sys
from agents.data.importers import ColumnsConfig, import_dataset
source, columns = sys.argv[1], sys.argv[2] == "named"
uses = dict(observation=["s*"], action=["a*"], reward="reward", episode="episode") if columns else {}
import_dataset(source, "benchmark/log-v0", columns=ColumnsConfig(**uses), progress=False)
"""


def pieces(rows: int):
    """The columns of the log: 35 of observations, three of actions, a reward and the episode."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, PIECE):
        count = min(PIECE, rows - start)
        table = {f"s{i}": rng.standard_normal(count) for i in range(COLUMNS - 5)}
        table |= {f"a{i}": rng.uniform(-1, 1, count) for i in range(3)}
        yield table | {"reward": rng.standard_normal(count), "episode": np.arange(start, start + count) // LENGTH}


def write_tables(folder: Path, rows: int) -> None:
    schema = pa.table(next(pieces(1))).schema
    with (
        pyarrow.csv.CSVWriter(folder / "log.csv", schema) as text,
        pyarrow.parquet.ParquetWriter(folder / "log.parquet", schema) as parquet,
    ):
        for piece in pieces(rows):
            text.write_table(pa.table(piece))
            parquet.write_table(pa.table(piece))


def write_arrays(folder: Path, rows: int) -> None:
    columns = [np.concatenate(parts) for parts in zip(*(piece.values() for piece in pieces(rows)))]
    arrays = {
        "observations": np.stack(columns[:-5], axis=1),
        "actions": np.stack(columns[-5:-2], axis=1),
        "rewards": columns[-2],
        "terminals": np.zeros(rows, bool),
        "timeouts": np.arange(1, rows + 1) % LENGTH == 0,
    }
    np.savez(folder / "log.npz", **arrays)
    with h5py.File(folder / "log.hdf5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)


def write_rlds(folder: Path, rows: int) -> None:
    from agents.data.importers.tfrecord import HEADER, SUM, masked_sum, message_class

    (folder / "rlds").mkdir()
    shapes = {"observation": [str(COLUMNS - 5)], "action": ["3"], "reward": []}
    steps = {
        name: {"pythonClassName": "Tensor", "tensor": {"shape": {"dimensions": shape}, "dtype": "float32"}}
        for name, shape in shapes.items()
    }
    features = {"steps": {"pythonClassName": "Dataset", "sequence": {"feature": {"featuresDict": {"features": steps}}}}}
    (folder / "rlds" / "features.json").write_text(json.dumps({"featuresDict": {"features": features}}))
    with (folder / "rlds" / "log.tfrecord").open("wb") as file:
        for piece in pieces(rows):
            columns = np.stack([*piece.values()][:-1], axis=1)
            for start in range(0, len(columns), LENGTH):
                episode, message = columns[start : start + LENGTH], message_class()()
                for name, values in zip(shapes, np.split(episode, [COLUMNS - 5, COLUMNS - 2], axis=1)):
                    entry = message.features.feature.add(key=f"steps/{name}")
                    entry.value.float_list.value.extend(values.ravel())
                content = message.SerializeToString()
                header = HEADER.pack(len(content), masked_sum(len(content).to_bytes(8, "little")))
                file.write(header + content + SUM.pack(masked_sum(content)))


def write_lerobot(folder: Path, rows: int) -> None:
    """As version 3 has it: a hundred episodes in a table."""
    data, meta = folder / "lerobot" / "data" / "chunk-000", folder / "lerobot" / "meta"
    (meta / "episodes" / "chunk-000").mkdir(parents=True)
    data.mkdir(parents=True)
    shapes = {"observation.state": COLUMNS - 5, "action": 3, "next.reward": 1, "timestamp": 1}
    episodes: list[dict[str, int]] = []
    for file, piece in enumerate(pieces(rows)):
        columns = np.stack([*piece.values()][:-1], axis=1).astype(np.float32)
        states, actions, rewards = np.split(columns, [COLUMNS - 5, COLUMNS - 2], axis=1)
        steps = np.arange(len(columns)) % LENGTH
        values = dict(zip(shapes, ([*states], [*actions], rewards[:, 0], (steps / 10).astype(np.float32))))
        values |= {"episode_index": piece["episode"], "task_index": np.zeros_like(steps)}
        pyarrow.parquet.write_table(pa.table(values), data / f"file-{file:03d}.parquet")
        for episode, length in zip(*(each.tolist() for each in np.unique(piece["episode"], return_counts=True))):
            entry = {"episode_index": episode, "length": length, "dataset_from_index": episode * LENGTH}
            episodes.append(entry | {"data/chunk_index": 0, "data/file_index": file})
    pyarrow.parquet.write_table(pa.Table.from_pylist(episodes), meta / "episodes" / "chunk-000" / "file-000.parquet")
    pyarrow.parquet.write_table(pa.table({"task_index": [0], "task": ["reach"]}), meta / "tasks.parquet")
    features = {name: {"dtype": "float32", "shape": [size]} for name, size in shapes.items()}
    features |= {name: {"dtype": "int64", "shape": [1]} for name in ("episode_index", "task_index")}
    info = {"codebase_version": "v3.0", "fps": 10, "total_episodes": len(episodes), "total_frames": rows}
    info |= {"data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet", "features": features}
    (meta / "info.json").write_text(json.dumps(info))


def measure(source: Path, rows: int) -> dict[str, float]:
    """An import in a process of its own."""
    with tempfile.TemporaryDirectory(dir=source.parent) as store:
        environment = {**os.environ, "MINARI_DATASETS_PATH": store}
        columns = "named" if source.suffix in (".csv", ".parquet") else "known"
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", IMPORT, str(source), columns], env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    if status:
        sys.exit(f"the import of {source.name} failed")
    return {
        "rows": rows,
        "megabytes": round(sum(file.stat().st_size for file in [source, *source.rglob("*")]) / 1e6, 1),
        "seconds": round(seconds, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6),
    }


def main() -> None:
    rows = int(dict(argument.split("=") for argument in sys.argv[1:]).get("rows", ROWS))
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for write in (write_tables, write_arrays, write_rlds, write_lerobot):
            # in processes of their own: a child's peak begins at its parent's
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(Path(folder), rows))
            writer.start()
            writer.join()
        for kind, source in SOURCES.items():
            figures[kind] = measure(Path(folder, source), rows)
            print(kind, *(f"{name}={value:,}" for name, value in figures[kind].items()), sep="  ", flush=True)
    if rows == ROWS:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        RESULTS.write_text(json.dumps({"machine": machine, "formats": figures}, indent=1) + "\n")
        late = [kind for kind, limit in LIMITS.items() if figures[kind]["seconds"] > limit]
        large = [kind for kind, values in figures.items() if 1e6 * values["peak_megabytes"] > MEMORY]
        print("within the limits" if not late + large else f"too slow: {late}; too large: {large}")


if __name__ == "__main__":
    main()
