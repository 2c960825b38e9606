import pytest
from scripted import FOURTEEN, SUM, completion, scripted

from eval.measures.sample_measures import rates
from eval.probes.injection import MEASURES, choose_step, inject

RIGHT = "<think> try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"


def measured(tokenizer, reply):
    subject = scripted(tokenizer, reply)
    rows = inject(subject, [completion(subject, FOURTEEN, RIGHT)])
    return {name: figure and figure.value for name, figure in rates(rows, MEASURES).items()}, subject


def test_a_model_that_tries_again_recovers(tokenizer):
    found, _ = measured(tokenizer, lambda _: " vs 14 no try 6 + 6 = 12 , 12 + 2 = 14 vs 14 yes</think> 6 + 6 + 2")
    assert (found["recovery"], found["dropped"], found["passed_over"]) == (1, 1, 0)


def test_a_model_that_passes_the_error_over_does_not_recover_even_where_its_answer_is_right(tokenizer):
    found, _ = measured(tokenizer, lambda _: " vs 14 yes</think> ( 2 + 6 ) + 6")
    assert (found["recovery"], found["dropped"], found["passed_over"]) == (0, 0, 1)


def test_the_step_comes_from_the_right_attempt_and_only_its_value_changes(tokenizer):
    _, subject = measured(tokenizer, lambda _: "")
    before = completion(subject, FOURTEEN, RIGHT)
    step = choose_step(before, 0)
    assert step in before.trace.attempts[-1].steps
    wrong, waiting, kept, kept_waiting = (subject.decode(prompt) for prompt in subject.backend.prompts)
    asked = subject.decode(subject.prompt(FOURTEEN))
    assert kept == asked + RIGHT[: len("<think>") + step.end]
    assert wrong.rsplit(" ", 1)[0] == kept.rsplit(" ", 1)[0] and wrong != kept
    assert (waiting, kept_waiting) == (f"{wrong} wait", f"{kept} wait")


@pytest.mark.parametrize(
    "text",
    [
        "<think> try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no</think> none",
        "<think> try 6 - 2 = 4 , 6 * 4 = 24 vs 14 no</think> ( 2 + 6 ) + 6",  # right, but no attempt is
        "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> none",
    ],
)
def test_nothing_is_injected_where_no_right_attempt_led_to_a_right_answer(tokenizer, text):
    assert choose_step(completion(scripted(tokenizer), FOURTEEN, text), 0) is None


def test_a_redone_step_of_a_calculation_recovers(tokenizer):
    def reply(prompt):
        redo = prompt.split(" ")[-5:]
        return (
            f" vs 0 no {' '.join(redo[:3])} = {35 if redo[2] == '10' else 42} vs 0 yes"
            + (" 35 + 7 = 42 vs 42 yes" if redo[2] == "10" else "")
            + "</think> 42"
        )

    subject = scripted(tokenizer, reply)
    before = completion(subject, SUM, "<think> 25 + 10 = 35 vs 35 yes 35 + 7 = 42 vs 42 yes</think> 42")
    rows = [row for row in inject(subject, [before]) if row["arm"] == "wrong"]
    assert rows[0]["recovered"] and rows[0]["dropped"]


def test_the_step_comes_from_a_right_attempt_that_has_steps(tokenizer):
    stated = "<think> 25 + 10 = 35 vs 35 yes 35 + 7 = 42 vs 42 yes wait so 42</think> 42"
    assert choose_step(completion(scripted(tokenizer), SUM, stated), 0).value in (35, 42)
    assert choose_step(completion(scripted(tokenizer), SUM, "<think> so 42</think> 42"), 0) is None
