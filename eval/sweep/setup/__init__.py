"""The definition of a sweep: its file, fields and space of settings, and the checks before its first run."""
