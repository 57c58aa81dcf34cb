"""The facts of a dataset's card, in sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import ArrayLike

from agents.data.contents import Columns, Inspection
from agents.environments.protocols import MINARI, PROTOCOLS
from agents.environments.recording import SUCCESS_KEYS
from recipes.dataset_card.finding import counted, indices, number, percent
from recipes.dataset_card.weights import expected_weights
from recipes.runs.versions import version_of

QUANTILES = {"least": 0.0, "tenth": 0.1, "median": 0.5, "nine tenths": 0.9, "most": 1.0}
WRITTEN_BY = ("minari_version", "algorithm_name", "author", "requirements", "num_episodes_average_score")
PACKAGES = ("minari", "gymnasium", "gymnasium-robotics", "mujoco")


@dataclass(frozen=True)
class Fact:
    """A number or a word of the card."""

    section: str
    name: str
    value: Any  # for JSON
    text: str | None = None  # for a person; None: too long to read


Entries = Iterator[tuple[str, Any] | tuple[str, Any, str]]  # a fact's name, value and text


def facts(inspection: Inspection) -> list[Fact]:
    """All facts, in the order of the card."""
    return [Fact(section, *entry) for section, entries in SECTIONS.items() for entry in entries(inspection)]


def _origin(inspection: Inspection) -> Entries:
    source, spec, horizon = inspection.source, inspection.source.env_spec, inspection.horizon
    if spec is None:
        yield "environment", None, "not named"
    else:
        longest = inspection.lengths.max()  # where training cuts evaluations off then
        limit = f"no time limit: cut off after {longest}" if horizon is None else f"at most {horizon} steps"
        options = [f"{name}={value}" for name, value in spec.kwargs.items()]
        yield "environment", spec.id, f"{spec.id} ({', '.join([limit, *options])})"
        yield "entry point", str(spec.entry_point)
        yield "time limit", horizon
    metadata = MinariStorage.read_raw_metadata(source.path)
    for name in WRITTEN_BY:
        if (value := metadata.get(name)) is not None:
            yield name.replace("_", " "), value, ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    versions = {name: version_of(name, "not installed") for name in PACKAGES}
    yield "installed here", versions, ", ".join(f"{name} {version}" for name, version in versions.items())
    for protocol in reversed(PROTOCOLS):
        name = f"{protocol.name} score 0 and 100"
        if scoring := source.scorings.get(protocol.name):
            low, high = scoring.reference.min, scoring.reference.max
            yield name, [low, high], f"returns of {number(low)} and {number(high)}"
        elif protocol is MINARI:  # which every dataset could have
            yield name, None, "unknown"


def _episodes(inspection: Inspection) -> Entries:
    terminated, truncated = inspection.terminated, inspection.truncated
    empty = f", and {inspection.num_empty} without a step" if inspection.num_empty else ""
    yield "number", inspection.num_episodes, f"{inspection.num_episodes:,}{empty}"
    yield "empty", inspection.num_empty
    yield "steps", inspection.num_steps, f"{inspection.num_steps:,}"
    yield _distribution("length", inspection.lengths)
    if inspection.horizon is not None:
        longer = int((inspection.lengths > inspection.horizon).sum())
        yield "longer than an evaluation", longer, f"{longer}, of more than {inspection.horizon} steps"
    ends = {
        "terminated": terminated & ~truncated,
        "truncated": truncated & ~terminated,
        "both": terminated & truncated,
        "neither": ~terminated & ~truncated,
    }
    shares = {name: float(which.mean()) for name, which in ends.items()}
    yield "ends", shares, ", ".join(f"{name} {percent(share)}" for name, share in shares.items() if share)
    yield "terminated before their end", inspection.early_terminations
    yield "first observations", inspection.num_starts, f"{inspection.num_starts:,} different"
    repeats, steps = int(inspection.repeats.sum()), inspection.num_repeated_steps
    yield "repeated episodes", repeats, f"{repeats}"
    yield "repeated transitions", steps, f"{steps:,} ({percent(steps / inspection.num_steps)})"
    places = [asdict(each) for each in inspection.not_finite]
    yield "NaN or infinite", places, f"{sum(each['count'] for each in places)} values"


def _returns(inspection: Inspection) -> Entries:
    yield _distribution("return", inspection.returns[np.isfinite(inspection.returns)])
    for name, scores in inspection.scores.items():
        yield _distribution(f"{name} score", scores)
    criteria = {protocol.success: inspection.protocol_success.get(protocol.name) for protocol in PROTOCOLS}
    success = {"at any step": inspection.success, **criteria, "at the last step": inspection.success_last}
    shares = {name: float(which.mean()) for name, which in success.items() if which is not None}
    text = ", ".join(f"{name} {percent(share)}" for name, share in shares.items())
    text += f', by infos["{inspection.success_key}"]' if text else ""
    yield "success", shares or None, text or "unknown: no infos say it ({})".format(" or ".join(SUCCESS_KEYS))
    rewards = inspection.rewards[np.isfinite(inspection.rewards)]
    yield _distribution("reward", rewards)
    if len(rewards):
        values, counts = np.unique(rewards, return_counts=True)
        value, share = float(values[counts.argmax()]), float(counts.max() / inspection.num_steps)
        text = f"{number(value)}, in {percent(share)} of the steps" if share >= 0.01 else "none"
        commonest = {"value": value, "share": share, "different values": len(values)}
        yield "commonest reward", commonest, f"{text}; {counted(len(values), 'different value')}"
    if weights := expected_weights(inspection):
        text = (
            f"{number(weights.size)} in size, by a rough estimate; weights of {weights.algorithm} then say as much as "
        )
        yield "advantage", asdict(weights), f"{text}{percent(weights.effective_sample_size)} of the data"
    for remark in inspection.remarks:
        yield remark.name, remark.value, remark.text


def _actions(inspection: Inspection) -> Entries:
    actions, names = inspection.actions, inspection.source.actions.labels
    if names:
        yield "names", names, ", ".join(names)
    if actions.counts is not None:
        categories = inspection.source.actions.categories
        total = max(sum(actions.counts.values()) / len(categories), 1)
        shares = {name: count / total for name, count in actions.counts.items()}
        listing = ", ".join(f"{name}: {percent(share)}" for name, share in [*shares.items()][:10])
        of_parts = f"{len(categories)} parts with {', '.join(map(str, categories))} categories"
        yield "kind", "discrete", f"{len(shares)} discrete ones" if len(categories) == 1 else of_parts
        yield "share", shares, listing + (", ..." if len(shares) > 10 else "")
        yield "out of range", actions.outside, f"{actions.outside:,}"
        return
    bounds = f"bounds from {actions.low.min():g} to {actions.high.max():g}"
    if actions.common_bounds:
        bounds = "[{:g}, {:g}]".format(*actions.common_bounds)
    yield "kind", "continuous", f"{counted(len(actions.low), 'dimension')} in {bounds}"
    yield "at a bound", actions.saturated, f"{percent(actions.saturated)} of the components"
    yield "at the lower bound", actions.at_low
    yield "at the upper bound", actions.at_high
    yield "out of range", actions.outside, f"{actions.outside:,} components"
    yield from _columns(actions.columns, names or None)


def _observations(inspection: Inspection) -> Entries:
    observations = inspection.source.observations
    parts = {part.name: part.size for part in observations.parts}
    listing = ", ".join(f"{name} {size}" for name, size in parts.items())
    listing = ", ".join(observations.names) if all(part.labels for part in observations.parts) else listing
    yield "dimensions", observations.size, f"{observations.size}" + (f": {listing}" if observations.named else "")
    yield "parts", parts
    yield "names", observations.names
    yield from _columns(inspection.observations, observations.column_names if observations.named else None)


def _columns(columns: Columns, names: Sequence[str] | None) -> Entries:
    constant = indices(columns.constant)
    yield "range", [columns.min, columns.max], f"{np.min(columns.min):.4g} to {np.max(columns.max):.4g}"
    yield "mean", columns.mean
    yield "standard deviation", columns.std, f"{columns.std.min():.4g} to {columns.std.max():.4g}, by dimension"
    yield "constant", constant, ", ".join(names[place] if names else str(place) for place in constant) or "none"


SECTIONS: dict[str, Callable[[Inspection], Entries]] = {
    "origin": _origin,
    "episodes": _episodes,
    "returns and rewards": _returns,
    "actions": _actions,
    "observations": _observations,
}


def _distribution(name: str, values: ArrayLike) -> tuple[str, dict[str, float], str]:
    """A fact on mean, standard deviation and quantiles."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return name, {}, "none is finite"
    quantiles = {label: float(np.quantile(values, share)) for label, share in QUANTILES.items()}
    mean, std = float(values.mean()), float(values.std())
    least, median, most = (number(quantiles[label]) for label in ("least", "median", "most"))
    text = f"{number(mean)} ± {number(std)}, from {least} over {median} (median) to {most}"
    if quantiles["least"] == quantiles["most"]:
        text = f"all {most}"
    return name, {"mean": mean, "std": std, **quantiles}, text
