"""What README and docs name exists: files, anchors, scripts and their options, make targets, and code that runs."""

import importlib.util
import re
import runpy
import shlex
import sys
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("*.md", "docs/*.md", "configs/**/*.md", ".github/**/*.md")
PAGES = sorted(path for pattern in FOLDERS for path in ROOT.glob(pattern))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"\b((?:configs|scripts|tests|train|eval|data|docs)/[\w./-]*\w)")
COUNTDOWN = re.compile(r"numbers ((?:\d+ )+)target (\d+)")
PLACEHOLDERS = {"configs/X.yaml"}


def blocks(page: Path, language: str) -> list[str]:
    return [text for tag, text in BLOCK.findall(page.read_text()) if tag == language]


def commands() -> list[tuple[str, str]]:
    """The page's name and each command in its bash blocks, continued lines joined and comments left out."""
    parts = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                parts += [(page.name, part) for part in line.split(" && ") if part.strip()]
    return parts


def bare(command: str) -> str:
    """A command on one line, without its comment."""
    return re.sub(r"\s+", " ", re.sub(r"(^|\s)#.*$", "", command)).strip()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    for path in PATH.findall(LINK.sub("", page.read_text())):
        stem = re.split(r"[*<{]", path)[0]
        assert path in PLACEHOLDERS or (ROOT / stem).exists(), f"{page.name} names {path}"


def reachable(numbers: tuple[Fraction, ...]) -> set[Fraction]:
    """What can be made of all the numbers, each used once."""
    if len(numbers) == 1:
        return set(numbers)
    values: set[Fraction] = set()
    for left, right, *rest in permutations(numbers):
        made = [left + right, left - right, left * right] + ([left / right] if right else [])
        values |= {value for each in made for value in reachable((each, *rest))}
    return values


def test_every_countdown_problem_that_is_shown_to_a_newcomer_has_an_answer() -> None:
    files = [*PAGES, *ROOT.glob("scripts/*.py"), *ROOT.glob("eval/newcomer/*.py")]
    shown = {problem for path in files for problem in COUNTDOWN.findall(path.read_text())}
    assert shown
    assert [
        problem for problem in shown if Fraction(problem[1]) not in reachable(tuple(map(Fraction, problem[0].split())))
    ] == []


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert target in targets, f"{page.name} names make {target}"


def test_every_command_says_what_runs_it_or_when_it_last_ran() -> None:
    named = {bare(command) for _, command in commands() if not command.startswith("source ")} - {""}
    table = (ROOT / "docs/commands.md").read_text()
    rows = dict(re.findall(r"^\| `(.+?)` \| (.+) \|$", table, re.MULTILINE))
    assert set(rows) == named
    for command, ran in rows.items():
        assert re.search(r"`tests/|`\.ci/run`|by hand \d{4}-\d\d-\d\d|never here: ", ran), command
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table):
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


def scripts_with_options() -> dict[str, set[str]]:
    """Every script that a command starts, and the options given to it anywhere."""
    options: dict[str, set[str]] = {}
    for _, command in commands():
        words = shlex.split(command, comments=True)
        scripts = [word for word in words if re.fullmatch(r"scripts/\w+\.py", word)]
        for script in scripts:
            after = words[words.index(script) + 1 :]
            options.setdefault(script, set()).update(word.partition("=")[0] for word in after if word[:2] == "--")
    return options


@pytest.mark.parametrize("script", sorted(scripts_with_options()))
def test_scripts_know_the_options_that_the_pages_give_them(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert scripts_with_options()[script] <= known


def test_training_knows_the_options_that_the_pages_give_it() -> None:
    from dataclasses import fields

    from trl import GRPOConfig

    from train.config.run_config import RunConfig

    known = {field.name for record in (RunConfig, GRPOConfig) for field in fields(record)} | {"config"}
    for page, command in commands():
        words = shlex.split(command, comments=True)
        if "-m" in words and words[words.index("-m") + 1] == "train":
            for word in words[words.index("train") + 1 :]:
                assert word[:2] != "--" or word[2:].partition("=")[0] in known | {"help"}, f"{page}: {word}"


def test_the_engine_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from train.model.scratch import build_model, build_tokenizer, check_scratch

    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    build_model(check_scratch({}), tokenizer).save_pretrained(tmp_path)
    (example,) = [code for code in blocks(ROOT / "docs/rollout-engine.md", "python") if "RolloutEngine(" in code]
    lines = [line for line in example.splitlines() if line and not line.startswith(("from", "import"))]
    assert len(lines) <= 10
    code, count = re.subn(r'^checkpoint = ".*"$', f"checkpoint = {str(tmp_path)!r}", example, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "example.py").write_text(code)
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert len(names["rollouts"]) == 4
    assert capsys.readouterr().out


def test_the_task_example_draws_and_judges_problems(tmp_path: Path) -> None:
    import random

    from data.task import task_of

    (example,) = [code for code in blocks(ROOT / "docs/tasks.md", "python") if "def verify" in code]
    path = tmp_path / "own.py"
    path.write_text(example)
    spec = importlib.util.spec_from_file_location("own", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    task = task_of(module, "own")
    assert task.draw is not None
    for problem in task.draw(random.Random(0), None, 20):
        verdicts = [task.verify(problem, answer).correct for answer in ("yes", "no")]
        assert sorted(verdicts) == [False, True]
        assert not task.verify(problem, "perhaps").format


def test_the_verifier_example_judges_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = [code for code in blocks(ROOT / "docs/tasks.md", "python") if "parse_response(" in code]
    (tmp_path / "example.py").write_text(example)
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert names["response"].fault is None and names["verdict"].format and not names["verdict"].correct
    assert capsys.readouterr().out.startswith(names["problem"].prompt)
