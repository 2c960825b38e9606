import pytest
from scripted import FOURTEEN, SUM, completion, scripted

from eval.measures.sample_measures import rates
from eval.probes.decomposition import MEASURES, describe, operations
from eval.probes.labelled import problem_of


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("numbers 2 6 6 target 14", 2), ("compute 25 + 17 - 3 * 4", 3), ("compute 36 * 4", 2), ("compute 345 * 27", 6)],
)
def test_operations_are_counted_by_what_the_problem_asks(prompt, count):
    assert operations(problem_of(prompt)) == count


def test_steps_errors_and_accuracy_given_valid_steps(tokenizer):
    subject = scripted(tokenizer)
    texts = [
        "<think> 25 + 10 = 35 vs 35 yes 35 + 7 = 42 vs 42 yes</think> 42",
        "<think> 25 + 10 = 35 vs 35 yes 35 + 7 = 43 vs 42 no 35 + 7 = 42 vs 42 yes</think> 42",
        "<think> 25 + 10 = 34 vs 34 yes 34 + 7 = 41 vs 41 yes</think> 41",
        "<think> 25 + 10 = 35 vs 35 yes 36 + 7 = 43 vs 43 yes</think> 43",  # right sums, but 36 came from nowhere
    ]
    found = {
        k: v.value for k, v in rates([describe(completion(subject, SUM, t)) for t in texts], MEASURES).items() if v
    }
    assert found["valid_steps"] == 6 / 9
    assert (found["right_steps"], found["grounded_steps"]) == (7 / 9, 8 / 9)
    assert (found["error_at_step_1"], found["error_at_step_2"]) == (1 / 4, 2 / 3)
    assert found["first_error_depth"] == pytest.approx(5 / 3)
    assert (found["accuracy_when_steps_valid"], found["accuracy_when_steps_invalid"]) == (1, 0)
    assert found["accuracy_1_operations"] == 1 / 2
    assert "accuracy_2_operations" not in found


def test_a_thinking_without_steps_has_neither_errors_nor_validity(tokenizer):
    row = describe(completion(scripted(tokenizer), FOURTEEN, "<think> try</think> none"))
    assert (row["steps"], row["first_error"], row["standing_valid"]) == (0, None, None)
