r"""Mathematics in words: a set such as GSM8K, MATH or AIME, from a file or the hub, judged by `data.mathematics`.

    tasks:
      math: {source: openai/gsm8k, subset: main}
      math:hard: {source: data/math.jsonl, question: problem, answer: solution, only: {level: [Level 5]}}

A gold answer is what the answer column says: the number behind `####`, the content of `\boxed{}`, or all of it.
"""

import importlib.util
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from tqdm import tqdm

from data.fixed_sets.fixed_set import Fault, SetSettings, content_of, read_set, stands_for_nothing, text_of, texts_of
from data.mathematics.extract import MAX_FINAL, final_answer, gold_answer, is_placeholder
from data.mathematics.notation import plain, tidy
from data.mathematics.numbers.plain import exact
from data.mathematics.units.units import as_share
from data.problem import Problem, Verdict
from data.task import Split, Task, task_of
from data.workers.pool import Reply, WorkerPool

QUESTION = "Solve the problem."
INSTRUCTIONS = (
    f"{QUESTION} Think step by step between <think> and </think>, then write the final answer in \\boxed{{}}. "
    "Example: <think>2 + 2 is 4, and 4 + 3 is 7.</think> \\boxed{7}"
)
MAX_SOLUTION = 50_000  # characters of a gold answer with its solution
MAX_ANSWER = 16_000
CHECKED_AT_ONCE = 256
# In problems that speak of shares, 5% may be 5; in others it is 0.05 alone.
OF_SHARES = re.compile(
    r"%|per\s?cent|\b(?:rate|interest|discount|tax|probabilit|likelihood|chance|share|odds)", re.IGNORECASE
)
POOL = WorkerPool(
    "data.mathematics.service:answer", seconds=1, wall_seconds=2.8
)  # the labelled pairs take 0.3 s at most


@dataclass(frozen=True, kw_only=True)
class Settings(SetSettings):
    """The set, and the columns that hold its problems."""

    question: str = "question"
    answer: str = "answer"
    several: bool = False  # the answer is a list of texts that together are one answer
    wrong: list[str] | None = None  # columns of wrong answers: the problem then asks for the letter of the right one

    def __post_init__(self) -> None:
        """Raise ValueError naming what is missing or out of range."""
        SetSettings.__post_init__(self)
        if importlib.util.find_spec("math_verify") is None:
            raise ValueError("Problems of mathematics are judged by math-verify: pip install -e '.[math]'.")


def task(label: str) -> Task:
    """The task `math`, or `math:label` for one set of several."""
    return task_of(sys.modules[__name__], f"math:{label}" if label else "math")


def problems(settings: Settings) -> dict[Split, list[Problem]]:
    """All problems of the set. Raises ValueError for a gold answer that cannot be read, with its file and row."""

    def make(values: Mapping[str, Any]) -> Problem:
        prompt = text_of(values, settings.question, MAX_SOLUTION)
        if settings.wrong:
            return _choice(prompt, values, settings)
        if settings.several and isinstance(values.get(settings.answer), list):
            parts = texts_of(values, settings.answer, MAX_SOLUTION)
            values = {**values, settings.answer: ", ".join(part.strip() for part in parts)}
        solution = text_of(values, settings.answer, MAX_SOLUTION)
        gold = gold_answer(solution)
        if gold is None:
            raise Fault(
                f"no gold answer found in {solution[-80:]!r}; expected one of up to {MAX_FINAL} characters: alone, "
                "behind `####`, or in \\boxed{}."
            )
        if stands_for_nothing(plain(tidy(gold))) or is_placeholder(gold):
            raise Fault(f"its gold answer is {gold!r}, which stands for a value that is missing.")
        return Problem("math", prompt, f"math {content_of(prompt)}", {"answer": gold})

    return read_set(settings, (settings.question, settings.answer, *(settings.wrong or ())), make, unreadable)


def _choice(question: str, values: Mapping[str, Any], settings: Settings) -> Problem:
    """A problem of multiple choice, whose answer is a letter. The order follows from the question alone."""
    columns = (settings.answer, *(settings.wrong or ()))
    options = [text_of(values, column, MAX_ANSWER, choice=True) for column in columns]
    right = options[0]
    if len({content_of(option) for option in options}) < len(options):
        raise Fault(f"two of its choices are the same: {', '.join(map(repr, options))[:200]}.")
    random.Random(content_of(question)).shuffle(options)
    letters = ascii_uppercase[: len(options)]
    lines = "\n".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    prompt = f"{question}\n\n{lines}\n\nAnswer with the letter of the right choice."
    return Problem("math", prompt, f"math {content_of(prompt)}", {"answer": letters[options.index(right)]})


def unreadable(problems: Sequence[Problem]) -> list[str | None]:
    """The fault of each problem's gold answer; None where answers can be compared with it."""
    golds = [problem.facts["answer"] for problem in problems]
    doubtful = [gold for gold in dict.fromkeys(golds) if exact(tidy(gold)) is None]
    replies: dict[str, Reply] = {}
    with tqdm(total=len(doubtful), desc="reading gold answers", unit="answer", disable=len(doubtful) < 500) as bar:
        for start in range(0, len(doubtful), CHECKED_AT_ONCE):
            some = doubtful[start : start + CHECKED_AT_ONCE]
            replies |= dict(zip(some, POOL.ask_all([{"gold": gold} for gold in some]), strict=True))
            bar.update(len(some))
    return [
        None
        if gold not in replies or replies[gold].value
        else f"its gold answer {gold!r} cannot be read ({replies[gold].error or 'it is no formula and no words'})."
        for gold in golds
    ]


def verify(problem: Problem, answer: str) -> Verdict:
    """Judge the final answer of a text against the gold one. Never raises; bounded in time and memory."""
    if len(answer) > MAX_ANSWER:
        return Verdict(False, False, f"answer longer than {MAX_ANSWER} characters")
    final = final_answer(answer)
    if final is None:
        return Verdict(False, False, "no single final answer; it belongs in \\boxed{}")
    gold = problem.facts["answer"]
    meant = final
    if not OF_SHARES.search(problem.prompt) and as_share(gold) is None:
        meant = as_share(final) or final
    correct = settled(gold, meant)
    if correct is None:
        reply = POOL.ask({"gold": gold, "answer": meant})
        if reply.error:
            return Verdict(False, True, "not judged", error=f"math verifier: {reply.error}")
        correct = reply.value
    return Verdict(correct, True, "correct" if correct else f"{final[:80]}, not {gold[:80]}")


def settled(gold: str, answer: str) -> bool | None:
    """The verdict where it needs no worker: equal texts, or two plain numbers; else None."""
    gold, answer = tidy(gold), tidy(answer)
    if gold == answer:
        return True
    gold_value, value = exact(gold), exact(answer)
    return None if gold_value is None or value is None else gold_value == value
