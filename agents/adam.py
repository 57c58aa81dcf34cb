"""``agents.training.adam`` where version 0.1 had it: scripts that bring an algorithm of their own import it from here."""

from agents.training.adam import AdamConfig as AdamConfig
