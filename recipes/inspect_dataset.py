"""Say what is in a dataset and what offline reinforcement learning can hope for on it: a card, a page of plots.

For example:

    offline-agents inspect dataset=D4RL/pen/human-v2
    offline-agents inspect dataset=demo/pen/mixed-v0 --json > card.json
"""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid
from pathlib import Path

from omegaconf import DictConfig

from agents.data.inspection import inspect_dataset
from agents.files import write_atomically
from recipes.dataset_card import facts, figure
from recipes.dataset_card.quality import quality
from recipes.dataset_card.verdict import verdict
from recipes.settings import command_line, schema
from recipes.settings.schema import InspectConfig
from recipes.tracking import loggers


def inspect(cfg: DictConfig) -> None:
    config: InspectConfig = command_line.build(cfg, "inspect_dataset")
    output = Path(config.output) if config.output else Path("runs", "inspection", config.dataset)
    schema.require_place("output", output)
    found = inspect_dataset(config.dataset)
    measured, findings = facts.facts(found), verdict(found, config.good_above)
    text = facts.to_text(found, measured, findings)
    values = json.dumps(facts.to_json(found, measured, findings), indent=1, allow_nan=False)
    files = {
        "card.txt": f"{text}\n".encode(),
        "card.json": f"{values}\n".encode(),
        "episodes.csv": facts.episodes_csv(found).encode(),
        "page.png": figure.page(found, quality(found, config.good_above)),
    }
    for name, content in files.items():
        write_atomically(output / name, content)
    hint = log(config, output, facts.tables(measured, findings))
    print(values if config.json else text)
    told = sys.stderr if config.json else sys.stdout
    print(f"\nplots: {output / 'page.png'}\ncard:  {output / 'card.json'} (and .txt, episodes.csv)", file=told)
    if hint:
        print(f"W&B:   offline; upload by: {hint}", file=told)


def log(config: InspectConfig, output: Path, tables: dict[str, list[list[str]]]) -> str | None:
    """Tables and page as a run of its own in W&B, where the settings ask for it; returns how to upload it."""
    logger = loggers.make_logger(
        config.logger,
        output,
        name=config.dataset,
        run_id=uuid.uuid4().hex[:8],
        job_type="inspect",
        settings=dataclasses.asdict(config),
        wandb=config.wandb,
    )
    loggers.log_comparison(logger, tables, [output / "page.png"])
    hint = loggers.sync_hint(logger)
    loggers.close(logger)
    return hint


def main() -> None:
    command_line.main("inspect_dataset", inspect)


if __name__ == "__main__":
    main()
