"""The card of a dataset: what was measured and the verdict, as text for a terminal, as JSON, and as tables."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import ArrayLike

from agents.data import reward_sign
from agents.data.inspection import Columns, Inspection
from recipes.dataset_card.finding import Finding, counted, number, percent

WIDTH = 100  # characters of the text
QUANTILES = {"least": 0.0, "tenth": 0.1, "median": 0.5, "nine tenths": 0.9, "most": 1.0}
WRITTEN_BY = ("minari_version", "algorithm_name", "author", "requirements", "num_episodes_average_score")
SIGNS = {
    1: "plus, as gymnasium-robotics 1.2.1 to 1.4.2",
    -1: "minus, as D4RL, gymnasium-robotics 1.2.0 and v2",
    None: "neither plus nor minus 0.1",
}


@dataclass(frozen=True)
class Fact:
    """One measured thing."""

    section: str
    name: str
    value: Any  # for JSON
    text: str | None = None  # for a person; None: too long to read


def facts(found: Inspection) -> list[Fact]:
    """Everything that was measured, in the order of the card."""
    return [*_origin(found), *_episodes(found), *_returns(found), *_actions(found), *_observations(found)]


def to_text(found: Inspection, measured: Sequence[Fact], findings: Sequence[Finding]) -> str:
    """The card for a terminal."""
    lines = [found.source.id, "=" * len(found.source.id)]
    shown = [fact for fact in measured if fact.text is not None]
    width = max(len(fact.name) for fact in shown)
    section = None
    for fact in shown:
        if fact.section != section:
            section = fact.section
            lines += ["", section]
        start = f"  {fact.name:{width}}  "
        lines += textwrap.wrap(fact.text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start)) or [start]
    lines += ["", "verdict"]
    for finding in findings:
        mark = "! " if finding.level == "warning" else "- "
        lines += textwrap.wrap(finding.says, WIDTH, initial_indent=mark, subsequent_indent="  ")
        lines += _wrapped("from: ", finding.computed_from)
        lines += _wrapped("do:   ", finding.advice) if finding.advice else []
    return "\n".join(lines)


def to_json(found: Inspection, measured: Sequence[Fact], findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for a machine: sections of facts, and the verdict; NaN and infinity are null."""
    sections: dict[str, dict[str, Any]] = {}
    for fact in measured:
        sections.setdefault(fact.section, {})[fact.name] = _plain(fact.value)
    return {"dataset": found.source.id, **sections, "verdict": [asdict(finding) for finding in findings]}


def tables(measured: Sequence[Fact], findings: Sequence[Finding]) -> dict[str, list[list[str]]]:
    """A table of facts and one of findings, each a header and rows of text."""
    return {
        "facts": [["section", "fact", "value"], *([f.section, f.name, f.text] for f in measured if f.text is not None)],
        "verdict": [
            ["level", "says", "computed from", "advice"],
            *([f.level, f.says, f.computed_from, f.advice or ""] for f in findings),
        ],
    }


def episodes_csv(found: Inspection) -> str:
    """A row per episode that has steps, in the order of the dataset."""
    columns = {
        "return": found.returns,
        "length": found.lengths,
        "d4rl_return": found.d4rl_returns,
        "success": found.success,
        "success_held": found.success_held,
        "success_last": found.success_last,
        "terminated": found.terminated,
        "truncated": found.truncated,
        "repeats_an_earlier_one": found.repeats,
    }
    known = {name: values.tolist() for name, values in columns.items() if values is not None}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["episode", *known])
    writer.writerows([index, *row] for index, row in enumerate(zip(*known.values())))
    return text.getvalue()


# Facts ----------------------------------------------------------------------------------------------------------------


