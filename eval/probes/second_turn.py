"""Second-turn self-correction, as in SCoRe (Kumar et al. 2024, arXiv 2409.12917): asked to check, what does it change?

A chat model gets the instruction of that paper as a second turn, behind its own first completion in ids. A model whose
vocabulary does not spell the instruction, such as a scratch model that has seen one turn and the words of its tasks,
gets its own thinking *reopened* instead: the closing tag and the answer are removed, and it continues from there or
closes again, as it sees fit. That asks only whether it is content; it has no say about an early step that its grammar
never returns to.

Accuracy at the first turn is of the very completions that are asked again: those that ended by themselves.
"""

from collections.abc import Sequence

from eval.measures.rows import ProblemRow
from eval.measures.sample_measures import Measures, Net
from eval.sampling.alter import thinking_ids
from eval.sampling.subject import Completion, Subject, go_on

INSTRUCTION = (
    "There might be an error in the solution above because of lack of understanding of the question. Please correct "
    "the error, if any, and rewrite the solution."
)


class SecondTurnRow(ProblemRow):
    """One completion before a second turn, and after it."""

    first: bool  # right before
    second: bool  # right after
    changed: bool  # the answer
    went_on: bool  # the thinking
    text: str  # of the second turn


def ask_again(subject: Subject, completions: Sequence[Completion]) -> list[SecondTurnRow]:
    """One row for each completion that ended, with its state before the second turn and after.

    There is nothing to reopen in one that did not think and answer.
    """
    in_chat = subject.can_read(INSTRUCTION)
    whole = [completion for completion in completions if completion.ended and (in_chat or completion.answer)]
    second_turn = follow_up(subject) if in_chat and whole else []
    starts = [completion.ids + second_turn if in_chat else thinking_ids(subject, completion) for completion in whole]
    continuations = go_on(subject, zip((completion.problem for completion in whole), starts, strict=True))
    rows: list[SecondTurnRow] = []
    for before, start, after in zip(whole, starts, continuations, strict=True):
        if in_chat:
            after = subject.read(before.problem, after.ids[len(start) :], after.ended)
        rows.append(
            {
                "problem": before.problem.canonical,
                "task": before.problem.task,
                "first": before.correct,
                "second": after.correct,
                "changed": before.answer != after.answer,
                "went_on": after.thinking != before.thinking,
                "text": after.text,
            }
        )
    return rows


def follow_up(subject: Subject) -> list[int]:
    """The ids between a completion, its stop token included, and the second one, as the chat template writes them."""
    conversation = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "(the first completion)"},
        {"role": "user", "content": INSTRUCTION},
    ]
    text = subject.tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    _, _, behind = text.rpartition("(the first completion)")
    return subject.encode(behind.removeprefix(subject.tokenizer.eos_token))


MEASURES: Measures[SecondTurnRow] = {
    "accuracy_first": lambda row: (row["first"], 1),
    "accuracy_second": lambda row: (row["second"], 1),
    "difference": Net[SecondTurnRow](lambda row: (int(row["second"]) - int(row["first"]), 1)),
    "incorrect_to_correct": lambda row: (row["second"] and not row["first"], not row["first"]),
    "correct_to_incorrect": lambda row: (row["first"] and not row["second"], row["first"]),
    "went_on_when_right": lambda row: (row["went_on"] and row["first"], row["first"]),
    "went_on_when_wrong": lambda row: (row["went_on"] and not row["first"], not row["first"]),
    "answer_changed": lambda row: (row["changed"], 1),
    "reconsidered": lambda row: (row["went_on"] or row["changed"], 1),  # the rest can neither gain nor lose
}
