"""Thinking held to budgets, by cutting and going on."""

from dataclasses import replace

import pytest
from scripted import FOURTEEN, chat_tokenizer, scripted

from eval.probes.budget import HABIT, ROOM, Budget, budgets, keep_to, most_draws, rows
from eval.sampling.subject import Subject, ask
from train.model.scratch import build_tokenizer
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling, Thinking

SCRATCH, BYTES = build_tokenizer(), chat_tokenizer()
FREE = "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> 14"


def replies(prompt):
    """A model that thinks FREE, goes on where it is told to wait, and answers where its thinking was closed."""
    if prompt.endswith("</think>"):
        return " none"
    if prompt.rstrip().lower().rstrip(",").endswith("wait"):
        return " or 8 - 6 = 2</think> 2"
    return FREE


def texts(subject, budget, samples=1):
    return [completion.text for completion in keep_to(subject, ask(subject, [FOURTEEN], samples), budget)]


def test_thinking_beyond_the_budget_is_cut_closed_and_answered():
    subject = scripted(SCRATCH, replies)
    assert texts(subject, Budget("", 6)) == ["<think> try 2 + 6 = 8</think> none"]
    assert texts(subject, Budget("", 16)) == [FREE]
    found = rows(subject, keep_to(subject, ask(subject, [FOURTEEN], 2), Budget("", 6)))
    assert [row["thinking_tokens"] for row in found] == [6, 6]


def test_waiting_takes_the_place_of_the_end_as_often_as_it_may():
    subject = scripted(SCRATCH, replies)
    more = " wait or 8 - 6 = 2"
    thinking = FREE.removesuffix("</think> 14")
    assert texts(subject, Budget("", 50, 1)) == [f"{thinking}{more}</think> 2"]
    assert texts(subject, Budget("", 50, 2)) == [f"{thinking}{more}{more}</think> 2"]
    assert texts(subject, Budget("", 20, 2)) == [f"{thinking} wait or 8 - 6</think> none"]  # the budget ends it


def test_tags_of_several_tokens_are_no_hindrance():
    subject = scripted(BYTES, replies)
    (cut,) = texts(subject, Budget("", 12))
    assert cut == "<think> try 2 + 6 =</think> none"
    (longer,) = texts(subject, Budget("", 90, 1))
    assert longer == FREE.replace("</think> 14", "\nWait, or 8 - 6 = 2</think> 2")


@pytest.mark.parametrize("text", ["14", "no thinking at all"])
def test_what_never_began_to_think_stays_as_it_is(text):
    assert texts(scripted(BYTES, lambda _: text), Budget("", 4, 2)) == [text]


def test_greedily_it_writes_what_the_engine_writes_under_its_own_budget(tiny_model, tokenizer):
    open_id, close_id = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    stop = (tokenizer.eos_token_id,)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|><think>'")
    subject = Subject(RolloutEngine(tiny_model), tokenizer, Sampling(16, stop, temperature=0.0))
    problems = [replace(FOURTEEN, prompt=f"numbers 2 6 {number} target 14") for number in range(1, 9)]
    for limit in (3, 9):
        found = keep_to(subject, ask(subject, problems, 1), Budget("", limit))
        held = Thinking(open_id, close_id, budget=limit, closing_ids=(close_id,))
        sampling = Sampling(limit + 1 + ROOM, stop, temperature=0.0, thinking=held)
        expected = subject.backend.generate([subject.prompt(problem) for problem in problems], 1, sampling)
        assert [completion.ids for completion in found] == [rollout.token_ids for rollout in expected]


def test_a_thinking_that_training_would_cut_off_may_go_on():
    def reply(prompt):
        return FREE if prompt.endswith("<|assistant|>") else " , 8 + 6 = 14 vs 14 yes</think> 14"

    subject = scripted(SCRATCH, reply)
    cut = subject.read(FOURTEEN, subject.encode("<think> try 2 + 6 = 8"), ended=False)
    (longer,) = keep_to(subject, [cut], Budget("", 32, more=16))
    assert longer.text == FREE and longer.ended
    (closed,) = keep_to(subject, [longer], Budget("", 32, more=16))
    assert closed.text == FREE  # what ended by itself stays as it is
    assert "</think>" in keep_to(subject, [cut], Budget("", 32))[0].text


def test_thinking_is_not_over_before_its_minimum():
    subject = scripted(SCRATCH, replies)
    free = ask(subject, [FOURTEEN], 1)
    held, unheld = (keep_to(subject, free, Budget("", 50, 1, minimum=least))[0].text for least in (20, 4))
    assert held == FREE.replace("</think> 14", " wait or 8 - 6 = 2</think> 2")
    assert unheld == FREE


def test_budgets_go_beyond_the_longest_completion_and_fit_the_context():
    found = budgets(192, 10_000)
    assert [budget.limit for budget in found] == [12, 24, 48, 96, 192, 384, 768, 384, 384, 384]
    assert [budget.waits for budget in found] == [0, 0, 0, 0, 0, 0, 0, 1, 2, 4]
    assert [budget.more for budget in found][4:8] == [0, 192, 576, 0]
    assert most_draws(found) == 5 + 2 + 2 + 2 + 3 + 5
    assert [budget.limit for budget in budgets(192, 500)][-4:] == [384, 308, 308, 308]
    assert [budget.limit for budget in budgets(192, 200)] == [12, 24, 48, 96, 192]
    assert [budget.limit for budget in budgets(192, 200, habit=40)] == [12, 24, 40, 48, 96, 192]
    assert [(budget.limit, budget.name == HABIT) for budget in budgets(192, 200, habit=24)] == [
        (12, False), (24, True), (48, False), (96, False), (192, False)
    ]  # fmt: skip
