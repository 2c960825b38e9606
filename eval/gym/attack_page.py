"""The section of GYM.md that shows what wrong answers score."""

import json
from collections.abc import Iterator

from data.tasks.gym_forms import CHECKS, GUARDS
from data.tasks.gym_judges import JUDGES
from eval.gym.attacks import SLOW, AttackRow, Settings
from eval.gym.wrong_answers import HOSTILE, KINDS

COMMAND = "python scripts/gym_table.py --attack --output data/tasks/GYM.md"
SHOWN = 24  # characters of an answer in the table
HEADING = "## Answers that know nothing"


def section(rows: list[AttackRow], settings: Settings, note: str = "") -> str:
    """The rows as a section of Markdown, from `HEADING` on, with a note in front of the table."""
    return "\n".join([*_head(rows, settings, note), *map(_line, rows), *_tail()]) + "\n"


def _head(rows: list[AttackRow], settings: Settings, note: str) -> Iterator[str]:
    yield f"{HEADING}\n"
    yield (
        f"Made by `{COMMAND}`; not edited by hand. Each of the {len(rows)} tasks was asked at the first level of its "
        "curriculum, or at its defaults where that gives too few problems (propositional_logic) or its generator hangs "
        f"(sokoban): {settings.problems} problems at most ({settings.of_slow} of {', '.join(SLOW)}), some 80 answers "
        "to each. A number says for how many problems *some* answer of that kind was taken for right; "
        "`eval/gym/wrong_answers.py` says which. *Constant* is the best single answer to all problems: what a "
        "model scores that never reads the question. `-` stands where no right answer is known without a search. "
        f"*Errors* counts, of {len(HOSTILE)} hostile answers (endless numbers, nesting, towers of powers), those that "
        "the verifier had to be stopped on.\n"
    )
    yield (
        "What is left is right, or is the only answer that the problem allows: a constant added to an antiderivative "
        "(padded, perturbed), a number of days without its unit, a power rounded to fewer places, `j` for `i`, another "
        "coloring, another shortest path, another assignment of digits, turns of opposite sides of a cube in another "
        "order, a step aside and back before a way through a sokoban (padded), both premises together where each is a "
        "variable (restated).\n"
    )
    if note:
        yield note
    yield "| task | problems | distinct answers | restated | negated | padded | perturbed | constant | errors |"
    yield "|---|---|---|---|---|---|---|---|---|"


def _line(row: AttackRow) -> str:
    kinds = " | ".join("-" if row[kind] is None else str(row[kind]) for kind in KINDS)
    text = json.dumps(row["constant"], ensure_ascii=False)
    text = (text[:SHOWN] + "…" if len(text) > SHOWN else text).replace("|", "\\|")
    constant = f"{row['constant_wins']} (`{text}`)" if row["constant_wins"] else "0"
    return (
        f"| gym:{row['task']} | {row['problems']} | {row['distinct'] or '-'} | {kinds} | {constant} | {row['errors']} |"
    )


def _tail() -> Iterator[str]:
    yield (
        f"\nJudged by verifiers of our own, since the scorers of reasoning-gym would run or believe a model's answer "
        f"(`data/tasks/gym_judges.py` says which and how): {', '.join(f'gym:{name}' for name in JUDGES)}. In all other "
        f"tasks, what the scorer gives 1 must be in the task's own form besides (`data/tasks/gym_forms.py`): "
        f"{', '.join(f'gym:{name}' for name in CHECKS)} in one of several; the rest to the letter as stated. An answer "
        f"of more than 4 times the right one's characters and 200 more is not read; turns of a cube are bounded before "
        f"they are scored ({', '.join(f'gym:{name}' for name in GUARDS)})."
    )


def section_of(page: str) -> str:
    """The section that a page of Markdown has, or ""."""
    _, heading, rest = page.partition(HEADING)
    return heading + rest.partition("\n## ")[0]


def with_section(page: str, new: str) -> str:
    """A page of Markdown with the section put in the place of the one that it has, or at its end."""
    old = section_of(page)
    return page.replace(old, new) if old else f"{page.rstrip()}\n\n{new}" if new else page
