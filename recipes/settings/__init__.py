"""The settings of every recipe, and the command line."""
