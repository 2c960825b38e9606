import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from train import doctor
from train.doctor import Finding, configuration, disk, examine, guarded, packages, self_test, verifiers


def test_this_machine_is_well_but_for_what_is_its_own(tmp_path):
    found = {finding.name: finding for finding in examine(None, tmp_path)}
    assert {"python", "torch", "trl", "memory", "device", "disk", "verifiers", "self-test"} <= found.keys()
    for name in ("python", "verifiers", "self-test", "disk"):
        assert not found[name].mend, found[name]
    assert "one step trained" in found["self-test"].state


def test_a_wrong_version_and_a_missing_package_are_named(monkeypatch):
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy<1", "no-such-package>=1", 'ruff>=99; extra == "dev"'])
    old, missing = packages()
    assert old.name == "numpy" and "needs <1" in old.mend
    assert missing == Finding("no-such-package", "missing", "run `make setup`")


def test_a_broken_engine_and_broken_verifiers_are_found(monkeypatch):
    monkeypatch.setattr(doctor, "train", lambda *_: (_ for _ in ()).throw(RuntimeError("the engine\nis off")))
    assert guarded("self-test", self_test) == Finding("self-test", "failed", "RuntimeError: the engine is off")
    right = type("Verdict", (), {"correct": True, "error": None})
    monkeypatch.setattr(doctor, "judge", lambda *_: (None, right))
    assert verifiers().mend


def test_a_folder_that_cannot_be_written_is_found():
    assert "--runs_dir" in disk(doctor.Path("/proc/runs")).mend


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, ""),
        ({"max_completion_length": 9_999}, "ask for at most"),
        ({"report_to": "no-such-tracker"}, "report_to is 'no-such-tracker'"),
        ({"dynamic_sampling": True, "train_problems": 1, "num_generations": 4}, "only 1 of them differ"),
    ],
)
def test_a_configuration_is_looked_at_with_its_model(tmp_path, values, message):
    config = tmp_path / "config.yaml"
    run = {"name": "x", "tasks": {"countdown": {}}, "scratch": {"hidden_size": 32}, "use_cpu": True}
    config.write_text(yaml.safe_dump(run | values))
    found = guarded("config", lambda: configuration(config))
    assert message in found.mend and bool(found.mend) == bool(message)


def test_an_interpreter_without_the_packages_is_told_what_to_do():
    script = Path(__file__).parents[2] / "scripts" / "doctor.py"
    ran = subprocess.run([sys.executable, "-S", "-I", script], capture_output=True, text=True)
    assert ran.returncode == 1 and not ran.stderr
    assert ran.stdout.startswith("mend") and "run `make setup`" in ran.stdout


def test_kernels_that_cannot_be_compiled_are_found(monkeypatch):
    def fail() -> bool:
        warnings.warn("no compiler here", stacklevel=1)
        return False

    monkeypatch.delenv("RETHINK_NATIVE", raising=False)
    monkeypatch.setattr(doctor.native, "available", fail)
    found = doctor.kernels()
    assert found.state == "no compiler here" and "g++" in found.mend
