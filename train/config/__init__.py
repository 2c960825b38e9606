"""A run's configuration: its fields, what they may be, and how the processes of a run are started."""
