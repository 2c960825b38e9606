"""The life of a run: its folder, its callbacks and guards, checkpoints kept, exact resume."""
