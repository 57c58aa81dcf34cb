"""Logs of the tests' own, and the datasets that they become, as Minari reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from agents.data.importers import ColumnsConfig, Import, import_dataset

DATASET = "robot/arm-v0"


@pytest.fixture(autouse=True)
def store(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and an empty folder to work in."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return tmp_path / "minari"


@pytest.fixture
def take() -> Callable[..., Import]:
    """Imports a log; columns by their use (``earned`` is that of the rewards), and what ``import_dataset`` takes."""

    def take(source: Any, dataset: str = DATASET, earned: str | None = None, **settings: Any) -> Import:
        uses = {use: settings.pop(use) for use in vars(ColumnsConfig()) if use in settings and use != "reward"}
        return import_dataset(source, dataset, columns=ColumnsConfig(reward=earned, **uses), progress=False, **settings)

    return take


@pytest.fixture
def episodes() -> Callable[..., list[Any]]:
    """The episodes of a dataset as Minari reads them."""
    return lambda dataset=DATASET: [*minari.load_dataset(dataset).iterate_episodes()]


def write_csv(path: str, header: str, rows: Sequence[Sequence[object]]) -> str:
    lines = [header, *(",".join("" if value is None else str(value) for value in row) for row in rows)]
    Path(path).write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table() -> Callable[..., str]:
    """Writes a CSV file."""
    return lambda header, rows, path="log.csv": write_csv(path, header, rows)


@pytest.fixture
def steps() -> dict[str, np.ndarray]:
    """Twelve steps as arrays: behind the first five the task is over, behind the others time is up."""
    rng = np.random.default_rng(0)
    ends = {"terminals": np.arange(12) == 4, "timeouts": np.arange(12) == 11}
    observations, actions = rng.standard_normal((12, 3)), rng.uniform(-1, 1, (12, 2))
    return {
        "observations": observations.astype(np.float32),
        "actions": actions.astype(np.float32),
        "rewards": rng.standard_normal(12).astype(np.float32),
        **ends,
    }
