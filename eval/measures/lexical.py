"""Signs of four behaviours in free-form thinking, by the words that give them away; no model judges.

The behaviours are those of Gandhi et al. 2025 (arXiv 2503.01307): verification (checking a result), backtracking
(giving up a line of work that fails), subgoals (setting parts to solve on the way) and backward chaining (reasoning
from the goal to what must come before). A phrase is no proof that the thing was done, or done well: reflection words
also stand in the output of base models, often for show. So read these beside the accuracy where they occur, and beside
the precision and recall that `eval.probes.labelled` measures on traces labelled by hand. Thinkings of the structured
tasks are parsed exactly instead (`eval.measures.behaviour`).
"""

import re
from typing import Literal, cast

from eval.measures.rows import ProblemRow
from eval.measures.sample_measures import Formula, Measures
from eval.sampling.subject import Completion

_I = r"(?:let me|let's|let us|i(?:'ll| will| should| want to| need to)?|we(?:'ll| will| should| need to)?)"
Sign = Literal["verification", "backtracking", "subgoals", "backward_chaining"]
PHRASES: dict[Sign, tuple[str, ...]] = {
    "verification": (
        rf"\b{_I} (?:just |now |quickly )?(?:double[- ]?|re-?)?(?:check|verify|confirm|recount|test|make sure)\b",
        r"(?:^|[.!?:,…] +|\n)(?:quick |sanity |to )*(?:double[- ]?|re-?)?"
        r"(?:check|verify|verification|checking|counting)(?: again| that| by| this)?\b[^.]{0,30}?[:,]",
        r"\bsanity check\b",
        r"\bplug(?:ging)? [^.]{0,30}back in",
        r"\bto verify\b",
        r"\b(?:is|does) (?:that|this|it|\d+) (?:right|correct|reasonable|plausible|work|use|fit|the target)",
        r"\b(?:matches|agrees with|is consistent with) (?:the )?(?:expected|given|right|original)",
        r"\b(?:we|i) need \d+, so (?:that|this)",
        r"\bboth conditions hold\b|\bso (?:it's|that's|it is|that is) (?:plausible|right|correct|consistent)\b",
        r"\b(?:checking|counting|comparing) (?:again|with|against)\b|\b(?:is|was) expected\b",
    ),
    "backtracking": (
        r"(?:^|[.!?…,—-] *|\n)(?:no,? )?wait(?:,|\.| no\b)",
        r"(?:^|[.!?…] *|\n)(?:hold on|oops|nope|on second thought)\b",
        r"\b(?:dead end|scrap (?:that|the)|start(?:ing)? over|start again)\b",
        rf"\b(?:{_I}|so|and|;) (?:go(?:ing)? back|back(?:ing)? up|undo|redo|rethink|reconsider)\b",
        r"(?:^|[.!?…] *|\n)(?:back to|backing up|redo\b)",
        r"\b(?:another|different) (?:approach|idea|combination|way)[:,]? ?(?![a-z]* road)",
        rf"\b{_I} try [^.]{{0,40}}\binstead\b",
        r"\b(?:doesn't|does not|didn't|won't) work\b[^.]{0,10}[.;,] *(?:so|instead|let|i|try)\b",
        rf"\bfixing (?:that|this|it)\b|\b{_I} (?:instead|rather)\b",
        r"\b(?:that's|that is|this is) wrong\b|\b(?:that|this) can't be right\b",
        r"\bi (?:misread|dropped|made an? (?:error|mistake)|forgot)\b",
        r"\bwhat if we\b",
        r"(?:^|[.!?…] *)alternatively, (?:use|try|we|i)\b",
    ),
    "subgoals": (
        r"\bfirst,? (?:i'll|i will|let's|we'll|we need to|find|compute|calculate|determine|get)\b",
        r"\blet me first\b|\b(?:first|intermediate|next) (?:goal|target|part)\b|\bsubgoal\b",
        r"\bstep 1\b",
        rf"\b(?:{_I} )?(?:break|split|divide|breaking|splitting) [^.]{{0,30}}\b(?:down|up|into)\b",
        r"\bseparately\b|\bplan:|\btwo cases\b|\bto begin with\b",
        r"\bwe need (?:two|three|four|several) things\b",
        r"\bi want to (?:reach|make|get) \d+ first\b",
        r"\bbefore [a-z]+ing [^.]{0,40}we need\b",
        r"\bit is enough to show\b",
    ),
    "backward_chaining": (
        r"\bwork(?:ing)? (?:backwards?|from the (?:end|answer|goal|target))\b",
        r"\bstart(?:ing)? (?:from|with) the (?:goal|end|answer|conclusion|target|result)\b",
        r"\brevers(?:e|ing) the (?:process|previous|steps|operations)\b",
        r"\b(?:target|goal|want)\b[^=]{0,30}?\b(\d+)\b[^=]{0,20}(?:\b\1 = |\bequals \d+ [-+*/x])",
        r"\b(\d+) = \d+ [-+*/x] \d+, so (?:if )?(?:i|we)(?:'d)? (?:can|need)\b",
        r"\bmust have (?:been|had)\b|\bjust before that\b|\bit would suffice\b",
        r"\bundoing each step\b",
    ),
}
_COMPILED = {name: [re.compile(phrase, re.IGNORECASE) for phrase in phrases] for name, phrases in PHRASES.items()}


class LexicalRow(ProblemRow):
    """How many signs of each behaviour one completion shows, and whether its answer is right."""

    correct: bool
    verification: int
    backtracking: int
    subgoals: int
    backward_chaining: int


def signs(thinking: str) -> dict[Sign, list[tuple[int, int]]]:
    """Where each behaviour shows, as spans of characters, in order; a behaviour without a sign has an empty list."""
    text = thinking.replace("’", "'")
    return {
        name: sorted({match.span() for pattern in patterns for match in pattern.finditer(text)})
        for name, patterns in _COMPILED.items()
    }


def describe(completion: Completion) -> LexicalRow:
    """One completion's row: how many signs of each behaviour its thinking, or all of an unthinking text, shows."""
    spans = signs(completion.thinking or completion.text)
    problem = completion.problem
    known = {"problem": problem.canonical, "task": problem.task, "correct": completion.correct}
    return cast(LexicalRow, known | {name: len(places) for name, places in spans.items()})


def _shown(name: Sign) -> Formula[LexicalRow]:
    return lambda row: (row[name] > 0, 1)


def _accuracy(name: Sign, present: bool) -> Formula[LexicalRow]:
    return lambda row: (row["correct"] and (row[name] > 0) == present, (row[name] > 0) == present)


MEASURES: Measures[LexicalRow] = {
    "accuracy": lambda row: (row["correct"], 1),
    **{f"{name}_shown": _shown(name) for name in PHRASES},
    **{f"accuracy_with_{name}": _accuracy(name, True) for name in PHRASES},
    **{f"accuracy_without_{name}": _accuracy(name, False) for name in PHRASES},
}
