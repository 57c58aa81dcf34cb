"""The place of ``agents.training.agent`` in version 0.1, from which scripts with an algorithm of their own take it."""

from agents.training.agent import Agent as Agent
