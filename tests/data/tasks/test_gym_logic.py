"""A conclusion is drawn from premises; it does not say them again."""

import pytest

from data.tasks.gym_logic import MAX_SYMBOLS, clauses, draws_nothing, formula, restating_wins, right_conclusion, table


def entry(*premises: str) -> dict:
    names = sorted({letter for premise in premises for letter in premise if letter.isalpha()} | {"P", "Q", "R"})
    return {"answer": None, "metadata": {"variables": names, "premises": list(premises)}}


@pytest.mark.parametrize(
    ("premises", "right", "wrong"),
    [
        (["(P → Q)", "P"], ["(P ∧ Q)", "Q ∧ P", "¬¬Q", "(Q ∧ (P → Q))"],
         ["P", "(P) ∧ (P)", "¬¬P", "¬¬(P → Q)", "(P → Q) ∧ P", "¬(¬(P → Q) ∨ ¬P)", "¬(P → ¬(P → Q))", "(P ∨ R)",
          "((P → Q) ∧ P) ∨ ((P → Q) ∧ P)", "¬P ∨ Q", "P ∨ ¬P", "¬Q → ¬P", "P ∧ (R ∨ ¬R)", "P ∨ (Q ∧ ¬Q)"]),
        (["(P → Q)", "(Q → R)"], ["(P → R)", "¬R → ¬P", "(P → (Q ∧ R))"], ["(P → Q) ∧ (Q → R)", "(P → (Q ∨ R))"]),
        (["((P ∧ Q) ∧ R)"], ["(P ∧ Q)", "¬¬P"], ["((R ∧ Q) ∧ P)", "(P ∧ (Q ∧ R))", "((P ∨ Q) ∨ (R ∨ P))"]),
        (["P", "Q"], ["(P ∧ Q)"], ["(P ∨ Q)", "(P ∧ P)", "¬¬Q"]),
        (["P", "¬P"], [], ["Q", "(P ∧ ¬P)", "(P ∧ Q)"]),
    ],
)  # fmt: skip
def test_what_is_drawn_is_told_from_what_is_said_again(premises, right, wrong):
    assert [text for text in right if draws_nothing(text, entry(*premises))] == []
    assert [text for text in wrong if not draws_nothing(text, entry(*premises))] == []


def test_problems_that_ask_for_no_more_than_their_premises_are_known():
    assert restating_wins(entry("P", "Q")) and restating_wins(entry("(Q ↔ S)", "R", "Q", "S"))
    assert not restating_wins(entry("(P → Q)", "P"))


def test_problems_without_a_conclusion_are_known():
    assert right_conclusion(entry("(P → Q)", "P")) and right_conclusion(entry("P", "Q")) == "(P ∧ Q)"
    assert right_conclusion(entry("P", "P")) is None and right_conclusion(entry("P", "¬P")) is None


def test_clauses_say_what_the_formula_says():
    names = ["P", "Q", "R"]
    for text in ("P ↔ Q", "¬(P ↔ (Q → R))", "¬((P ∨ Q) ∧ ¬R)", "(P → Q) → R", "P ∧ Q ∨ R", "¬(P ∧ ¬(Q ∨ R))"):
        together = (1 << 8) - 1
        for clause in clauses(formula(text)):
            together &= table(formula(" ∨ ".join(("" if true else "¬") + name for name, true in clause)), names)
        assert together == table(formula(text), names), text


@pytest.mark.parametrize(
    "text", ["", "P and Q", "(P", "P)", "P Q", "p", "∧ P", "¬", "P ∧ " * MAX_SYMBOLS + "P", "¬" * 9999 + "P"]
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match=r"formula|parenthesis|too long"):
        formula(text)
