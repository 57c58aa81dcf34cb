"""Several runs: which there are, where they are made, how far they are."""
