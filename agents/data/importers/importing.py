"""A log in another format -> a Minari dataset: read once to understand it, and once more to write it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agents.data.importers import writing
from agents.data.importers.columns import Block, Selection, select
from agents.data.importers.episodes_of_python import PythonEpisodes
from agents.data.importers.explanation import explain, first_steps
from agents.data.importers.formats import digest, find_files, open_log
from agents.data.importers.meaning import Episode, Meaning
from agents.data.importers.rows import Log
from agents.data.importers.settings import ColumnsConfig, MeaningConfig
from agents.data.importers.sorting import in_order
from agents.data.importers.splitting import Cuts
from agents.data.importers.understanding import Understanding
from agents.data.store import is_here
from agents.errors import DataError


@dataclass(frozen=True)
class Import:
    """What an import has understood, in words."""

    dataset: str
    meaning: Mapping[str, str]  # what is understood of what
    first_rows: Sequence[Sequence[str]]  # a table with a header; () of a log that was here already
    unchanged: bool  # the same log was imported in the same way before, and nothing was done


def import_dataset(
    source: str | Path | Iterable[Mapping[str, Any]],
    dataset: str,
    *,
    columns: ColumnsConfig | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **meaning: Any,
) -> Import:
    """Turn a log into a dataset of the local store, which every other function takes by its id.

    Args:
        source: a file, a folder, a pattern, or episodes: dictionaries of arrays with keys named as ``ColumnsConfig``'s.
        dataset: the id it gets, such as ``robot/arm-v0``.
        columns: what the columns are; formats that describe themselves need none.
        dry_run: understand the log, and write nothing.
        overwrite: take the place of a dataset of this id.
        progress: a bar on a terminal, for what takes longer than two seconds.
        meaning: fields of ``MeaningConfig``: ``reward``, ``gap``, ``end``, ``last_observation``, ``action_kind``,
            ``action_bounds``, ``missing``, ``pictures``, ``rows``, ``subset``, ``sort``, ``time_step``,
            ``separator``, ``decimal``.

    Raises:
        ConfigError: the settings do not fit the log.
        DataError: the log is damaged or contradicts itself, or a dataset of this id is there.
    """
    config, columns = MeaningConfig(**meaning), columns or ColumnsConfig()
    writing.require_id(dataset)
    with tempfile.TemporaryDirectory(prefix="offline-agents-") as folder:
        if isinstance(source, (str, Path)):
            files = find_files(str(source))
            sums = digest(files, f"{columns}{config}")
            log = open_log(files, config)
        else:
            log, source, sums = PythonEpisodes.open(source, Path(folder)), "a program", None
        if not dry_run and not overwrite and is_here(dataset):
            record = writing.read_record(dataset)
            if sums is None or record.get("digest") != sums:
                raise DataError(f"dataset {dataset!r} is there already; overwrite=true puts this log in its place")
            return Import(dataset, record["meaning"], (), unchanged=True)
        reading = Reading(log, select(log, columns, config), config, progress)
        understanding = reading.understand(str(source))
        if not dry_run:
            with reading.bar(f"writing {dataset}", understanding.num_steps) as bar:
                writing.write(dataset, _counted(reading.episodes(), bar), understanding, sums)
    return Import(dataset, dict(explain(understanding)), tuple(first_steps(understanding)), unchanged=False)


@dataclass(frozen=True)
class Reading:
    """A log and what its columns are."""

    log: Log
    selection: Selection
    config: MeaningConfig
    progress: bool

    def understand(self, source: str) -> Understanding:
        """Read all of it; a DataError where it cannot be what it is taken for, or has no step."""
        cuts, meaning = self._cuts, Meaning(self.selection, self.config)
        with self.bar(f"reading {source}", self.log.num_rows) as bar:
            blocks = self._blocks(bar)
            if (first := next(blocks, None)) is None:
                raise DataError(f"{source} has no rows")
            names = {use: self.selection.names(use, first) for use in ("observation", "action")}
            units = {use: self.selection.units_of(use, first) for use in names}
            rule = self.log.rule if first.rows.whole else cuts.rule
            understanding = Understanding(self.selection, self.config, rule, source, self.log, names, units)
            for recording in cuts.episodes(itertools.chain([first], blocks)):
                understanding.add(meaning.episode(recording))
        if not understanding.num_episodes:
            why = "all of them miss values" if understanding.num_dropped else "each has a single row, and no step"
            way_out = "correct columns.episode, or set end=terminated or last_observation=repeat"
            raise DataError(f"{source}: no episode is left, since {why}; {way_out}")
        return understanding

    def episodes(self) -> Iterator[Episode]:
        """The episodes that have steps."""
        cuts, meaning = self._cuts, Meaning(self.selection, self.config)
        for episode in map(meaning.episode, cuts.episodes(self._blocks())):
            if episode is not None and episode.num_steps:
                yield episode

    def bar(self, doing: str, total: int | None) -> tqdm:
        """Over rows, with rate and time left; of a log's rows the number may be a guess."""
        disable = None if self.progress else True  # None: on a terminal only
        return tqdm(total=total, desc=doing, unit=" rows", unit_scale=True, delay=2, disable=disable)

    def _blocks(self, bar: tqdm | None = None) -> Iterator[Block]:
        blocks = self._read(bar)
        if not self.config.sort:
            return blocks
        if not self._cuts.by_files:
            return in_order(blocks, self.selection)
        each = itertools.groupby(blocks, key=lambda block: block.rows.file)
        return itertools.chain.from_iterable(in_order(file, self.selection) for _, file in each)

    @property
    def _cuts(self) -> Cuts:
        return Cuts(self.selection, self.config.gap)

    def _read(self, bar: tqdm | None) -> Iterator[Block]:
        for block in self.selection.blocks(self.log.read(self.selection.uses)):
            yield block
            if bar is not None:
                bar.update(len(block.parts["action"]))


def _counted(episodes: Iterator[Episode], bar: tqdm) -> Iterator[Episode]:
    for episode in episodes:
        yield episode
        bar.update(episode.num_steps)
