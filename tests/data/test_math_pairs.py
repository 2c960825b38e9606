import json
from pathlib import Path

import pytest

from data.mixture import judge, side_by_side
from data.problem import Problem
from data.tasks import math

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "math_pairs.jsonl").read_text().splitlines()]
# Labelled by mathematics, and still judged wrong: without its problem, 0.25 does not say that it is money; the others
# are ways of saying it in words that are not read.
MISSED = {
    ("0.25", "25 cents"),
    ("36", "Rs. 36"),
    ("36", "The result is 36, not 35."),
    (r"\frac{9}{19}", r"9 \text{ over } 19"),
    (r"\text{Tuesday}", "On Tuesday"),
    ("110_2", r"110_{\text{two}}"),
}


@pytest.fixture(scope="module")
def verdicts():
    """The verdict on each pair, asked for as training asks."""
    problems = [Problem("math", "?", "math ?", {"answer": pair["gold"]}) for pair in PAIRS]
    completions = [f"<think>Hm.</think> {pair['answer']}" for pair in PAIRS]
    found = [verdict for _, verdict in side_by_side(judge, problems, completions)]
    for place, verdict in enumerate(found):  # a busy machine may take longer over one than its time limit
        if verdict.error and "timed out" in verdict.error:
            found[place] = judge(problems[place], completions[place])[1]
    return found


def test_the_pairs_are_many_and_of_many_kinds():
    assert len(PAIRS) >= 300
    assert len({pair["kind"] for pair in PAIRS}) >= 20
    assert 0.4 < sum(pair["equal"] for pair in PAIRS) / len(PAIRS) < 0.7
    assert len({(pair["gold"], pair["answer"]) for pair in PAIRS}) == len(PAIRS)


def test_no_wrong_answer_is_judged_right(verdicts):
    assert not [pair for pair, verdict in zip(PAIRS, verdicts, strict=True) if verdict.correct and not pair["equal"]]


def test_right_answers_are_judged_right_but_for_those_known(verdicts):
    missed = {
        (pair["gold"], pair["answer"])
        for pair, verdict in zip(PAIRS, verdicts, strict=True)
        if pair["equal"] and not verdict.correct
    }
    assert missed == MISSED


def test_no_pair_fails_the_verifier(verdicts):
    assert not [verdict.error for verdict in verdicts if verdict.error]


def test_plain_string_match_would_miss_most_right_answers():
    equal = [pair for pair in PAIRS if pair["equal"]]
    matched = sum(pair["gold"] == pair["answer"] for pair in equal)
    assert matched / len(equal) < 0.25


def test_every_gold_answer_of_the_pairs_can_be_read():
    problems = [Problem("math", "?", "math ?", {"answer": pair["gold"]}) for pair in PAIRS]
    assert not [wrong for wrong in math.unreadable(problems) if wrong]
