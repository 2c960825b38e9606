"""The baselines that RL has to beat: prompting alone.

- direct: the question in plain words, then "The answer is" (zero-shot of Kojima et al. 2022).
- step-by-step: "Let's think step by step.", and a second prompt, "Therefore, the answer is", that draws the answer out
  of what the model wrote, greedily (zero-shot-CoT of Kojima et al. 2022, two stages).
- few-shot: right demonstrations as earlier turns, then the question as it is always asked.
- majority: the question as it is always asked; the answer given most often, a tie to the one given first.

The answers of the first two are cleansed as in the paper: the first stretch that has the form of an answer counts; of
tasks that are not our own, whose answers may have any form, the first line. All is done on token ids; what the model
wrote is never encoded anew.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from data.mixture import demonstrations, judge
from data.problem import Problem, Verdict
from data.tasks import TASKS, get_task
from eval.measures.rows import SampleRow
from eval.sampling.candidate import Candidate
from eval.sampling.progress import Progress
from eval.sampling.samples import NOT_TRACED, NOT_WORDED, described_rows, sample_checkpoint
from eval.sampling.source import Source
from eval.sampling.subject import Subject
from train.model.judged import score
from train.model.prompts import completion_text, messages, prompt_ids
from train.rollout.interface import Rollout, Sampling

DIRECT, STEPS, EXTRACT = "The answer is", "Let's think step by step.", "\nTherefore, the answer is"
ANSWER_TOKENS = 48
SHOTS = 4
ANSWER = re.compile(r"-?[\d(][-+*/(). \d]*")


def check_baseline(baseline: str, candidate: Candidate, source: Source) -> None:
    """Raise ValueError where a task has no examples to show, or the model's tokenizer no words for the prompt."""
    for part in source.parts:
        if baseline == "few-shot" and get_task(part.task).demonstrate is None:
            raise ValueError(
                f"The task {part.task} has no demonstrations, and --baseline few-shot shows some. Take --baseline "
                "direct, step-by-step or majority."
            )
    if baseline not in ("direct", "step-by-step"):
        return
    if not reads_words(candidate.tokenizer):
        raise ValueError(
            f"{candidate.name} cannot read the prompt of the baseline {baseline}: its tokenizer knows no plain words, "
            "like that of any model from scratch. Take --baseline few-shot or majority, or a pre-trained model."
        )


def reads_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer spells plain words; that of a model from scratch knows those of its tasks alone."""
    unknown = tokenizer.unk_token_id
    return unknown is None or unknown not in tokenizer.encode(STEPS, add_special_tokens=False)


def ask_baseline(
    baseline: str,
    candidate: Candidate,
    problems: list[Problem],
    source: Source,
    samples: int,
    sampling: Sampling,
    progress: Progress | None,
) -> list[SampleRow]:
    """Rows as of `sample_checkpoint`: each problem `samples` times (a majority: once, by vote) and once greedily."""
    subject = Subject(candidate.backend, candidate.tokenizer, sampling, source.system_prompt, progress)
    if baseline == "majority":
        return majority(sample_checkpoint(candidate.name, subject, problems, samples))

    def ask(subject: Subject, samples: int) -> list[SampleRow]:
        if baseline == "few-shot":
            return _few_shot(subject, problems, source, samples)
        zero_shot = _direct if baseline == "direct" else _step_by_step
        return zero_shot(subject, problems, samples)

    greedy = replace(subject, sampling=replace(sampling, temperature=0.0, seed=0))
    answers, best = ask(subject, samples), ask(greedy, 1)
    for place, row in enumerate(answers):
        row |= {"checkpoint": candidate.name, "sample": place % samples, "greedy": False}
    for row in best:
        row |= {"checkpoint": candidate.name, "sample": samples, "greedy": True}
    return answers + best


def vote(row: SampleRow) -> str | None:
    """The vote of a sample: its answer without blanks. None where it was cut off, has no answer, or gives up."""
    silent = row["truncated"] or not row["format"] or row["reason"] == "gave up"
    return None if silent else "".join(row["answer"].split())


def majority(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The first sample of each problem that gives the winning answer, and the greedy samples as they are."""
    by_problem: dict[str, list[SampleRow]] = {}
    for row in rows:
        if not row["greedy"]:
            by_problem.setdefault(row["problem"], []).append(row)
    winners = []
    for group in by_problem.values():
        votes = [vote(row) for row in group]
        counts = Counter(answer for answer in votes if answer is not None)
        winner = counts.most_common(1)[0][0] if counts else None  # of equals the one counted first
        winners.append(group[votes.index(winner)] | {"sample": 0})
    return winners + [row for row in rows if row["greedy"]]


