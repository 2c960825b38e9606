import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import FOURTEEN, SUM, completion, scripted

from data.tasks import get_task
from eval.measures.behaviour import MEASURES, describe, events
from eval.measures.sample_measures import changes, rates
from eval.probes.labelled import problem_of, score_behaviour, unmark

SEARCH = (
    "try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no or 6 + 4 = 10 vs 14 no try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no "
    "try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes"
)


def kinds(problem, thinking):
    return [event.kind for event in events(get_task(problem.task).trace(problem, thinking))]


def test_the_parser_agrees_with_the_labels():
    scores = score_behaviour()
    for label, score in scores.items():
        print(f"{label:<16} precision {score.precision:.3f}, recall {score.recall:.3f}, {score.right} right")
    assert scores["all"].right > 1200
    assert scores["all"].precision >= 0.98 and scores["all"].recall >= 0.98
    assert min(score.precision for score in scores.values()) >= 0.95
    assert min(score.recall for score in scores.values()) >= 0.95


def test_a_mark_stands_at_its_place_whatever_the_blanks():
    thinking, labels = unmark("try 2 + 6 = 8{.} , {B}or 1")
    assert thinking == "try 2 + 6 = 8 , or 1"
    assert labels == {("valid step", len("try2+6=8")), ("backtracks", len("try2+6=8,"))}


def test_the_ways_on_after_a_failure_are_told_apart():
    found = kinds(FOURTEEN, SEARCH)
    assert [kind for kind in found if kind in ("new approach", "variation", "repeat")] == [
        "variation",
        "repeat",
        "new approach",
    ]
    assert found.count("backtracks") == 1


def test_a_verdict_is_held_against_the_truth():
    assert "accepts wrong" in kinds(FOURTEEN, "try 2 + 6 = 8 , 8 - 6 = 2 vs 14 yes")
    assert "rejects right" in kinds(FOURTEEN, "try 2 + 6 = 8 , 8 + 6 = 14 vs 14 no")
    assert "accepts wrong" in kinds(SUM, "25 + 17 = 43 vs 43 yes")
    assert "rejects right" in kinds(SUM, "25 + 17 = 42 vs 43 no")


def test_a_subgoal_is_met_where_its_value_is_stated():
    assert "meets subgoal" in kinds(SUM, "for 25 + 17 : 25 + 10 = 35 vs 35 yes 35 + 7 = 42 vs 42 yes")
    assert "misses subgoal" in kinds(SUM, "for 25 + 17 : 25 + 10 = 35 vs 35 yes 35 + 7 = 43 vs 43 yes")


WORDS = ("try or wait vs yes no for so : , = + - * /", "2 6 8 14 25 17 42", "2+6=8 8+6=14")


@given(
    st.lists(st.sampled_from(" ".join(WORDS).split(" "))).map(" ".join),
    st.sampled_from([FOURTEEN, SUM]),
)
def test_every_step_is_valid_or_at_fault(thinking, problem):
    trace = get_task(problem.task).trace(problem, thinking)
    found = kinds(problem, thinking)
    both = sum(not step.correct and not step.grounded for step in trace.steps)
    assert found.count("valid step") + found.count("slip") + found.count("ungrounded step") - both == len(trace.steps)


def rows(tokenizer, *texts):
    subject = scripted(tokenizer)
    return [describe(completion(subject, FOURTEEN, text)) for text in texts]


def test_behaviours_are_measured_by_count_and_given_correctness(tokenizer):
    found = rates(
        rows(
            tokenizer,
            f"<think> {SEARCH}</think> ( 2 + 6 ) + 6",  # right; goes back once, one new approach of three failures
            "<think> try 6 * 2 = 12 , 12 + 6 = 18 vs 14 no</think> none",
        ),
        MEASURES,
    )
    values = {name: None if figure is None else figure.value for name, figure in found.items()}
    assert values["backtracking"] == 1 / 2
    assert (values["backtracking_shown_when_right"], values["backtracking_shown_when_wrong"]) == (1, 0)
    assert (values["accuracy_with_backtracking"], values["accuracy_without_backtracking"]) == (1, 0)
    assert (values["incorrect_to_correct"], values["first_to_final"]) == (1 / 2, 1 / 2)
    assert values["correct_to_incorrect"] is None
    ways = ("new_approach", "variation", "repeat", "stop")
    assert [values[f"{way}_after_failure"] for way in ways] == [pytest.approx(1 / 4)] * 4
    assert values["new_approach_of_retries"] == pytest.approx(1 / 3)  # the fourth failure was the last attempt
    assert values["repeat_of_retries"] == pytest.approx(1 / 3)


def test_what_no_second_look_changed_may_be_a_loss_elsewhere(tokenizer):
    found = rates(rows(tokenizer, "<think> try 6 * 2 = 12 , 12 + 6 = 18 vs 14 no</think> none"), MEASURES)
    for name in ("net_correction", "first_to_final"):
        assert (found[name].value, found[name].low) == (0, -found[name].high) and found[name].high > 0
    assert found["incorrect_to_correct"].low == 0  # a share has nothing below 0


def test_a_change_is_paired_over_the_problems_that_both_have(tokenizer):
    subject = scripted(tokenizer)
    wrong = completion(subject, FOURTEEN, "<think> try 6 * 2 = 12 , 12 + 6 = 18 vs 14 no</think> none")
    right = completion(subject, FOURTEEN, f"<think> {SEARCH}</think> ( 2 + 6 ) + 6")
    other = completion(subject, problem_of("numbers 2 4 4 target 6"), "<think> try 4 + 2 = 6 vs 6 no</think> none")
    change = changes([describe(wrong), describe(other)], [describe(right)], MEASURES)
    assert (change["accuracy"].value, change["accuracy"].count) == (1, 1)
    assert changes([describe(other)], [describe(right)], MEASURES)["accuracy"] is None
