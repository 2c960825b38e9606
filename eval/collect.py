"""Reasoning traces from a teacher: ask n samples of each training problem, and keep what the verifier accepts.

`cold_start_data` takes the file of traces. `FILE.asked` beside it has one line for each answer, kept or not, so that
nothing is asked twice and a collection that was cut off continues.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data.mixture import judge
from data.problem import Problem
from eval.sampling.teacher import Answer, OnAnswer, Request
from train.rollout.interface import Sampling

AT_ONCE = 256  # answers that are requested before more problems are read


class Teacher(Protocol):
    """A model that answers requests: a server or a checkpoint."""

    name: str
    sampling: Sampling
    system_prompt: str

    def ask(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        """Hand over an answer to each."""


@dataclass(slots=True)
class Collection:
    """The outcome: how many answers were kept, of how many, and what was wrong with the rest."""

    traces: int = 0
    answers: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    def as_text(self) -> str:
        """One line for the person at the terminal."""
        why = ", ".join(f"{count:,} {reason}" for reason, count in self.refusals.most_common(5))
        rest = f"; the rest: {why}" if why else ""
        return f"{self.traces:,} of {self.answers:,} answers are verified and kept{rest}."


def collect(
    teacher: Teacher,
    problems: Sequence[Problem],
    samples: int,
    output: Path,
    progress: Callable[[int], Any] | None = None,
) -> Collection:
    """Ask for `samples` answers to each problem and append the verified ones to `output`, a JSONL file.

    What the two files hold already counts as asked. Raises ValueError where they cannot be written, and ServerError
    where the teacher fails; what had come by then is kept.
    """
    ledger = output.with_name(f"{output.name}.asked")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        earlier = {row["key"]: row for path in (ledger, output) for row in _whole_lines(path) if "key" in row}
        return _collect(teacher, problems, samples, (output, ledger), earlier, progress)
    except OSError as error:
        raise ValueError(f"The traces cannot be written to {output}: {error.strerror or error}.") from None


def _collect(
    teacher: Teacher,
    problems: Sequence[Problem],
    samples: int,
    paths: tuple[Path, Path],
    earlier: dict[str, Any],
    progress: Callable[[int], Any] | None,
) -> Collection:
    collection = Collection()
    with paths[0].open("a", encoding="utf-8") as traces, paths[1].open("a", encoding="utf-8") as ledger:

        def count(correct: bool, reason: str) -> None:
            collection.answers += 1
            collection.traces += correct
            if not correct:
                collection.refusals[reason] += 1
            if progress:
                progress(1)

        def answered(request: Request, answer: Answer) -> None:
            (problem, sample), key = request, _key(teacher, *request)
            correct, reason = _judged(problem, answer)
            if correct:
                turns = [
                    {"role": "user", "content": problem.prompt},
                    {"role": "assistant", "content": answer.completion},
                ]
                row = {"messages": turns, "task_problem": problem.to_json(), "teacher": teacher.name, "sample": sample}
                _append(traces, row | {"key": key})
            _append(ledger, {"key": key, "correct": correct, "reason": reason})
            count(correct, reason)

        requests = [(problem, sample) for problem in problems for sample in range(samples)]
        missing = []
        for request in requests:
            if (row := earlier.get(_key(teacher, *request))) is None:
                missing.append(request)
            else:
                count(row.get("correct", True), row.get("reason", ""))
        for start in range(0, len(missing), AT_ONCE):
            teacher.ask(missing[start : start + AT_ONCE], answered)
    return collection


def _judged(problem: Problem, answer: Answer) -> tuple[bool, str]:
    """Whether an answer is kept, and why not, in words that can be counted."""
    if answer.completion is None:
        return False, answer.fault
    verdict = judge(problem, answer.completion)[1]
    if verdict.correct:
        return True, ""
    return False, "not judged" if verdict.error else "wrong" if verdict.format else "not in the form"


def _append(file: Any, row: dict[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    file.flush()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of ours, made ready for more: a last line that was cut off in writing is removed.

    Raises ValueError.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if _is_json(content[len(whole) :]):  # not ours, or edited by hand
        whole = content + b"\n"
    if whole != content:
        path.write_bytes(whole)
    try:
        rows = [json.loads(line) for line in whole.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path} is not a file of traces ({error}); give another --output.") from None
    return [row for row in rows if isinstance(row, dict)]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _key(teacher: Teacher, problem: Problem, sample: int) -> str:
    """The identity of an answer: who is asked, how, and what."""
    how = (teacher.name, teacher.system_prompt, teacher.sampling.temperature, teacher.sampling.max_new_tokens)
    text = json.dumps([*how, teacher.sampling.seed, problem.task, problem.canonical, problem.prompt, sample])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
