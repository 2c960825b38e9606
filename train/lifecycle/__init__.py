"""The life of a run: its folder, its callbacks and guards, the checkpoints that it keeps, exact resume."""
