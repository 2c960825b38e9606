"""Files on disk: checkpoints with their seals, files of strangers, locks, the cache folder."""
