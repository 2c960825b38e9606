"""The config.yaml of a run, which is read only as training wrote it: environment.json records its SHA-256.

A file that was cut in half is often still YAML, and each option that it lost would count as its default.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from train.files.atomic import write_text
from train.files.untrusted import read_json, read_yaml

DIGESTS = "config_sha256"  # the key in environment.json: a list, since a run that goes on may write its config anew


def config_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def add_digest(environment: Path, config: Path) -> None:
    """Record that the run may have this config from now on. The earlier ones stay: the new one is not in place yet."""
    record = read_json(environment)
    record[DIGESTS] = list(dict.fromkeys([*record.get(DIGESTS, []), config_digest(config)]))
    write_text(environment, json.dumps(record, indent=2) + "\n")


def read_run_config(path: Path) -> Any:
    """The content of a config; a run's own `config.yaml` must be as training wrote it.

    Runs of older versions recorded no digest, and are read as they are. Raises ValueError.
    """
    content = read_yaml(path)
    environment = path.with_name("environment.json")
    if path.name != "config.yaml" or not environment.exists():
        return content
    record = read_json(environment)
    digests = record.get(DIGESTS, []) if isinstance(record, dict) else None
    if not isinstance(digests, list):
        raise ValueError(f"{environment} is not as training wrote it; restore the file.")
    if digests and config_digest(path) not in digests:
        raise ValueError(
            f"{path} is not as training wrote it: environment.json records another SHA-256. Restore the file, or "
            "give an edited copy, which lies elsewhere, with --config FILE."
        )
    return content
