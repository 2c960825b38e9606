"""Whether a propositional conclusion follows from several premises, or only restates one.

reasoning-gym's scorer accepts all that follows: a premise in other words (`¬¬P`, `(P) ∧ (P)`), all premises with ∧
between, a weakened premise (`P ∨ Q` for P). None of them needs a thought. Here a conclusion counts where, written as a
conjunction of clauses, one clause follows from no premise alone; or where it says less than one premise, in fewer
symbols. Some problems allow no such conclusion; then the whole has to follow from no premise alone.

Formulas are truth tables: integers with a bit for each of the 2^n assignments.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from typing import Any

MAX_SYMBOLS = 120
MAX_CLAUSES = 256
LEVELS = ("↔", "→", "∨", "∧")  # from loosest to tightest, as the scorer parses them

Clause = frozenset[tuple[str, bool]]  # literals: a variable, and whether it is true


@dataclass(frozen=True, slots=True)
class Formula:
    """`sign` is one of `LEVELS`, "¬", or "" for a variable, which is then `name`."""

    sign: str
    parts: tuple["Formula", ...] = ()
    name: str = ""

    @property
    def symbols(self) -> int:
        """The number of its variables and signs."""
        return 1 + sum(part.symbols for part in self.parts)


def draws_nothing(answer: str, entry: Mapping[str, Any]) -> str:
    """Why an answer that follows from the premises is no conclusion, or "". ValueError: it is no formula."""
    facts = entry["metadata"]
    premises = [formula(text) for text in facts["premises"]]
    names = sorted(facts["variables"])
    conclusion = formula(answer)
    tables = {premise: table(premise, names) for premise in premises}
    whole, everything = table(conclusion, names), (1 << 2 ** len(names)) - 1
    if whole == everything:
        return "is true whatever the premises are"
    if whole in tables.values():
        return "says a premise again"
    if not _conjunction(tables.values(), everything):
        return "follows from premises that contradict each other, as anything does"
    if _simplifies(conclusion, whole, tables):
        return ""
    if any(_new(table_of_clause(clause, names), tables.values()) for clause in clauses(conclusion)):
        return ""
    if conclusion_exists(tables, names):
        return "says premises again"
    return "" if _new(whole, tables.values()) else "says a premise again, or less"


def no_formula(answer: str, entry: Mapping[str, Any]) -> str:
    """Why the answer is not a formula, or "". The scorer would parse one of any depth."""
    try:
        formula(answer)
    except ValueError as error:
        return str(error)
    return ""


def conclusion_exists(tables: Mapping[Formula, int], names: list[str]) -> bool:
    """Whether some clause of one or two literals follows from the premises, and from none alone; or simplifies one."""
    everything = (1 << 2 ** len(names)) - 1
    together = _conjunction(tables.values(), everything)
    literals = [(name, true) for name, true in product(names, (True, False))]
    for size in (1, 2):
        for pair in combinations(literals, size):
            clause = table_of_clause(frozenset(pair), names)
            if clause != everything and not together & ~clause and _new(clause, tables.values()):
                return True
    return False


def right_conclusion(entry: Mapping[str, Any]) -> str | None:
    """A short formula that is right, or None. The scorer does not accept a variable alone."""
    names = sorted(entry["metadata"]["variables"])
    premises = [table(formula(text), names) for text in entry["metadata"]["premises"]]
    together = _conjunction(premises, (1 << 2 ** len(names)) - 1)
    literals = [sign + name for name in names for sign in ("", "¬")]
    pairs = combinations(literals, 2)
    candidates = literals[1::2] + [f"({one} {sign} {other})" for one, other in pairs for sign in "∨∧"]
    following = (text for text in candidates if not together & ~table(formula(text), names))
    return next((text for text in following if not draws_nothing(text, entry)), None)


def restating_wins(entry: Mapping[str, Any]) -> bool:
    """Whether all premises with ∧ between are a right answer, for example where each is a variable."""
    return not draws_nothing(" ∧ ".join(f"({premise})" for premise in entry["metadata"]["premises"]), entry)


def _simplifies(conclusion: Formula, whole: int, tables: Mapping[Formula, int]) -> bool:
    """Whether it says less than one premise (not the same), in fewer symbols."""
    return any(not truths & ~whole and conclusion.symbols < premise.symbols for premise, truths in tables.items())


def _new(clause: int, tables: Iterable[int]) -> bool:
    """Whether it follows from none of these alone."""
    return all(premise & ~clause for premise in tables)


def _conjunction(tables: Iterable[int], everything: int) -> int:
    for truths in tables:
        everything &= truths
    return everything


def formula(text: str) -> Formula:
    """Read a formula of capital letters, ¬ ∧ ∨ → ↔ and parentheses. Raises ValueError for any other text."""
    tokens = re.findall(r"\S", text)
    if not tokens or len(tokens) > 3 * MAX_SYMBOLS or re.search(r"[^\sA-Z()¬∧∨→↔]", text):
        raise ValueError("no formula")
    formula, rest = _level(tokens, 0)
    if rest or formula.symbols > MAX_SYMBOLS:
        raise ValueError("no formula, or too long")
    return formula


def _level(tokens: list[str], level: int) -> tuple[Formula, list[str]]:
    """Parse operators of this level or tighter; they associate to the left."""
    if level == len(LEVELS):
        return _single(tokens)
    formula, rest = _level(tokens, level + 1)
    while rest and rest[0] == LEVELS[level]:
        right, rest = _level(rest[1:], level + 1)
        formula = Formula(LEVELS[level], (formula, right))
    return formula, rest


def _single(tokens: list[str]) -> tuple[Formula, list[str]]:
    match tokens:
        case ["¬", *rest]:
            formula, rest = _single(rest)
            return Formula("¬", (formula,)), rest
        case ["(", *rest]:
            formula, rest = _level(rest, 0)
            if not rest or rest[0] != ")":
                raise ValueError("a parenthesis is not closed")
            return formula, rest[1:]
        case [name, *rest] if name.isalpha():
            return Formula("", name=name), rest
    raise ValueError("no formula")


def table(formula: Formula, names: list[str]) -> int:
    """The truth table of a formula. Raises ValueError for a variable that is not among `names`."""
    everything = (1 << 2 ** len(names)) - 1
    parts = [table(part, names) for part in formula.parts]
    match formula.sign:
        case "":
            if formula.name not in names:
                raise ValueError(f"{formula.name} is not a variable of the problem")
            return _column(names.index(formula.name), len(names))
        case "¬":
            return everything & ~parts[0]
        case "∧":
            return parts[0] & parts[1]
        case "∨":
            return parts[0] | parts[1]
        case "→":
            return everything & ~parts[0] | parts[1]
    return everything & ~(parts[0] ^ parts[1])


@cache
def _column(place: int, names: int) -> int:
    """The truth table of variable number `place` of `count`."""
    return sum(1 << row for row in range(2**names) if row >> place & 1)


def table_of_clause(clause: Clause, names: list[str]) -> int:
    """The truth table of a disjunction of literals."""
    everything = (1 << 2 ** len(names)) - 1
    union = 0
    for name, true in clause:
        variable = table(Formula("", name=name), names)
        union |= variable if true else everything & ~variable
    return union


def clauses(formula: Formula, true: bool = True) -> set[Clause]:
    """The formula, or its negation, as a conjunction of clauses. Raises ValueError where these are too many."""
    if formula.sign == "":
        return {frozenset([(formula.name, true)])}
    if formula.sign == "¬":
        return clauses(formula.parts[0], not true)
    left, right = formula.parts
    match formula.sign, true:
        case ("∧", True) | ("∨", False):
            return clauses(left, true) | clauses(right, true)
        case ("∨", True) | ("∧", False):
            return _either(clauses(left, true), clauses(right, true))
        case ("→", True):
            return _either(clauses(left, False), clauses(right, True))
        case ("→", False):
            return clauses(left, True) | clauses(right, False)
    return _either(clauses(left, False), clauses(right, true)) | _either(clauses(left, True), clauses(right, not true))


def _either(first: set[Clause], second: set[Clause]) -> set[Clause]:
    if len(first) * len(second) > MAX_CLAUSES:
        raise ValueError(f"a formula of more than {MAX_CLAUSES} clauses")
    return {one | other for one, other in product(first, second)}
