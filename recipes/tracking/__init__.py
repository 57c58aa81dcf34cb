"""Loggers, and all that is Weights & Biases'."""
