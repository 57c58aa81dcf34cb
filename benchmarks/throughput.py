"""How fast an update is: every algorithm, the stages of one, and an evaluation, beside other ways to write IQL.

    python benchmarks/throughput.py                            everything, ten minutes and more on two cores
    python benchmarks/throughput.py --only plain torchrl iql   some of it
    python benchmarks/throughput.py --profile                  where the time of an IQL update goes, by operator
    python benchmarks/throughput.py --check                    how far 100 compiled updates end from eager ones

Batches of 256 out of 100,000 random transitions of the shapes of Adroit's pen, two hidden layers of 256, all settings
at their defaults; sampling is part of an update. An algorithm of windows gets as many transitions in those (dt: 12 of
20 steps, where its preset has 64). The contestants take turns: all of them run in each round, in another order than in
the one before, and a ratio is that of two times of the same round, so that whatever else the machine does meets them
all. Prints Markdown; what holds every row is written to results/throughput.json.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from tqdm import tqdm

import agents
from agents.files import write_atomically
from agents.training.compilation import MODES
from agents.training.precision import MATMUL_PRECISIONS, choose_matmul_precision
from contestants import STAGES, Contestant, Setup, difference, known_contestants, ours
from recipes.runs.process import default_num_envs, resolve_device
from recipes.runs.versions import versions
from references import BATCH_SIZE

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "throughput.json"
WARM_UP = 30  # updates before the first round, not counted: compilation, allocators, threads
LABELS = {
    "plain": "plain PyTorch IQL",
    "plain_medium": "plain PyTorch IQL",
    "torchrl": "TorchRL's own recipe",
    "iql_seeds": "ours: iql, compiled, several seeds at once",
    "d3rlpy": "d3rlpy's IQL",
    "bare_loop": "bare loop over one environment",
    "evaluate": "agents.evaluate",
}


# Measuring ------------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What was measured of one row of a table."""

    precision: str
    seconds: list[float] = field(default_factory=list)  # per update or environment step, one per round


def measure(contestants: Sequence[Contestant], *, rounds: int, updates: int) -> dict[str, Row]:
    """Run all contestants once per round, in rotating order."""

    for contestant in contestants:
        contestant.run(WARM_UP)
    rows: dict[str, Row] = {}
    for number in tqdm(range(rounds), unit="round", disable=None):  # None: on a terminal only
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            for name, seconds in contestant.run(updates).items():
                rows.setdefault(name, Row(contestant.precision)).seconds.append(seconds)
    return rows


