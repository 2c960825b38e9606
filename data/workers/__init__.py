"""Worker processes for what may hang or use too much memory: a pool, and the process behind each of its places."""
