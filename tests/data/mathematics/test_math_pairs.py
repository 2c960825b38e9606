"""Pairs labelled by hand: `math_pairs.jsonl`, and `math_pairs_strict.jsonl`, whose wrong answers are near ones: another
unit, the problem itself in the box, a box taken back; `math_pairs_other.jsonl`, of rarer notations; and
`math_pairs_sets.jsonl`, written as competition sets and small models write, with the ends of whole solutions.

`one_way` marks the pairs that differ when gold and answer change places, as `data.mathematics.value` and `compare` say:
an answer must be a value where the gold is one, its calculations must be true, it may leave out a base, and it may
write 1500 as `1.5k`.
"""

import json
from pathlib import Path

import pytest
from patience import PATIENCE

from data.mathematics.extract import final_answer
from data.mixture import judge, side_by_side
from data.problem import Problem
from data.tasks import math
from data.workers.pool import WorkerPool

FILES = ("math_pairs.jsonl", "math_pairs_strict.jsonl", "math_pairs_other.jsonl", "math_pairs_sets.jsonl")
PAIRS = [json.loads(line) for name in FILES for line in (Path(__file__).parent / name).read_text().splitlines()]
# Labelled by mathematics, and still judged wrong: without its problem, 0.25 does not say that it is money; the others
# are other ways of saying it that are not read.
MISSED = {
    ("0.25", "25 cents"),
    (r"\frac{9}{19}", r"9 \text{ over } 19"),
    (r"25^\circ\text{C}", r"\boxed{298.15 \text{ K}}"),
    (r"\infty", r"\boxed{\text{The limit diverges to infinity}}"),
    ("3:30 PM", r"\boxed{\text{half past three in the afternoon}}"),
    ("72", "So the final result is 72 (48 in April and 24 in May)."),
    ("72", r"\boxed{72\text{ clips (in total)}}"),
    (r"50 \mathrm{~N}", r"\boxed{50\text{ N upward}}"),
    (r"10 \text{ m/s}", r"\boxed{10 \text{ m/s downwards}}"),
    (r"45^\circ", r"\boxed{45^\circ \text{ north of east}}"),
    (r"(0,1)\cup(1,2)", r"\boxed{\{x|0<x<2, x\neq 1\}}"),
    (r"\{x|x<1\}", r"\boxed{\{t|t<1\}}"),
    ("even", r"\boxed{\text{The function is even}}"),
    ("Alice", r"\boxed{\text{Alice wins}}"),
    (r"\frac{dy}{dx}=2x", r"\boxed{y' = 2x}"),
    ("y=Ce^{2x}", r"\boxed{y = A e^{2x}}"),
    ("y=c_1e^x+c_2e^{-x}", r"\boxed{y=C_1e^{-x}+C_2e^{x}}"),
    (r"n \equiv 2 \pmod 5", r"\boxed{n=5k+2}"),
    ("10", r"\boxed{\lim_{x\to 0} f(x) = 10}"),
    ("10", r"\boxed{\max f = 10}"),
    ("10", r"\boxed{\text{total }10}"),
    (r"f(x)=\begin{cases} x & x\ge 0 \\ -x & x<0 \end{cases}", r"\boxed{|x|}"),
    (r"\text{all } x > 2", r"\boxed{x>2}"),
    (r"(n,n^2), n\in\mathbb{N}", r"\boxed{(k,k^2), k\in\mathbb{N}}"),
    ("f(x)=cx", r"\boxed{f(x)=kx}"),
    (r"n \text{ odd}", r"\boxed{n \text{ is odd}}"),
    (r"\text{Monday}", r"\boxed{Mon}"),
}


@pytest.fixture(scope="module", autouse=True)
def patient():
    """A second of the processor is enough for each verdict, however long that takes by the clock on a busy machine."""
    pool = WorkerPool("data.mathematics.service:answer", seconds=1, wall_seconds=PATIENCE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(math, "POOL", pool)
        yield
    pool.close()


@pytest.fixture(scope="module")
def verdicts(patient):
    """The verdict on each pair, asked for as training asks."""
    problems = [Problem("math", "Some number or percentage?", "math ?", {"answer": pair["gold"]}) for pair in PAIRS]
    completions = [f"<think>Hm.</think> {pair['answer']}" for pair in PAIRS]
    return [verdict for _, verdict in side_by_side(judge, problems, completions)]


def test_the_pairs_are_many_and_of_many_kinds():
    assert len(PAIRS) >= 1_500
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


def test_gold_and_answer_may_change_places(verdicts):
    pairs = [
        (pair["gold"], answer, pair.get("one_way", False), verdict.correct)
        for pair, verdict in zip(PAIRS, verdicts, strict=True)
        if "boxed" not in pair["answer"] and (answer := final_answer(pair["answer"]))
    ]
    requests = [{"gold": answer, "answer": gold} for gold, answer, _, _ in pairs]
    replies = math.POOL.ask_all(requests)
    differing = [pair for pair, reply in zip(pairs, replies, strict=True) if (reply.value != pair[3]) != pair[2]]
    assert not differing