def summarise(rows: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """Medians, quartiles, and how many times as fast as its baselines each row was within a round."""
    summaries: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        first, middle, third = np.quantile(row.seconds, (0.25, 0.5, 0.75))
        summaries[name] = {
            "unit": "environment step" if name in ("evaluate", "bare_loop") else "update",
            "precision": row.precision,
            "median_ms": 1e3 * middle,
            "quartiles_ms": [1e3 * first, 1e3 * third],
            "per_second": 1.0 / middle,
        }
        for baseline in baselines(name):
            if baseline in rows and baseline != name:
                ratios = [theirs / mine for mine, theirs in zip(row.seconds, rows[baseline].seconds)]
                spread = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
                summaries[name][f"times_{baseline}"] = spread
    return summaries


def baselines(row: str) -> tuple[str, ...]:
    """The rows that a row is compared with."""
    if row in ("evaluate", "bare_loop"):
        return ("bare_loop",)
    return () if "/" in row else ("plain", "torchrl")  # a stage has nothing beside it


# Profile --------------------------------------------------------------------------------------------------------------


def profile(setup: Setup, *, updates: int, num_operators: int = 20) -> str:
    """Where the time of a compiled IQL update goes, as Markdown; the compiler's own kernels go by what they fuse.

    Python's share has two bounds. The profiler slows operators down, so what they leave of an update without it is too
    little; and it works between them too, so what they leave of an update under it is too much.
    """
    torch._inductor.config.cpp.enable_kernel_profile = True
    whole, small = (ours("iql", setup, compile=setup.compile, batch_size=batch_size) for batch_size in (BATCH_SIZE, 2))
    rows = [measure([contestant], rounds=5, updates=updates)["iql_compiled"] for contestant in (whole, small)]
    alone, alone_small = (1e3 * statistics.median(row.seconds) for row in rows)  # ms
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setup.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        profiled = 1e3 * whole.run(updates)["iql_compiled"]
    # an annotation such as Optimizer.step is Python
    operators = [operator for operator in profiler.key_averages() if not operator.is_user_annotation]
    spent = {operator.key: 1e-3 * operator.self_cpu_time_total / updates for operator in operators}  # ms
    calls = {operator.key: operator.count / updates for operator in operators}
    inside = sum(spent.values())
    longest = sorted(spent, key=spent.get, reverse=True)[:num_operators]
    cells = [(name, f"{calls[name]:.1f}", f"{spent[name]:.3f}", f"{spent[name] / inside:.1%}") for name in longest]
    least, most = sorted((max(0.0, 1.0 - inside / alone), 1.0 - inside / profiled))  # noise may exchange them
    return "\n".join(
        [
            table(("operator", "calls per update", "ms per update", "share of operators"), cells),
            "",
            f"An update takes {alone:.2f} ms; {profiled:.2f} ms under the profiler, {inside:.2f} ms in operators.",
            f"Outside of operators, mostly in Python: between {least:.0%} and {most:.0%} of an update.",
            f"With a batch of 2, so with little arithmetic, an update takes {alone_small:.2f} ms.",
        ]
    )


# Reporting ------------------------------------------------------------------------------------------------------------


def facts(setup: Setup) -> dict[str, Any]:
    """What the figures depend on."""
    packages = versions()
    if has_d3rlpy():
        packages["d3rlpy"] = importlib.metadata.version("d3rlpy")
    on_gpu = setup.device.type == "cuda"
    return {
        "date": datetime.date.today().isoformat(),
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": git("status", "--porcelain", "--", "*.py") != "",
        "versions": packages,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(setup.device) if on_gpu else "cpu",
        "threads": setup.num_threads,
        "num_envs": setup.num_envs,
        "batch_size": BATCH_SIZE,
    }


def has_d3rlpy() -> bool:
    return importlib.util.find_spec("d3rlpy") is not None


def git(*arguments: str) -> str:
    """What git prints; nothing without git or a repository."""
    with contextlib.suppress(OSError):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return ""


def cpu_name() -> str:
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def markdown(report: Mapping[str, Any]) -> str:
    """One table each of updates, of the stages of one and of evaluations, as far as they were measured."""
    rows = report["rows"]
    parts = [
        f"{report['cpu']}, cores: {report['cores']}, threads: {report['threads']}, device: {report['device']}, torch "
        f"{report['versions']['torch']}. Medians of {report['rounds']} rounds of {report['updates']} updates; ratios "
        "are of times of the same round, the lowest and the highest in brackets."
    ]
    updates = [name for name in rows if rows[name]["unit"] == "update" and "/" not in name]
    if updates:
        header = ("update, sampling included", "precision", "ms", "updates/s", "x plain PyTorch", "x TorchRL's recipe")
        parts.append(table(header, [update_cells(name, rows[name]) for name in updates]))
    if f"iql/{STAGES[0]}" in rows:
        cells = [(stage, f"{rows[f'iql/{stage}']['median_ms']:.3f}") for stage in STAGES]
        parts.append(table(("stage of an eager IQL update", "ms"), cells))
    if "evaluate" in rows:
        header = (f"evaluation, {report['num_envs']} environments at a time", "ms per step", "steps/s", "x bare loop")
        cells = [evaluation_cells(name, rows[name]) for name in ("bare_loop", "evaluate")]
        parts.append(table(header, cells))
    return "\n\n".join(parts)


def update_cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    cells = label(name), row["precision"], f"{row['median_ms']:.2f}", f"{row['per_second']:.0f}"
    return (*cells, times(name, row, "plain"), times(name, row, "torchrl"))


def evaluation_cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    return label(name), f"{row['median_ms']:.3f}", f"{row['per_second']:.0f}", times(name, row, "bare_loop")


def label(name: str) -> str:
    return LABELS.get(name, f"ours: {name.replace('_compiled', ', compiled')}")


def times(name: str, row: Mapping[str, Any], baseline: str) -> str:
    if name == baseline:
        return "1"
    spread = row.get(f"times_{baseline}")
    return "" if spread is None else f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


# Command line ---------------------------------------------------------------------------------------------------------


class OneLineParser(argparse.ArgumentParser):
    """Mistakes end in one line, as in the recipes."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; --help lists all options\n")


def count(text: str) -> int:
    if not (text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = list(known_contestants())
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=count, default=5, help="rounds to take the median of (5)")
    parser.add_argument("--updates", type=count, default=50, help="updates of each contestant in a round (50)")
    parser.add_argument("--threads", type=count, help="threads of torch (torch's own choice)")
    parser.add_argument("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda or cuda:<n>")
    parser.add_argument(
        "--precision", choices=MATMUL_PRECISIONS, default="auto", help="matmul precision of ours (auto: as the recipe)"
    )
    parser.add_argument("--compile", choices=MODES[2:], default="inductor", help="how to compile what is (inductor)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of: {', '.join(names)}")
    parser.add_argument("--profile", action="store_true", help="profile an IQL update instead of measuring")
    parser.add_argument("--check", action="store_true", help="compare results of 100 updates instead of measuring")
    parser.add_argument("--output", type=Path, help="where to write JSON (benchmarks/results/, without --only)")
    options = parser.parse_args(arguments)
    if "d3rlpy" in (options.only or []) and not has_d3rlpy():
        parser.error("d3rlpy is not installed: pip install 'offline-agents[bench]'")
    return options


def build(setup: Setup, only: Sequence[str] | None) -> list[Contestant]:
    known = known_contestants()
    if only is None and not has_d3rlpy():
        print("d3rlpy is left out: it is not installed (pip install 'offline-agents[bench]')", file=sys.stderr)
        del known["d3rlpy"]
    return [make(setup) for name, make in known.items() if only is None or name in only]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    try:
        device = resolve_device(options.device)
        precision = choose_matmul_precision(options.precision, device)
        setup = Setup(device, torch.get_num_threads(), default_num_envs(), precision, options.compile)
        if options.profile:
            print(profile(setup, updates=options.updates))
            return
        if options.check:
            for name in agents.ALGORITHMS:
                print(f"{name}: {difference(name, setup):.1e}")
            return
        rows = measure(build(setup, options.only), rounds=options.rounds, updates=options.updates)
        report = {**facts(setup), "rounds": options.rounds, "updates": options.updates, "rows": summarise(rows)}
        print(markdown(report))
        # what holds some of the rows does not replace what holds all
        output = options.output or (None if options.only else RESULTS)
        if output is not None:
            write_atomically(output, (json.dumps(report, indent=1) + "\n").encode())
    except agents.AgentsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
