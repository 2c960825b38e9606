"""The probe script as a user calls it."""

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def probe(*arguments):
    return subprocess.run(
        [sys.executable, "scripts/probe.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


def test_the_script_probes_a_checkpoint_and_prints_a_table(tmp_path, checkpoint):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"tasks": {"countdown": {}}, "max_completion_length": 8}))
    done = probe("--checkpoint", checkpoint, "--config", config, "--problems", 3, "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "Precision and recall" in done.stdout and "Monitor" in done.stdout
    assert (tmp_path / "o" / "probes.json").is_file()


def test_what_is_no_run_is_one_clear_line(tmp_path):
    done = probe("--run", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "not a run folder" in done.stderr and done.stderr.count("\n") == 1