def _origin(found: Inspection) -> Iterator[Fact]:
    source, spec = found.source, found.source.env_spec
    where = "origin"
    if spec is None:
        yield Fact(where, "environment", None, "not named")
    else:
        limit = "no time limit" if found.horizon is None else f"at most {found.horizon} steps"
        options = ", ".join(f"{name}={value}" for name, value in spec.kwargs.items())
        yield Fact(where, "environment", spec.id, f"{spec.id} ({', '.join(filter(None, (limit, options)))})")
        yield Fact(where, "entry point", str(spec.entry_point))
        yield Fact(where, "time limit", found.horizon)
    metadata = MinariStorage.read_raw_metadata(source.path)
    for name in WRITTEN_BY:
        if metadata.get(name) is not None:
            text = ", ".join(map(str, metadata[name])) if isinstance(metadata[name], list) else str(metadata[name])
            yield Fact(where, name.replace("_", " "), metadata[name], text)
    installed = {name: _version(name) for name in ("minari", "gymnasium", "gymnasium-robotics", "mujoco")}
    yield Fact(
        where, "installed here", installed, ", ".join(f"{name} {version}" for name, version in installed.items())
    )
    reference, task = source.reference, source.task
    scale = None if reference is None else [reference.min, reference.max]
    yield Fact(where, "minari score 0 and 100", scale, "unknown" if scale is None else _pair(*scale))
    if task is not None:
        yield Fact(where, "d4rl score 0 and 100", [task.d4rl_min, task.d4rl_max], _pair(task.d4rl_min, task.d4rl_max))


def _episodes(found: Inspection) -> Iterator[Fact]:
    where, total = "episodes", found.num_episodes
    empty = f", and {found.num_empty} without a step" if found.num_empty else ""
    yield Fact(where, "number", total, f"{total:,}{empty}")
    yield Fact(where, "empty", found.num_empty)
    yield Fact(where, "steps", found.num_steps, f"{found.num_steps:,}")
    yield Fact(where, "length", _quantiles(found.lengths), _range(found.lengths))
    if found.horizon is not None:
        longer = int((found.lengths > found.horizon).sum())
        yield Fact(where, "longer than an evaluation", longer, f"{longer}, of more than {found.horizon} steps")
    ends = {
        "terminated": found.terminated & ~found.truncated,
        "truncated": found.truncated & ~found.terminated,
        "both": found.terminated & found.truncated,
        "neither": ~found.terminated & ~found.truncated,
    }
    shares = {name: float(which.mean()) for name, which in ends.items()}
    yield Fact(where, "ends", shares, ", ".join(f"{name} {percent(share)}" for name, share in shares.items() if share))
    yield Fact(where, "terminated before their end", found.early_terminations)
    yield Fact(where, "first observations", found.num_starts, f"{found.num_starts:,} different")
    repeats = int(found.repeats.sum())
    yield Fact(where, "repeated episodes", repeats, f"{repeats}")
    yield Fact(
        where,
        "repeated transitions",
        found.num_repeated_steps,
        f"{found.num_repeated_steps:,} ({percent(found.num_repeated_steps / found.num_steps)})",
    )
    broken = sum(each.count for each in found.not_finite)
    yield Fact(where, "NaN or infinite", [asdict(each) for each in found.not_finite], f"{broken} values")


