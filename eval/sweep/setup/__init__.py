"""What a sweep is: its file, its fields, its space of settings, and all that is checked before its first run."""
