"""What is in a dataset, in words and pictures."""
