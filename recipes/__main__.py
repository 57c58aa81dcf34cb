"""The command ``offline-agents``: a word for each recipe, then its settings."""

from __future__ import annotations

import importlib
import re
import sys

from recipes.settings import command_line
from recipes.settings.help import docstring
from recipes.settings.mistakes import closest
from recipes.settings.schema import COMMANDS


def usage() -> str:
    lines = [f"  {command:11}{re.split('[.:]', docstring(recipe))[0]}" for command, recipe in COMMANDS.items()]
    ending = "\noffline-agents COMMAND --help lists the settings of each."
    return "\n".join(["offline-agents COMMAND [NAME=VALUE ...]\n", *lines, ending])


def main() -> None:
    """Run the recipe that the first word names; it is imported, and torch with it, once its settings are read."""
    command, *arguments = sys.argv[1:] or [""]
    if not command or command in command_line.HELP:
        command_line.show(usage())
        sys.exit(0 if command else 2)
    if command not in COMMANDS:
        hint = closest(command, [*COMMANDS])
        command_line.refuse(f"unknown command {command!r}{hint}; choose from {', '.join(COMMANDS)}")
    sys.argv = [f"offline-agents {command}", *arguments]
    recipe = COMMANDS[command]
    jobs = command_line.answer(recipe)
    module = importlib.import_module(f"recipes.{recipe}")
    command_line.main(recipe, getattr(module, command, None) or getattr(module, recipe), jobs)  # import is no name


if __name__ == "__main__":
    main()
