"""The help of training: every option with its values, its default and what it does."""

import re
import sys
from dataclasses import fields

import pytest
from trl import GRPOConfig

from train.__main__ import main
from train.config.parse import DERIVED
from train.config.run_config import RunConfig
from train.config.trl_options import trl_options


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--config", "none.yaml", "--help"]])
def test_help_lists_every_option_and_ends_with_0(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["train", *words])
    assert main() == 0
    page = capsys.readouterr().out
    names = re.findall(r"^  --(\w+): ", page, re.MULTILINE)
    ours = {field.name for field in fields(RunConfig)}
    theirs = {field.name for field in fields(GRPOConfig)} & set(trl_options()) - set(DERIVED)
    assert set(names) == ours | theirs and max(map(len, page.splitlines())) <= 100


def test_help_says_what_an_option_takes_its_default_and_what_it_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    main()
    page = capsys.readouterr().out
    assert "  --lora_rank: a whole number, 0 or more (default: 0)\n      Rank of LoRA adapters" in page
    assert re.search(r"^  --loss_type: .*\(default: dr_grpo\)$", page, re.MULTILINE)  # our default, not TRL's


def test_every_option_of_ours_has_help():
    assert not [field.name for field in fields(RunConfig) if not field.metadata.get("help")]
