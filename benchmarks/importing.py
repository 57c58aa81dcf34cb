"""Imports at scale: time and peak memory of CSV, Parquet, NPZ, HDF5 and RLDS with 1,000,000 rows of 40 columns.

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
        "megabytes": round(source.stat().st_size / 1e6, 1),
        "seconds": round(seconds, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6),
    }


def main() -> None:
    rows = int(dict(argument.split("=") for argument in sys.argv[1:]).get("rows", ROWS))
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for write in (
            write_tables,
            write_arrays,
            write_rlds,
        ):  # in processes of their own: a child's peak begins at its parent's
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(Path(folder), rows))
            writer.start()
            writer.join()
        for ending in ("csv", "parquet", "npz", "hdf5", "tfrecord"):
            parent = Path(folder) / ("rlds" if ending == "tfrecord" else "")
            figures[ending] = measure(parent / f"log.{ending}", rows)
            print(ending, *(f"{name}={value:,}" for name, value in figures[ending].items()), sep="  ", flush=True)
    if rows == ROWS:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        RESULTS.write_text(json.dumps({"machine": machine, "formats": figures}, indent=1) + "\n")
        late = [ending for ending, limit in LIMITS.items() if figures[ending]["seconds"] > limit]
        large = [ending for ending, values in figures.items() if 1e6 * values["peak_megabytes"] > MEMORY]
        print("within the limits" if not late + large else f"too slow: {late}; too large: {large}")


if __name__ == "__main__":
    main()