def _returns(found: Inspection) -> Iterator[Fact]:
    where, task, reference = "returns and rewards", found.source.task, found.source.reference
    returns = found.returns[np.isfinite(found.returns)]
    yield Fact(where, "return", _quantiles(returns), _range(returns))
    if task is not None and found.d4rl_returns is not None:
        scores = task.d4rl_reference.score(found.d4rl_returns)
        yield Fact(where, "d4rl score", _quantiles(scores), _range(scores))
    if reference is not None:
        scores = reference.score(found.horizon_returns)
        yield Fact(where, "minari score", _quantiles(scores), _range(scores))
    shares = {"at any step": found.success, "held": found.success_held, "at the last step": found.success_last}
    known = {name: float(which.mean()) for name, which in shares.items() if which is not None}
    text = ", ".join(f"{name} {percent(share)}" for name, share in known.items())
    yield Fact(where, "success", known or None, text or 'unknown: the data have no infos["success"]')
    rewards = found.rewards[np.isfinite(found.rewards)]
    yield Fact(where, "reward", _quantiles(rewards), _range(rewards))
    values, counts = np.unique(found.rewards, return_counts=True)
    share = float(counts.max() / found.num_steps)
    common = f"{number(values[counts.argmax()])}, in {percent(share)} of the steps" if share >= 0.01 else "none"
    yield Fact(
        where,
        "commonest reward",
        {"value": float(values[counts.argmax()]), "share": share, "different values": len(values)},
        f"{common}; {counted(len(values), 'different value')}",
    )
    if found.distance_coefficient is not None:
        sign = reward_sign.sign(found.distance_coefficient)
        yield Fact(
            where,
            "palm-to-object distance",
            {"coefficient": found.distance_coefficient, "sign": sign},
            f"{found.distance_coefficient:+.3f} per metre: {SIGNS[sign]}",
        )


def _actions(found: Inspection) -> Iterator[Fact]:
    where, actions = "actions", found.actions
    if actions.counts is not None:
        shares = actions.counts / max(actions.counts.sum(), 1)
        yield Fact(where, "kind", "discrete", f"{len(shares)} discrete ones")
        listed = ", ".join(f"{index}: {percent(share)}" for index, share in enumerate(shares[:10]))
        yield Fact(where, "share", shares, listed + (", ..." if len(shares) > 10 else ""))
        yield Fact(where, "out of range", actions.outside, f"{actions.outside:,}")
        return
    yield Fact(where, "kind", "continuous", f"{len(actions.low)} dimensions in {_bounds(actions.low, actions.high)}")
    per_step = f"{percent(actions.saturated)} of the components"
    yield Fact(where, "at a bound", actions.saturated, per_step)
    yield Fact(where, "at the lower bound", actions.at_low)
    yield Fact(where, "at the upper bound", actions.at_high)
    yield Fact(where, "out of range", actions.outside, f"{actions.outside:,} components")
    yield from _columns(where, actions.columns)


def _observations(found: Inspection) -> Iterator[Fact]:
    where = "observations"
    yield Fact(where, "dimensions", len(found.observations.mean), f"{len(found.observations.mean)}")
    yield from _columns(where, found.observations)


def _columns(where: str, columns: Columns) -> Iterator[Fact]:
    std, constant = columns.std, np.flatnonzero(columns.constant).tolist()
    yield Fact(where, "range", [columns.min, columns.max], f"{np.min(columns.min):.4g} to {np.max(columns.max):.4g}")
    yield Fact(where, "mean", columns.mean)
    yield Fact(where, "standard deviation", std, f"{np.min(std):.4g} to {np.max(std):.4g}, by dimension")
    yield Fact(where, "constant", constant, ", ".join(map(str, constant)) or "none")


# Words ----------------------------------------------------------------------------------------------------------------


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"    {start}", subsequent_indent=" " * (len(start) + 4))


def _quantiles(values: ArrayLike) -> dict[str, float]:
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return {}
    known = {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}
    return {"mean": float(values.mean()), "std": float(values.std()), **known}


def _range(values: ArrayLike) -> str:
    found = _quantiles(values)
    if not found:
        return "none is finite"
    if found["least"] == found["most"]:
        return f"all {number(found['most'])}"
    least, median, most = (number(found[name]) for name in ("least", "median", "most"))
    return f"{number(found['mean'])} ± {number(found['std'])}, from {least} over {median} (median) to {most}"


def _pair(low: float, high: float) -> str:
    return f"returns of {number(low)} and {number(high)}"


def _bounds(low: np.ndarray, high: np.ndarray) -> str:
    if (low == low[0]).all() and (high == high[0]).all():
        return f"[{low[0]:g}, {high[0]:g}]"
    return f"bounds from {low.min():g} to {high.max():g}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    """Of JSON's types alone."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
