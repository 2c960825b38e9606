"""The lists with hashes that `make setup` installs from: whole, exact, and in step with pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LISTS = ("requirements.txt", "requirements-cpu.txt", "requirements-cuda.txt")


def entries(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Each package of a list: its requirement, and its hashes."""
    text = (ROOT / name).read_text()
    found = {}
    for entry in re.split(r"\n(?=[a-z])", text[text.index("\n") + 1 :].strip()):
        requirement, *hashes = (part.strip() for part in entry.split("\\\n"))
        parsed = Requirement(requirement)
        found[canonicalize_name(parsed.name)] = parsed, hashes
    return found


@pytest.mark.parametrize("name", LISTS)
def test_every_package_has_one_version_and_its_hashes(name):
    for requirement, hashes in entries(name).values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert hashes and all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", line) for line in hashes), requirement
        assert requirement.url is None


def test_what_the_project_asks_for_is_in_it_in_a_version_that_it_takes():
    locked = entries("requirements.txt")
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        wanted = Requirement(line)
        (specifier,) = locked[canonicalize_name(wanted.name)][0].specifier
        assert wanted.specifier.contains(specifier.version), line


def test_versions_are_those_of_the_constraints_so_that_what_was_tested_is_what_is_installed():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pinned = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}
    for name, (requirement, _) in entries("requirements.txt").items():
        if name in pinned:
            (specifier,) = requirement.specifier
            assert specifier.version == pinned[name], name


def test_torch_for_a_cpu_is_the_same_release():
    (plain,) = entries("requirements.txt")["torch"][0].specifier
    (cpu,) = entries("requirements-cpu.txt")["torch"][0].specifier
    assert cpu.version == f"{plain.version}+cpu"
    assert len(entries("requirements-cpu.txt")["torch"][1]) == 8
