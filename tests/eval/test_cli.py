"""The `rethink` command."""

import subprocess
import sys
from pathlib import Path

import pytest

from eval import cli

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "eval.cli", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_every_command_is_a_script_of_its_name():
    assert {"train", "evaluate", "claims", "report", "serve", "chat", "sweep", "plan", "doctor"} <= set(cli.commands())
    for name, path in cli.commands().items():
        assert path.is_file() and cli.command(name)[-1] in (str(path), "train")
        assert f"  {name} " in cli.usage()


def test_help_needs_no_imports_and_a_wrong_name_is_one_line():
    assert "usage: rethink COMMAND" in run().stdout
    wrong = run("trian")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "expected one of: train" in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", cli.commands())
def test_every_command_prints_the_help_of_its_script(name):
    done = run(name, "--help")
    usage = "accelerate launch -m train" if name == "train" else f"{name}.py"
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {usage} ") and done.stderr == ""


def test_arguments_go_to_the_script(tmp_path):
    refused = run("report", str(tmp_path / "no-run"))
    assert refused.returncode == 2 and "no-run" in refused.stderr


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_completion_knows_commands_and_options(shell):
    assert "rethink" in run("completion", shell).stdout
    assert "evaluate" in cli.words([]) and "--port" in cli.words(["serve"]) and "--config" in cli.words(["train"])
    assert {"--run", "--benchmark", "--processes", "--own-tasks"} <= set(cli.words(["evaluate"]))
    assert "--processes" not in cli.words(["serve"])
    assert cli.words(["nothing"]) == [] and run("completion", "tcsh").returncode == 2


def test_bash_completes():
    script = (
        'rethink() { %s -m eval.cli "$@"; }\n%s\nCOMP_WORDS=(rethink ser) COMP_CWORD=1\n_rethink\necho ${COMPREPLY[@]}'
    )
    bash = subprocess.run(
        ["bash", "-c", script % (sys.executable, cli.SHELLS["bash"])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert bash.stdout.split() == ["serve"]
