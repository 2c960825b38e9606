"""The cold start's examples from reasoning traces: verified, limited in length, with a count of the rest."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from data.contamination import text_of
from data.fixed_sets.reasoning_traces import NoTrace, ReasoningTrace, TraceSettings, gold_problem, read_traces
from data.mixture import draw_problems, held_out, judge, side_by_side
from data.problem import Problem
from data.response import OPEN, parse_response
from data.splits import split_of
from data.tasks import get_task
from data.terminal import say
from train.config.run_config import RunConfig, world_rank
from train.model.prompts import messages, opens_thinking, prompt_ids

AT_ONCE = 64  # rows that are judged side by side
TEST_PROBLEMS = 100  # of each procedural task, whose prompts no trace may have
HELD_OUT, REFUSED = "of held-out problems", "that the verifier refuses"
UNVERIFIED = "that nothing here can check"
_TAKEN: dict[str, list[dict[str, Any]]] = {}


class Checker:
    """The problems that traces are about, as the run knows them: how to check them, and which are held out."""

    def __init__(self, run: RunConfig) -> None:
        trained = draw_problems(run.parts, "train", run.train_problems, run.split_seed)
        self.known = {text_of(problem): problem for problem in trained}
        self.seed = run.split_seed
        self.tasks = {part.task for part in run.parts}
        away = draw_problems(run.parts, "validation", run.validation_problems, run.split_seed)
        away += held_out(run.parts, "test", run.split_seed, TEST_PROBLEMS)
        self.away = {text_of(problem) for problem in away}

    def problem_of(self, trace: ReasoningTrace) -> Problem | None:
        """The problem to check a trace by: its own, one of the run's with the same words, or one of its gold answer."""
        if trace.problem is not None and trace.problem.task in self.tasks:
            return trace.problem
        question_problem = Problem("", trace.question, "", {})
        if (problem := self.known.get(text_of(question_problem))) is not None:
            return problem
        return gold_problem(trace, self.tasks)

    def is_held_out(self, trace: ReasoningTrace, problem: Problem | None) -> bool:
        """Whether the run validates or tests on the problem of a trace."""
        if text_of(Problem("", trace.question, "", {})) in self.away:
            return True
        if problem is None or get_task(problem.task).draw is None:
            return False
        return split_of(problem.canonical, self.seed) != "train"


def checked(
    rows: Iterable[ReasoningTrace | NoTrace], checker: Checker, settings: TraceSettings, left_out: Counter[str]
) -> Iterator[tuple[ReasoningTrace, Problem | None]]:
    """The traces to learn from, each with the problem that verified it; the rest is counted."""
    source = iter(rows)
    while batch := list(islice(source, AT_ONCE)):
        traces = []
        for row in batch:
            if isinstance(row, NoTrace):
                left_out[str(row)] += 1
            elif parse_response(row.completion).fault:
                left_out["not in the form of one thinking and an answer"] += 1
            else:
                traces.append(row)
        problems = [checker.problem_of(trace) for trace in traces]
        right = side_by_side(_is_right, traces, problems)
        for trace, problem, correct in zip(traces, problems, right, strict=True):
            if checker.is_held_out(trace, problem):
                left_out[HELD_OUT] += 1
            elif not correct:
                left_out[REFUSED] += 1
            elif problem is None and not settings.unverified:
                left_out[UNVERIFIED] += 1
            else:
                yield trace, problem


def _is_right(trace: ReasoningTrace, problem: Problem | None) -> bool:
    return problem is None or judge(problem, trace.completion)[1].correct


def trace_examples(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, longest: int, context: int, count: int
) -> list[dict[str, Any]]:
    """At most `count` examples of the run's `cold_start_data`, of `longest` tokens a completion, `context` in all.

    Says how many were taken, verified and left out, and why. Read once in a process. Raises ValueError where the
    source cannot be read, or nothing in it can be learnt from.
    """
    settings = run.trace_settings
    assert settings
    longest = min(longest, settings.max_tokens or longest)
    how = (run.tasks, run.train_problems, run.validation_problems, run.split_seed, run.system_prompt)
    key = repr((settings, how, len(tokenizer), tokenizer.chat_template, longest, context, count))
    if key not in _TAKEN:
        _TAKEN[key] = _take(tokenizer, run, settings, longest, context, count)
    return _TAKEN[key]


def _take(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, settings: TraceSettings, longest: int, context: int, count: int
) -> list[dict[str, Any]]:
    left_out: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    verified = 0
    for trace, problem in checked(read_traces(settings), Checker(run), settings, left_out):
        row = example(tokenizer, trace, problem, run.system_prompt)
        if row["length"] > context:
            left_out[f"longer than the context of {context:,} tokens"] += 1
        elif sum(row["completion_mask"]) > longest:
            left_out[f"longer than {longest:,} tokens"] += 1
        elif tokenizer.unk_token_id is not None and tokenizer.unk_token_id in row["input_ids"]:
            left_out["with words that the tokenizer lacks"] += 1
        else:
            rows.append(row)
            verified += problem is not None
            if len(rows) == count:
                break
    reasons = ", ".join(f"{number:,} {why}" for why, number in left_out.most_common()) or "none"
    if not rows:
        raise ValueError(f"cold_start_data: {settings.source} has no trace to learn from; left out: {reasons}.")
    if world_rank() == 0:
        say(f"Traces of {settings.source}: {len(rows):,} taken, {verified:,} of them verified; left out: {reasons}.")
    return rows


def example(
    tokenizer: PreTrainedTokenizerBase, trace: ReasoningTrace, problem: Problem | None, system_prompt: str
) -> dict[str, Any]:
    """A trace as token ids: the prompt as RL would ask it, the completion, and the end token.

    The run's system prompt takes the place of the row's. Where the template opens the thinking itself, the completion
    begins behind that.
    """
    if problem is not None and len(trace.conversation) == 1:
        conversation = messages(replace(problem, prompt=trace.question), system_prompt)
    else:
        system = "" if system_prompt == "task" else system_prompt  # a conversation is of no one task
        conversation = [{"role": "system", "content": system}] * bool(system) + trace.conversation
    prompt = prompt_ids(tokenizer, conversation)
    text = trace.completion
    if opens_thinking(tokenizer):
        text = text.removeprefix(OPEN)
        ends = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        text = text.removeprefix("\n") if ends.endswith("\n") else text
    answer = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    return {
        "input_ids": prompt + answer,
        "completion_mask": [0] * len(prompt) + [1] * len(answer),
        "length": len(prompt) + len(answer),
    }
