"""The folder for files that are made once on a machine and shared by its runs: a converted model, compiled kernels."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$RETHINK_CACHE`, else `$XDG_CACHE_HOME/rethink`, else `~/.cache/rethink`."""
    if own := os.environ.get("RETHINK_CACHE"):
        return Path(own).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rethink"
