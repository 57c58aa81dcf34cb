"""The command ``offline-agents``: a word for each recipe, then its settings."""

from __future__ import annotations

import importlib
import sys

from recipes.settings import command_line
from recipes.settings.help_text import show
from recipes.settings.messages import closest

# a recipe's function bears the name of its command
RECIPES = {
    "train": "train",
    "evaluate": "evaluate",
    "compare": "compare",
    "sweep": "sweep",
    "inspect": "inspect_dataset",
    "dashboard": "dashboard",
}
USAGE = """offline-agents COMMAND [NAME=VALUE ...]

  train      train an agent on a Minari dataset, evaluate it, log what happened
  evaluate   evaluate a checkpoint
  compare    train algorithms on datasets over seeds; a table with statistics
  sweep      try the settings of a sweep file, without a server
  inspect    say what is in a dataset
  dashboard  a workspace and a report in Weights & Biases

offline-agents COMMAND --help lists the settings of each."""


def main() -> None:
    """Run the recipe that the first word names; it is imported, and torch with it, once its settings are read."""
    command, *arguments = sys.argv[1:] or [""]
    if not command or command in command_line.HELP:
        show(USAGE)
        sys.exit(0 if command else 2)
    if command not in RECIPES:
        text = f"unknown command {command!r}{closest(command, [*RECIPES])}; choose from {', '.join(RECIPES)}"
        sys.exit(command_line.refuse(text))
    sys.argv = [f"offline-agents {command}", *arguments]
    recipe = RECIPES[command]
    command_line.main(recipe, lambda *given: getattr(importlib.import_module(f"recipes.{recipe}"), command)(*given))


if __name__ == "__main__":
    main()
