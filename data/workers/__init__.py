"""Worker processes for code that may hang or use too much memory: a pool, and the program that each worker runs."""
