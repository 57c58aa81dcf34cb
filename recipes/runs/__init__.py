"""One run: its folder, its life, and what it writes."""
