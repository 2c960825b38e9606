from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.mixture import judge, load_mixture
from data.problem import Problem
from eval.evaluate import Settings, evaluate
from eval.sampling.baselines import (
    DIRECT,
    EXTRACT,
    SHOTS,
    STEPS,
    ask_baseline,
    check_baseline,
    clean_answer,
    majority,
    vote,
)
from eval.sampling.candidate import Candidate, load_candidate
from eval.sampling.source import Source, read_source
from train.rollout.interface import Rollout, Sampling

COUNTDOWN = Problem(
    "countdown", "numbers 2 6 6 target 14", "countdown 2 6 6 = 14", {"numbers": [2, 6, 6], "target": 14}
)
SOURCE = Source([], 0, "", 16)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (" 14.", "14"),
        (" (2 + 6) + 6 = 14", "(2 + 6) + 6"),
        (" 2 × 6 − 6 ÷ 2, as asked", "2 * 6 - 6 / 2"),
        (" $1,234$ dollars, or 7", "1234"),
        (" well - I think -5", "-5"),
        (" 2.5 * 4", "2.5 * 4"),
        (" fourteen", ""),
        ("", ""),
    ],
)
def test_the_first_stretch_with_the_form_of_an_answer_counts(said, answer):
    assert clean_answer(said) == answer


@given(st.text())
def test_cleansing_never_invents_and_is_done_once(said):
    cleaned = clean_answer(said)
    assert clean_answer(cleaned) == cleaned
    assert not cleaned or any(character.isdigit() or character == "(" for character in cleaned)


class Spoken:
    """A back end that says what it was told to, and keeps the prompts that it got."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def generate(self, prompts, samples_per_prompt, sampling, on_finished=None):
        self.asked.append((prompts, sampling))
        ids = self.answers.pop(0)
        return [Rollout([*ids, 2], "stop") for _ in range(len(prompts) * samples_per_prompt)]


def spoken(tokenizer, *answers):
    encoded = [tokenizer.encode(text) for text in answers]
    return Candidate("it", tokenizer, (2,), Spoken(*encoded))


def test_step_by_step_asks_twice_and_keeps_the_ids_in_between(tokenizer):
    thought, said = " 2 + 6 = 8", " ( 2 + 6 ) + 6 = 14"
    candidate = spoken(tokenizer, thought, said, thought, said)
    rows = ask_baseline("step-by-step", candidate, [COUNTDOWN], SOURCE, 2, Sampling(16, (2,), seed=1), print)
    (first, drawn), (second, extracted), *_ = candidate.backend.asked
    lead, extract = tokenizer.encode(STEPS), tokenizer.encode(EXTRACT)
    assert first[0][-len(lead) :] == lead
    assert second == [first[0] + tokenizer.encode(thought) + extract] * 2  # the stop token is left out
    assert (drawn.temperature, extracted.temperature) == (1, 0)
    assert [(row["answer"], row["correct"], row["greedy"]) for row in rows] == [
        ("( 2 + 6 ) + 6", True, False),
        ("( 2 + 6 ) + 6", True, False),
        ("( 2 + 6 ) + 6", True, True),
    ]
    assert rows[0]["thinking_tokens"] == len(tokenizer.encode(thought))


def test_direct_asks_for_the_answer_at_once(tokenizer):
    candidate = spoken(tokenizer, " 14", " ( 2 + 6 ) + 6")
    rows = ask_baseline("direct", candidate, [COUNTDOWN], SOURCE, 1, Sampling(16, (2,)), print)
    assert candidate.backend.asked[0][0][0][-len(tokenizer.encode(DIRECT)) :] == tokenizer.encode(DIRECT)
    assert [(row["correct"], row["thinking_tokens"]) for row in rows] == [(False, 0), (True, 0)]


def test_few_shot_shows_right_demonstrations_of_the_same_task(tmp_path, tokenizer):
    (tmp_path / "config.yaml").write_text("tasks: {countdown: {}, arithmetic: {}}")
    source = replace(read_source(tmp_path / "config.yaml"), system_prompt="")
    right = "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
    candidate = spoken(tokenizer, right, right)
    rows = ask_baseline("few-shot", candidate, [COUNTDOWN], source, 1, Sampling(16, (2,)), print)
    shown = tokenizer.decode(candidate.backend.asked[0][0][0])
    turns = shown.split("<|user|>")[1:]
    assert len(turns) == SHOTS + 1
    assert all(turn.startswith("numbers") and "<think>" in turn for turn in turns[:-1])
    assert turns[-1] == f"{COUNTDOWN.prompt}<|assistant|>"
    for turn in turns[:-1]:
        asked, completion = turn.removesuffix("<|end|>").split("<|assistant|>")
        words = asked.split()
        facts = {"numbers": [int(word) for word in words[1:-2]], "target": int(words[-1])}
        assert judge(Problem("countdown", asked, "", facts), completion)[1].correct
    assert all(row["correct"] for row in rows)


def row(answer, correct=False, **other):
    plain = {"problem": "p", "greedy": False, "truncated": False, "format": True, "reason": "", "answer": answer}
    return plain | {"correct": correct} | other


def test_the_answer_given_most_often_is_elected_and_a_tie_goes_to_the_first():
    rows = [row("a"), row("b b", True), row("bb", True), row("c", greedy=True)]
    assert [(each["answer"], each["greedy"]) for each in majority(rows)] == [("b b", False), ("c", True)]
    assert majority([row("a"), row("b", True)])[0]["answer"] == "a"


def test_samples_without_an_answer_do_not_vote():
    silent = [row("a", truncated=True), row("a", format=False), row("none", reason="gave up")]
    assert [vote(each) for each in silent] == [None] * 3
    assert majority([*silent, row("b", True)])[0]["correct"]
    assert not majority(silent)[0]["correct"]


def test_a_model_that_cannot_read_the_prompt_is_refused(tmp_path, checkpoint):
    candidate = load_candidate(str(checkpoint), tmp_path)
    for baseline in ("direct", "step-by-step"):
        with pytest.raises(ValueError, match=f"cannot read the prompt of the baseline {baseline}"):
            check_baseline(baseline, candidate, SOURCE)
    check_baseline("majority", candidate, SOURCE)


def test_few_shot_without_anything_to_show_is_refused(tmp_path, checkpoint):
    primes = Path(__file__).parents[2] / "support" / "own_task.py"
    source = replace(SOURCE, parts=load_mixture({str(primes): {}, "countdown": {}}))
    with pytest.raises(ValueError, match=r"own_task\.py has no demonstrations, and --baseline few-shot shows some"):
        check_baseline("few-shot", load_candidate(str(checkpoint), tmp_path), source)


def test_only_the_first_checkpoint_is_asked_by_the_baseline(tmp_path, checkpoint):
    (tmp_path / "config.yaml").write_text("tasks: {countdown: {}}\nmax_completion_length: 8\n")
    settings = Settings(problems=3, samples=2, max_new_tokens=8, temperatures=(1.0,))
    source = read_source(tmp_path / "config.yaml")
    results = evaluate([str(checkpoint)] * 2, source, settings, tmp_path / "out", baseline="majority")
    assert results["baseline"] == "majority"
    assert [each["measures"]["accuracy"]["count"] for each in results["checkpoints"]] == [3, 6]
    assert results["pairs"][0]["problems"] == 3
