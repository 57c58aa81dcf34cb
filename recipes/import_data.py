"""Make a dataset of a log: CSV, Parquet, NPZ, HDF5, LeRobot or RLDS in, an id that every other command takes out.

For example:

    offline-agents import source=log.csv dataset=robot/arm-v0 columns.observation='[s*]' columns.action='[m0,m1]' \\
        columns.reward=reward columns.episode=episode_id dry_run=true
    offline-agents import source=halfcheetah.hdf5 dataset=mine/halfcheetah-v0
    offline-agents import source=my_lerobot_folder dataset=robot/pick-v0 dry_run=true
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("import_data")  # help, and mistakes in settings, before all else is imported

from dataclasses import fields

import numpy as np
from omegaconf import DictConfig

from agents.data.contents import Inspection
from agents.data.importers.importing import import_dataset
from agents.data.importers.settings import MeaningConfig
from agents.data.inspection import inspect_dataset
from recipes.dataset_card import facts, rendering
from recipes.dataset_card.verdict import verdict
from recipes.reporting import terminal
from recipes.settings.composition import build
from recipes.settings.overrides import pasted
from recipes.settings.schema import ImportConfig, InspectConfig

# facts of the short card, by section
SHORT = {
    "episodes": ("number", "steps", "length", "ends", "repeated transitions"),
    "returns and rewards": ("return", "reward"),
    "actions": ("names", "kind", "at a bound"),
    "observations": ("dimensions", "range", "constant"),
}


def import_data(cfg: DictConfig) -> None:
    config: ImportConfig = build(cfg, "import_data")
    imported = import_dataset(
        config.source,
        config.dataset,
        columns=config.columns,
        dry_run=config.dry_run,
        overwrite=config.overwrite,
        **{entry.name: getattr(config, entry.name) for entry in fields(MeaningConfig)},
    )
    terminal.show(rendering.meaning(imported.meaning, imported.first_rows), width=rendering.WIDTH)
    if config.dry_run:
        print("\nnothing is written: dry_run=true")
        return
    if imported.unchanged:
        print(f"\n{config.dataset} was made of this very log before, and is left as it is")
    inspection = inspect_dataset(config.dataset)
    chosen = [fact for fact in facts.facts(inspection) if fact.name in SHORT.get(fact.section, ())]
    card = rendering.to_terminal(inspection, chosen, verdict(inspection, InspectConfig.good_above))
    print()
    terminal.show(card, width=rendering.WIDTH)
    print("\nnext:", *next_commands(inspection), sep="\n  ")


def next_commands(inspection: Inspection) -> list[str]:
    """What makes sense on these data; without rewards, cloning alone.

    Without an environment some episodes are held out: all that can say later how good a policy is.
    """
    dataset, kind = pasted("dataset", inspection.source.id), "discrete_" if inspection.actions.discrete else ""
    held_out = " validation=0.2" if inspection.source.env_spec is None and inspection.num_episodes >= 5 else ""
    cloning = f"offline-agents train {dataset} algorithm={kind}bc{held_out}"
    # the same at every step, as a cost of time, they matter where an episode can be over sooner
    rewarded = inspection.rewards.any() and (np.ptp(inspection.rewards) > 0 or inspection.terminated.any())
    return [
        f"offline-agents inspect {dataset}",
        *([f"offline-agents train {dataset} algorithm={kind}iql{held_out}"] if rewarded else []),
        cloning,
    ]


def main() -> None:
    command_line.main("import_data", import_data)


if __name__ == "__main__":
    main()
