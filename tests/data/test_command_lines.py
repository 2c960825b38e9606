"""A slip on a script's command line is one line, with what was probably meant."""

import pytest

from data.terminal import CommandLine, command, count


@command
def main() -> int:
    parser = CommandLine("What it does.")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--samples", type=int, default=4, help="of each problem")
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
    monkeypatch.setattr("sys.argv", ["script", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (2, f"error: {line}\n")


def test_an_option_may_still_be_cut_short(monkeypatch):
    monkeypatch.setattr("sys.argv", ["script", "--check", "x"])
    assert main() == 0


def test_the_help_shows_the_description_and_each_default_once(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["script", "--help"])
    with pytest.raises(SystemExit):
        main()
    text = capsys.readouterr().out
    assert "What it does." in text and "of each problem (default: 4)" in text and "None" not in text


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", ""])
def test_an_option_that_counts_takes_whole_numbers_from_one_on(capsys, value):
    parser = CommandLine("Counts.")
    parser.add_argument("--rows", type=count)
    assert parser.parse_args(["--rows", "12"]).rows == 12
    with pytest.raises(SystemExit) as refusal:
        parser.parse_args([f"--rows={value}"])
    assert refusal.value.code == 2
    assert f"--rows: is {value!r}; expected a whole number of at least 1." in capsys.readouterr().err
