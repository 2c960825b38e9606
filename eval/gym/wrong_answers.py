"""Answers to a gym problem that are wrong, or that know nothing."""

import json
import random
import re
from collections.abc import Iterator
from typing import Literal, get_args

from data.problem import Problem

Kind = Literal["restated", "negated", "padded", "perturbed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_PIECES = 12  # of a question, said again
UNITS = {"days": "weeks", "°": " rad", "angel": "devil", "knight": "knave", "Yes": "No", "True": "False", "up": "down"}
CONSTANTS = (
    "0", "1", "-1", "2", "Yes", "No", "True", "False", "infeasible", "[]", "{}", "A", "P", "(P ∨ Q)", "(P ∧ Q)",
    "A → B → C", "A → A → A", "1.0, -1.0", "R R R R", "R U R' U' " * 6, "A+1 A+2 A+3 A+4", "A+1 B+1 C-1 D-1 A+4",
)  # fmt: skip
HOSTILE = (
    "9" * 4000, "9**9**9**9", "1e999999999", "-1e-99999999", "nan", "(" * 5000, "[" * 5000, '{"a":' * 3000, "1," * 8000,
    "R99 " * 4000, "LRUD" * 4000, "A+1 " * 4000, "¬" * 5000 + "P", "(P ∧ " * 99 + "P" + ")" * 99, "x" * 16000,
    "((9**99)**99)**99", "sin(" * 60 + "x" + ")" * 60, "exp(exp(exp(9**99)))", "x**x**x**x**x**x",
    "(x+1)**99*(x+2)**99", "1/3 + " * 500 + "1", "2 × " * 3000 + "2", "fill A, " * 1500, "\n" * 9000 + "1", "7 " * 7000,
    "a" * 8000 + "," + "b" * 7000,
)  # fmt: skip


def of_kind(kind: str, problem: Problem, gold: str | None) -> Iterator[str]:
    """The answers of a kind to one problem; none that is the right one itself."""
    answers = {"restated": lambda: restated(problem), "negated": lambda: negated(gold or "")}
    answers |= {"padded": lambda: padded(gold or ""), "perturbed": lambda: perturbed(gold or "")}
    if gold or kind == "restated":
        yield from (answer.strip() for answer in answers[kind]() if answer.strip() and answer.strip() != gold)


def restated(problem: Problem) -> Iterator[str]:
    """Pieces of the question."""
    lines = [re.sub(r"^\.?\d+\.\s*", "", line).strip() for line in problem.prompt.splitlines()]
    blocks = re.split(r"\n\s*\n", problem.prompt)
    yield problem.prompt
    yield from [line for line in lines if line][-MOST_PIECES:]
    yield from blocks[-MOST_PIECES:]
    premises = problem.facts["entry"]["metadata"].get("premises", [])
    for premise in premises:
        yield from (f"({premise}) ∧ ({premise})", f"¬¬({premise})", f"({premise}) ∨ P", f"({premise}) ∨ (P ∧ ¬P)")
    if premises:
        yield " ∧ ".join(f"({premise})" for premise in premises)
        yield "¬(" + " ∨ ".join(f"¬({premise})" for premise in premises) + ")"


def negated(gold: str) -> Iterator[str]:
    """The right answer denied; a zero has no other sign."""
    yield from (f"not {gold}", f"minus {gold}", f"¬({gold})", f"It is not {gold}.", f"no, {gold}")
    if re.search(r"[1-9]", gold) or not re.fullmatch(r"[-\d.]+", gold):
        yield f"-{gold}"


def padded(gold: str) -> Iterator[str]:
    """The right answer, with more before or behind it."""
    yield from (
        f"{gold} {gold}", f"{gold}\n{gold}", f"{gold} or 0", f"{gold}, 0", f"x {gold}", f"{gold} x", f"{gold}7",
        f"7{gold}", f"[{gold}]", f"{gold}\n0 0 0", f"I guess {gold}?", f"{gold} percent", f"{gold[:-1]}, 0{gold[-1]}",
        f"{gold} and 0", f"any of 0, 1, {gold}", f"{gold[:-1]},[0]{gold[-1]}", "LR" + gold,
        gold.replace("\n", "\nabc "),
    )  # fmt: skip


def perturbed(gold: str) -> Iterator[str]:
    """The right answer with a number, a unit or an order changed."""
    numbers = list(re.finditer(r"\d+(?:\.\d+)?", gold))
    for match in numbers[:3] + numbers[-3:]:
        text = match[0]
        for other in (text[:-1] + str((int(text[-1]) + 1) % 10), str(int(text.split(".")[0]) + 1)):
            yield gold[: match.start()] + other + gold[match.end() :]
    if numbers:
        yield re.sub(r"[1-9]\d*(?:\.\d+)?", lambda match: f"{float(match[0][:300]) * 1.009:.4f}", gold)
    for unit, other in UNITS.items():
        yield gold.replace(unit, other)
    words = gold.split(" ")
    if len(words) > 1:
        yield from (" ".join(words[:-1]), " ".join(words[1:]), " ".join([words[1], words[0], *words[2:]]))
    yield from (gold[1:], gold[:-1] + chr(ord(gold[-1]) + 1), "\n".join(gold.splitlines()[:-1]))
    if not re.search(r"\.\d*$|[.°]$", gold):  # a number without its last place is that number rounded
        yield gold[:-1]


def blind_moves(seed: int) -> Iterator[str]:
    """Random strings of moves, and two that try everything."""
    rng = random.Random(f"{seed}|moves")
    for length in (8, 20, 50, 200):
        yield from ("".join(rng.choices("LRUD", k=length)) for _ in range(4))
    yield json.dumps({str(vertex): vertex % 3 + 1 for vertex in range(10)})
    yield json.dumps({str(vertex): vertex % 5 + 1 for vertex in range(8)})
    yield json.dumps(["fill A", "pour A->B", "fill A", "pour A->B", "empty B", "pour A->B", "fill A", "pour A->B"])
