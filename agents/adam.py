"""The place of ``agents.training.adam`` in version 0.1, from which scripts with an algorithm of their own take it."""

from agents.training.adam import AdamConfig as AdamConfig
