import pytest

from data.mathematics.extract import final_answer


@pytest.mark.parametrize(
    "behind",
    [
        ". Wait, let me check: yes, 5",
        ". Correction: none needed.",
        ". Sorry for the long solution.",
        ". Actually, putting 5 in gives 5.",
        ". Hold on to that: it is the answer.",
    ],
)
def test_doubt_that_comes_to_nothing_leaves_the_answer(behind):
    assert final_answer(rf"\boxed{{5}}{behind}") == "5"


@pytest.mark.parametrize(
    "behind",
    [
        ", no, wait, 6",
        ". Wait, 6",
        ". Wait, that is wrong.",
        ". Wait, it should be six.",
        ". Correction: 7",
        ". Sorry, I forgot the sign.",
        ". Actually, it is 6.",
        ". Hold on, let me recompute.",
        ". Oops.",
        ", or rather six",
        ", scratch that",
    ],
)
def test_an_answer_that_is_reconsidered_is_none(behind):
    assert not final_answer(rf"\boxed{{5}}{behind}")


def test_an_answer_without_numbers_is_reconsidered_by_any_doubt():
    assert not final_answer(r"\boxed{x}. Wait, y.")
