"""The card of a dataset: facts, a verdict and a page of plots."""
