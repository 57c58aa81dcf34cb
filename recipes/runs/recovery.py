"""What the switch to the environment cost, and what came of it: the drop, the time to make it up, the regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.environments.protocols import PROTOCOLS
from recipes.reporting.results import Cell
from recipes.reporting.tables import spread

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Recovery:
    """Evaluations from the switch on, by the score of the first protocol that there is, else by the return."""

    key: str  # column of evaluations.csv
    first: float  # of the offline policy
    worst: float  # of all later ones
    last: float
    steps_down: int | None  # in the environment, until the first value was reached again; 0: never below; None: not yet
    regret: float | None  # None: there is neither success nor score

    @property
    def drop(self) -> float:
        """By how much the worst evaluation was below the first, 0 if none was."""
        return max(self.first - self.worst, 0.0)

    def summary(self) -> str:
        """One line for a person."""
        name = self.key.removeprefix("eval/").replace("_", " ")
        back = "never below" if self.steps_down == 0 else "not made up yet"
        if self.steps_down:
            back = f"made up after {self.steps_down:,} environment steps"
        regret = "" if self.regret is None else f", regret {self.regret:.2f}"
        form = ".4g" if self.key == "eval/return" else ".1f"
        values = f"{self.first:{form}} before, {self.worst:{form}} at worst ({back}), {self.last:{form}} at the end"
        return f"online: {name} {values}{regret}"

    def measures(self) -> dict[str, float]:
        """``online/*``; what is not known is not there."""
        numbers = {"drop": self.drop, "gain": self.last - self.first, "regret": self.regret}
        numbers["steps_to_recover"] = self.steps_down
        return {f"online/{name}": float(value) for name, value in numbers.items() if value is not None}


def recovery(rows: Rows) -> Recovery | None:
    """Of the rows of evaluations.csv; None before the first evaluation online.

    The regret is that of Cal-QL (arXiv 2303.05479, section 7): the mean over the evaluations online of what is missing
    to a success of 1, or where the environment knows no success to a score of 100.
    """
    at_switch = [row for row in rows if float(row["phase"]) == 0.0]
    online = [row for row in rows if float(row["phase"]) > 0.0]
    if not at_switch or not online:
        return None
    key = next(key for key in (*(f"eval/{p.score_key}" for p in PROTOCOLS), "eval/return") if rows[-1].get(key))
    first, values = float(at_switch[-1][key]), np.array([float(row[key]) for row in online])
    return Recovery(key, first, values.min(), values[-1], _steps_down(first, values, online), _regret(online, key))


def recovery_table(outcomes: Mapping[tuple[str, str], Sequence[Recovery]]) -> list[list[str]]:
    """A row per dataset and algorithm, over its runs; the header alone if there are none."""
    table = [["dataset", "algorithm", "runs", "offline", "at worst", "online", "gain", "regret"]]
    for key, runs in outcomes.items():
        columns = zip(*((run.first, run.worst, run.last, run.last - run.first) for run in runs))
        cells = [Cell(dict(enumerate(column))) for column in columns]
        regrets = [run.regret for run in runs if run.regret is not None]
        table.append([*key, str(len(runs)), *map(spread, cells), f"{np.mean(regrets):.2f}" if regrets else ""])
    return table


def _steps_down(first: float, values: np.ndarray, online: Rows) -> int | None:
    below = np.flatnonzero(values < first)
    if not len(below):
        return 0
    back = [int(float(row["env_step"])) for row, value in zip(online[below[0] :], values[below[0] :]) if value >= first]
    return back[0] if back else None


def _regret(online: Rows, key: str) -> float | None:
    if online[-1].get("eval/success"):
        return float(np.mean([1.0 - float(row["eval/success"]) for row in online]))
    return None if key == "eval/return" else float(np.mean([1.0 - float(row[key]) / 100.0 for row in online]))
