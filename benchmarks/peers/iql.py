"""Updates by the code of others and by ours, in turns, on one machine: IQL's, then what else CORL has in PyTorch.

    python benchmarks/peers/iql.py peers            every table: a quarter of an hour on two quiet cores
    python benchmarks/peers/iql.py peers --check    the tables once more, in fewer rounds, held to the committed ones
    python benchmarks/peers/iql.py peers --only cql some of them again: those whose title has this; the others stay

``peers`` is a folder with a checkout of each peer and an environment of its own, made anywhere by:

    git clone https://github.com/corl-team/CORL peers/corl
    git clone https://github.com/nissymori/JAX-CORL peers/jax_corl
    git clone https://github.com/EmptyJackson/unifloral peers/unifloral
    git clone https://github.com/ikostrikov/implicit_q_learning peers/official
    python -m venv peers/jax
    peers/jax/bin/pip install jax==0.5.3 jaxlib==0.5.3 flax==0.10.6 optax==0.2.4 distrax==0.1.5 \\
        tensorflow-probability==0.25.0 omegaconf pydantic tqdm
    python -m venv peers/jax_old
    peers/jax_old/bin/pip install jax==0.4.13 jaxlib==0.4.13 flax==0.7.0 optax==0.1.5 chex==0.1.82 \\
        orbax-checkpoint==0.2.7 tensorflow-probability==0.20.1 'numpy<2' 'scipy<1.13' tqdm

CORL runs with this environment's torch; the official code needs a JAX of its time. Their code is imported as it is,
with stand-ins for what an update does not use (d4rl, gym, wandb). Each is a process that stays, bound to as many cores
as it may have threads, and waits while another one works; busy processes are there before it starts. All learn from
100,000 random transitions of the pen's shapes, in batches of 256, with two layers of 256; sampling is part of an
update. Prints Markdown; all of it is written to results/peers.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rounds import RESULTS, ROOT, Contestant, Rows, busy, differences, measure, show, start

FILE = RESULTS / "peers.json"
LOADS = {2: (0, 2, 6), 1: (0,)}  # busy processes beside so many threads
BESIDE_BUSY = ("jax_corl", "ours", "ours_no_dropout")
REFERENCE = "jax_corl"
CONTESTANTS = {
    "corl": Contestant("CORL", "corl"),
    "corl_medium": Contestant("CORL, `medium` products", "corl", settings=("iql", "medium")),
    "official": Contestant("official (JAX)", "official", "jax_old"),
    "jax_corl": Contestant("JAX-CORL", "jax_corl", "jax"),  # eight updates a call
    "unifloral": Contestant("unifloral (JAX)", "unifloral", "jax"),  # a round is one scan
    "ours": Contestant("ours", "ours"),
    "ours_no_dropout": Contestant("ours, without dropout", "ours", settings=("iql", "without dropout")),
    "ours_bfloat16": Contestant("ours, bfloat16", "ours", settings=("iql", "bfloat16")),
    "floor": Contestant("the products of ours alone", "ours", settings=("iql", "products")),
}
OTHERS = {  # than IQL, with a number of updates in a round
    "bc": ("any_percent_bc", 400),
    "td3_bc": ("td3_bc", 200),
    "awac": ("awac", 200),
    "edac": ("edac", 20),
    "cql": ("cql", 20),
}


def tables(peers: Path, rounds: int, only: str) -> Iterator[tuple[str, str, Rows]]:
    """Title, the one that the others are compared with, and rows, as they are measured."""
    for threads, loads in LOADS.items():
        for others in loads:
            title = f"iql, {threads} threads, {others} busy processes"
            if only not in title:
                continue
            present = {name: each for name, each in CONTESTANTS.items() if not others or name in BESIDE_BUSY}
            with busy(others), start(present, peers, threads=threads) as processes:
                rows = measure(processes, REFERENCE, rounds=rounds)
            yield title, CONTESTANTS[REFERENCE].label, rows
    for name, (module, number) in OTHERS.items():
        title = f"{name}, 1 thread"
        if only not in title:
            continue
        pair = {
            "corl": Contestant("CORL", "corl", settings=(module,), number=number),
            "ours": Contestant("ours", "ours", settings=(name,), number=number),
            "floor": Contestant("the products of ours alone", "ours", settings=(name, "products"), number=number),
        }
        with start(pair, peers, threads=1) as processes:
            yield title, "CORL", measure(processes, "corl", rounds=rounds)


def versions(peers: Path) -> dict[str, str]:
    """The commits of ours and of the peers."""
    modules = {each.module for each in CONTESTANTS.values()} - {"ours"}
    folders = {"ours": ROOT, **{module: peers / module for module in sorted(modules)}}
    command = ("git", "rev-parse", "HEAD")
    return {name: subprocess.check_output(command, cwd=folder, text=True).strip() for name, folder in folders.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, help="folder of checkouts and environments")
    parser.add_argument("--rounds", type=int, help="10, or 5 with --check")
    parser.add_argument("--only", default="", metavar="TEXT", help="that the title of a table has to have")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    committed = json.loads(FILE.read_text()) if FILE.exists() else {}
    found = []
    rounds = arguments.rounds or (5 if arguments.check else 10)
    for title, reference, rows in tables(arguments.peers, rounds, arguments.only):
        show(title, reference, rows)
        if not arguments.check:
            committed[title] = {"commits": versions(arguments.peers), "rows": rows}
            FILE.write_text(json.dumps(committed, indent=1) + "\n")
        elif "busy" not in title.replace("0 busy", ""):  # beside others, chance has a wider part
            found += [f"{title}: {each}" for each in differences(committed[title]["rows"], rows)]
    sys.exit("\n".join(found) or None)


if __name__ == "__main__":
    main()
