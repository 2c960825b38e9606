"""`scripts/plan.py`: its exit codes."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import plan


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["configs/ci.yaml", "--gpu", "H100"], 0, "It fits"),
        (["configs/ci.yaml", "--gpu", "abacus"], 2, "error: --gpu is 'abacus'"),
        (["configs/no-such.yaml", "--gpu", "H100"], 2, "error: Config file configs/no-such.yaml does not exist"),
    ],
)
def test_the_exit_code_says_whether_it_fits(monkeypatch, capsys, arguments, code, said):
    monkeypatch.setattr(sys, "argv", ["plan.py", *arguments])
    assert plan.main() == code
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_a_plan_that_does_not_fit_is_printed_and_exits_with_1(monkeypatch, capsys):
    monkeypatch.setattr("train.plan.make_plan.make_plan", lambda *_, **__: ("It does not fit: 30 of 22 GiB.", False))
    monkeypatch.setattr(sys, "argv", ["plan.py", "configs/ci.yaml", "--gpu", "24GB"])
    assert plan.main() == 1
    assert "It does not fit" in capsys.readouterr().out
