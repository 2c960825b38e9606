"""A slip on a script's command line is one line, with what was probably meant."""

import argparse

import pytest

from data.terminal import command


@command
def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--backend", choices=("engine", "vllm"))
    parser.parse_args()
    return 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--checkpont", "x"], "unknown option --checkpont; did you mean --checkpoint? --help lists the options."),
        (["--checkpoint=x", "--zzz"], "unknown option --zzz. --help lists the options."),
        ([], "the following arguments are required: --checkpoint. --help lists the options."),
        (
            ["--checkpoint", "x", "--samples", "1.5"],
            "argument --samples: invalid int value: '1.5'. --help lists the options.",
        ),
        (["--checkpoint", "x", "extra"], "unrecognized arguments: extra. --help lists the options."),
    ],
)
def test_a_slip_on_the_command_line_is_one_line_with_the_mend(words, line, monkeypatch, capsys):
    monkeypatch.setattr(argparse.ArgumentParser, "error", argparse.ArgumentParser.error)  # put back afterwards
    monkeypatch.setattr("sys.argv", ["script", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (2, f"error: {line}\n")


def test_an_option_may_still_be_cut_short(monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "error", argparse.ArgumentParser.error)
    monkeypatch.setattr("sys.argv", ["script", "--check", "x"])
    assert main() == 0