def clean_answer(text: str) -> str:
    """The first stretch of `text` that has the form of a number or an expression, or "" where none has."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text).translate(str.maketrans("×÷−", "*/-"))
    match = ANSWER.search(plain)
    return match[0].rstrip(" .+-*/(") if match else ""


def first_line(text: str) -> str:
    """The first line of `text` without what leads to it or ends it: for answers of any form."""
    return text.strip().removeprefix(":").strip().split("\n")[0].strip().rstrip(".")


def _few_shot(subject: Subject, problems: list[Problem], source: Source, samples: int) -> list[SampleRow]:
    shots = _shots(source, {problem.task for problem in problems})
    prompts = [
        prompt_ids(subject.tokenizer, [*shots[problem.task], *messages(problem, subject.system_prompt)])
        for problem in problems
    ]
    return described_rows(subject, problems, prompts, samples)


def _shots(source: Source, tasks: set[str]) -> dict[str, list[dict[str, str]]]:
    """SHOTS right demonstrations of each task from the train split, as turns of a conversation."""
    shots: dict[str, list[dict[str, str]]] = {task: [] for task in tasks}
    for problem, completion in demonstrations(source.parts, 64 * len(tasks), source.split_seed):
        turns = shots.get(problem.task, [])
        if len(turns) < 2 * SHOTS and judge(problem, completion)[1].correct:
            turns += [*messages(problem), {"role": "assistant", "content": completion}]
    return shots


def _direct(subject: Subject, problems: list[Problem], samples: int) -> list[SampleRow]:
    lead = subject.encode(DIRECT)
    prompts = [prompt_ids(subject.tokenizer, _question(problem)) + lead for problem in problems]
    short = replace(subject.sampling, max_new_tokens=ANSWER_TOKENS)
    answers = subject.backend.generate(prompts, samples, short, subject.progress)
    silent = Rollout([], "stop")
    return [_row(problems[place // samples], silent, answer, subject.tokenizer) for place, answer in enumerate(answers)]


def _step_by_step(subject: Subject, problems: list[Problem], samples: int) -> list[SampleRow]:
    lead, extract = subject.encode(STEPS), subject.encode(EXTRACT)
    prompts = [prompt_ids(subject.tokenizer, _question(problem)) + lead for problem in problems]
    thoughts = subject.backend.generate(prompts, samples, subject.sampling, subject.progress)
    extractions = []
    for place, thought in enumerate(thoughts):
        tokens = [token for token in thought.token_ids if token not in subject.sampling.stop_ids]
        extractions.append(prompts[place // samples] + tokens + extract)
    short = replace(subject.sampling, max_new_tokens=ANSWER_TOKENS, temperature=0.0, seed=0)
    answers = subject.backend.generate(extractions, 1, short, subject.progress)
    return [
        _row(problems[place // samples], thought, answer, subject.tokenizer)
        for place, (thought, answer) in enumerate(zip(thoughts, answers, strict=True))
    ]


def _question(problem: Problem) -> list[dict[str, str]]:
    """The question in plain words, without instructions on thinking or format."""
    return [{"role": "user", "content": f"{get_task(problem.task).question}\n{problem.prompt}".strip()}]


def _row(problem: Problem, thought: Rollout, answer: Rollout, tokenizer: PreTrainedTokenizerBase) -> SampleRow:
    """One sample of a zero-shot prompt, in the columns of `describe`; its thinking has no form that could be parsed."""
    reasoning, conclusion = (completion_text(tokenizer, rollout.token_ids) for rollout in (thought, answer))
    text = clean_answer(conclusion) if problem.task in TASKS else first_line(conclusion)
    verdict = _verdict(problem, text)
    special = set(tokenizer.all_special_ids)
    thinking, answering = (sum(t not in special for t in rollout.token_ids) for rollout in (thought, answer))
    return {
        "problem": problem.to_json(),
        "task": problem.task,
        "prompt": problem.prompt,
        "completion": f"{STEPS}{reasoning}{EXTRACT}{conclusion}" if reasoning else f"{DIRECT}{conclusion}",
        "answer": text,
        "correct": verdict.correct,
        "format": verdict.format,
        "reason": verdict.reason,
        "error": verdict.error,
        "truncated": False,  # a thought that was cut off is still asked for its answer
        "score": score(verdict),
        "greedy": False,  # `ask_baseline` sets it
        "thinking_tokens": thinking,
        "answer_tokens": answering,
        **NOT_TRACED,
        **NOT_WORDED,
    }


def _verdict(problem: Problem, answer: str) -> Verdict:
    if not answer:
        return Verdict(correct=False, format=False, reason="no answer")
    return judge(problem, f"<think>.</think>{answer}")[1]
