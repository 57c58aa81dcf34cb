"""``agents.training.agent`` where version 0.1 had it: scripts that bring an algorithm of their own import it from here."""

from agents.training.agent import Agent as Agent
