"""Say what is in a dataset and what offline reinforcement learning can hope for on it: a card, a page of plots.

For example:

    offline-agents inspect dataset=D4RL/pen/human-v2
    offline-agents inspect dataset=demo/pen/mixed-v1 --json > card.json
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("inspect_dataset")  # help, and mistakes in settings, before all else is imported

import json
import sys
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from agents.data.inspection import inspect_dataset
from agents.files import write_atomically
from recipes.dataset_card import facts, figure, rendering
from recipes.dataset_card.verdict import assess, verdict
from recipes.reporting import terminal
from recipes.settings import checks
from recipes.settings.composition import build
from recipes.settings.schema import InspectConfig
from recipes.tracking import loggers


def inspect(cfg: DictConfig) -> None:
    config: InspectConfig = build(cfg, "inspect_dataset")
    output = Path(config.output) if config.output else Path("runs", "inspection", config.dataset)
    checks.require_place("output", output)
    inspection = inspect_dataset(
        config.dataset, include=config.observations.include, exclude=config.observations.exclude
    )
    card = facts.facts(inspection), verdict(inspection, config.good_above)
    text = rendering.to_terminal(inspection, *card)
    values = json.dumps(rendering.to_json(inspection, *card), indent=1, allow_nan=False)
    files = {
        "card.txt": f"{terminal.plain(text, rendering.WIDTH)}\n".encode(),
        "card.json": f"{values}\n".encode(),
        "episodes.csv": rendering.episodes_csv(inspection).encode(),
        "page.png": figure.page(inspection, assess(inspection, config.good_above)),
    }
    for name, content in files.items():
        write_atomically(output / name, content)
    log = partial(loggers.log_comparison, tables=rendering.tables(*card), images=[output / "page.png"])
    hint = loggers.log_once(config, output, log, name=config.dataset, job_type="inspect")
    print(values) if config.json else terminal.show(text, width=rendering.WIDTH)
    places = sys.stderr if config.json else sys.stdout
    print(f"\nplots: {output / 'page.png'}\ncard:  {output / 'card.json'} (and .txt, episodes.csv)", file=places)
    if hint:
        print(f"W&B:   offline; upload by: {hint}", file=places)


def main() -> None:
    command_line.main("inspect_dataset", inspect)


if __name__ == "__main__":
    main()
