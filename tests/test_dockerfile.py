"""The Dockerfile, as far as it can be held without Docker: what it names exists, and what its steps install."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from eval.cli import commands

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.M)).splitlines()
    if line.strip()
]
STEPS = [rest for word, rest in INSTRUCTIONS if word == "RUN"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_files_that_it_copies_and_installs_from_are_there_and_not_ignored():
    names = {name for word, rest in INSTRUCTIONS if word == "COPY" for name in rest.split()[:-1]}
    names |= {name for step in STEPS for name in re.findall(r"-[rc] (\S+\.txt)", step)}
    assert {"requirements.txt", "requirements-cpu.txt", "requirements-cuda.txt", "constraints.txt"} < names
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert [name for name in names if not (ROOT / name).exists() or name in ignored] == []
    assert {".git", ".venv", "runs"} <= set(ignored)


def test_its_extras_and_its_command_are_the_projects():
    extras = re.search(r"-e '\.\[([\w,]+)\]'", " ".join(STEPS))[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"]) and "serve" in extras
    assert ("ENTRYPOINT", '["rethink"]') in INSTRUCTIONS and "rethink" in PROJECT["scripts"]


def test_the_python_of_its_image_is_one_that_the_project_takes():
    image = next(rest for word, rest in INSTRUCTIONS if word == "FROM")
    version = tuple(map(int, re.match(r"python:(\d+)\.(\d+)-", image).groups()))
    assert version >= tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))


def test_the_commands_that_it_shows_are_there():
    shown = re.findall(r"^#     docker run .* rethink(?::\w+)? (\w+) (.*)", TEXT, flags=re.M)
    assert {name for name, _ in shown} == {"train", "serve"} <= set(commands())
    configs = [path for _, rest in shown for path in re.findall(r"--config (\S+)", rest)]
    assert configs and all((ROOT / path).is_file() for path in configs)


@pytest.mark.parametrize(
    ("device", "refused", "needs_cuda", "lists"),
    [
        ("cpu", "none", False, ["requirements-cpu.txt", "requirements.txt"]),
        ("cpu", "requirements-cpu.txt", True, ["requirements-cpu.txt", "requirements.txt", "requirements-cuda.txt"]),
        ("cuda", "none", True, ["requirements.txt", "requirements-cuda.txt"]),
        ("tpu", "none", False, []),
    ],
    ids=["a CPU's torch", "no torch for a CPU alone", "CUDA", "an unknown device"],
)
def test_what_is_installed_goes_by_the_device(tmp_path, device, refused, needs_cuda, lists):
    (tmp_path / "torch-0.dist-info").mkdir()
    needs = "Requires-Dist: cuda-bindings\n" if needs_cuda else ""
    (tmp_path / "torch-0.dist-info" / "METADATA").write_text(f"Name: torch\n{needs}")
    for name, script in {
        "pip": f'echo "$@" >> {tmp_path}/calls; case "$*" in *" {refused}") exit 1;; esac',
        "python": f"echo {tmp_path}",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (step,) = (step for step in STEPS if "requirements" in step)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DEVICE": device}
    done = subprocess.run(["sh", "-c", step], env=environment, capture_output=True, text=True)
    calls = (tmp_path / "calls").read_text().splitlines() if lists else []
    assert [call.split()[-1] for call in calls] == lists
    assert all("--require-hashes" in call for call in calls)
    assert done.returncode == (0 if lists else 2)
    assert ("expected cpu or cuda" in done.stdout) == (not lists)
