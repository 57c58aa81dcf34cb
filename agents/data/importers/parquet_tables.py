"""Parquet and Arrow: a row per step, or a row per episode with lists in it, read by pyarrow a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.arrow import Ragged, depth, to_labels, to_numpy
from agents.data.importers.rows import Log, Rows, of_each_step
from agents.errors import DataError, one_line

BATCH = 1 << 15  # rows read at a time


@dataclass(frozen=True)
class ParquetTables(Log):
    """Parquet or Arrow files with the same columns, one below the other."""

    depths: Mapping[str, int] = field(default_factory=dict)  # of lists
    rows: str = "auto"  # a row is one of steps, or one of episodes
    rule = "the rows, each an episode of lists (rows=steps, if it is a step)"

    @classmethod
    def open(cls, files: list[Path], *, rows: str) -> ParquetTables:
        """The files as their schema describes them; a DataError where they are damaged."""
        counts = [_schema(file) for file in files]
        schema = counts[0][0]
        if twice := [name for name in schema.names if schema.names.count(name) > 1]:
            raise DataError(f"{files[0]} has two columns {twice[0]!r}: rename one of them")
        numbers = [number for _, number in counts]
        total = None if None in numbers else sum(number for number in numbers if number is not None)
        kind = "Parquet" if _is_parquet(files[0]) else "Arrow"
        types = {name: str(kind) for name, kind in zip(schema.names, schema.types)}
        depths = dict(zip(schema.names, map(depth, schema.types)))
        units = {entry.name: unit for entry in schema if (unit := _unit(entry.metadata or {}))}
        return cls(files, kind, types, total, units=units, depths=depths, rows=rows)

    def episodes_in_rows(self, uses: Mapping[str, str]) -> bool:
        """Whether a row is an episode: every number in it is a list, and no column names its episode."""
        if self.rows != "auto":
            return self.rows == "episodes"
        numbers = [name for name, use in uses.items() if use == "number"]
        return not {"label", "time"} & {*uses.values()} and all(self.depths[name] > 0 for name in numbers)

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        import pyarrow as pa

        whole = self.episodes_in_rows(uses)
        for file in self.files:
            first = 1
            try:
                for batch in _batches(file, [*uses], BATCH if not whole else 64):
                    if whole:
                        yield from _episodes(batch, uses, str(file), first)
                    else:
                        columns = {
                            name: to_labels(batch.column(name))
                            if use == "label"
                            else _column(batch.column(name), name, str(file), first)
                            for name, use in uses.items()
                        }
                        yield Rows(columns, str(file), first)
                    first += batch.num_rows
            except (pa.ArrowException, OSError, KeyError) as error:
                raise DataError(
                    f"{file} cannot be read as {self.kind} ({one_line(error)[:200]}); it is damaged, or has other "
                    f"columns than {self.files[0]}"
                ) from error


def read_table(file: Path, names: list[str] | None = None) -> Any:
    """Columns of a file that fits into memory, None for all; a DataError where it is damaged or lacks one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, pre_buffer=False) as table:
            if absent := [name for name in names or () if name not in table.schema_arrow.names]:
                raise DataError(f"{file} has no column {absent[0]!r}; it has {', '.join(table.schema_arrow.names)}")
            return table.read(names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file} cannot be read ({one_line(error)[:200]}); it is missing, truncated or damaged"
        ) from error


def read_rows(file: Path, name: str, rows: slice) -> Iterator[Any]:
    """Values of a column of a file, a batch in memory at a time; a DataError where it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, pre_buffer=False) as table:
            if name not in table.schema_arrow.names:
                raise DataError(f"{file} has no column {name!r}; it has {', '.join(table.schema_arrow.names)}")
            start = 0
            for group in range(table.num_row_groups):
                stop = start + table.metadata.row_group(group).num_rows
                if start < rows.stop and stop > rows.start:
                    for batch in table.iter_batches(64, row_groups=[group], columns=[name]):
                        within = slice(max(rows.start - start, 0), max(rows.stop - start, 0))
                        yield from batch.column(0).to_pylist()[within]
                        start += batch.num_rows
                start = stop
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read ({one_line(error)[:200]}); it is truncated or damaged") from error


def _episodes(batch: Any, uses: Mapping[str, str], file: str, first: int) -> Iterator[Rows]:
    """Each row of a batch as an episode; what is no list is one value of it."""
    for index in range(batch.num_rows):
        place = f"row {first + index} of {file}"
        columns = {}
        for name in uses:
            value = batch.column(name).slice(index, 1)
            values = _column(value, name, file, first + index)[0] if depth(value.type) else value[0].as_py()
            columns[name] = np.asarray(values)
        lengths = [len(values) for values in columns.values() if values.ndim]
        length, longest = min(lengths, default=0), max(lengths, default=0)
        if longest > length + 1:
            raise DataError(
                f"{place}: a row with lists is an episode, and these have {length} to {longest} values, where each "
                "step needs one; rows=steps, if a row is a step"
            )
        for name, values in columns.items():
            if values.ndim == 0:
                columns[name] = of_each_step(values, length, uses[name], name)
        yield Rows(columns, place, whole=True)


def _column(array: Any, name: str, file: str, first: int) -> Any:
    try:
        return to_numpy(array)
    except Ragged as error:
        row, width, other = error.args
        raise DataError(
            f"row {first + row} of {file}: {name!r} has {other} values, and {width} in the rows before; all have to be "
            "alike, or else rows=episodes"
        ) from error


def _unit(metadata: Mapping[bytes, bytes]) -> str:
    """As far as a column says it; "" else."""
    return (metadata.get(b"units") or metadata.get(b"unit") or b"").decode(errors="replace")


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() in (".parquet", ".pq")


def _schema(file: Path) -> tuple[Any, int | None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if _is_parquet(file):
            with pq.ParquetFile(file) as table:
                return table.schema_arrow, table.metadata.num_rows
        with _reader(file) as reader:
            return reader.schema, None
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file} cannot be opened ({one_line(error)[:200]}); it is truncated, or no {file.suffix} file"
        ) from error


def _batches(file: Path, names: list[str], size: int) -> Iterator[Any]:
    import pyarrow.parquet as pq

    if _is_parquet(file):
        with pq.ParquetFile(file, pre_buffer=False) as table:  # which would hold all of the file in the end
            yield from table.iter_batches(batch_size=size, columns=names)
        return
    with _reader(file) as reader:
        random_access = hasattr(reader, "get_batch")
        for batch in map(reader.get_batch, range(reader.num_record_batches)) if random_access else reader:
            yield batch.select(names)


def _reader(file: Path) -> Any:
    """Of Arrow's file format, or of its stream format."""
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(file)))
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(file)))
