"""The command ``offline-agents``: a word for each recipe, then its settings."""

from __future__ import annotations

import difflib
import importlib
import sys

COMMANDS = {
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
    """Run the recipe that the first word names; without one, say which there are."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("--help", "-h"):
        print(USAGE)
        return
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        print(f"error: unknown command {command!r}{hint}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"offline-agents {command}", *arguments]
    importlib.import_module(f"recipes.{COMMANDS[command]}").main()


if __name__ == "__main__":
    main()
