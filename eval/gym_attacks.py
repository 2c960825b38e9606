"""The score of ignorant and of wrong answers in each gym task: the table shows how far a verifier holds.

Five kinds of answers are put to every task. *Restated* ones copy the question: its lines, its blocks, its premises.
*Negated* ones deny the right answer; *padded* ones have more around it; *perturbed* ones change its numbers, its units
or its order. *Constant* ones are the same for every problem: the commonest right answers, `0`, `Yes`, long strings of
moves. A perturbed answer may happen to be right, as where order is free; a constant one where few answers are possible.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from data.problem import Problem
from data.settings import read_settings
from data.task import Task
from data.tasks import gym
from data.tasks.gym_forms import CHECKS, GUARDS
from data.tasks.gym_judges import JUDGES
from data.tasks.gym_logic import right_conclusion

Kind = Literal["restated", "negated", "padded", "perturbed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COMMAND = "python scripts/gym_table.py --attack --output data/tasks/GYM.md"
SHOWN = 24  # characters of an answer in the table
MOST_PIECES = 12  # of a question, said again
UNITS = {"days": "weeks", "°": " rad", "angel": "devil", "knight": "knave", "Yes": "No", "True": "False", "up": "down"}
HEADING = "## Answers that know nothing"
CONSTANTS = (
    *("0", "1", "-1", "2", "Yes", "No", "True", "False", "infeasible", "[]", "{}", "A", "P", "(P ∨ Q)", "(P ∧ Q)"),
    *("A → B → C", "A → A → A", "1.0, -1.0", "R R R R", "R U R' U' " * 6, "A+1 A+2 A+3 A+4", "A+1 B+1 C-1 D-1 A+4"),
)
HOSTILE = (
    *(
        "9" * 4000,
        "9**9**9**9",
        "1e999999999",
        "-1e-99999999",
        "nan",
        "(" * 5000,
        "[" * 5000,
        '{"a":' * 3000,
        "1," * 8000,
    ),
    *("R99 " * 4000, "LRUD" * 4000, "A+1 " * 4000, "¬" * 5000 + "P", "(P ∧ " * 99 + "P" + ")" * 99, "x" * 16000),
    *(
        "((9**99)**99)**99",
        "sin(" * 60 + "x" + ")" * 60,
        "exp(exp(exp(9**99)))",
        "x**x**x**x**x**x",
        "(x+1)**99*(x+2)**99",
    ),
    *(
        "1/3 + " * 500 + "1",
        "2 × " * 3000 + "2",
        "fill A, " * 1500,
        "\n" * 9000 + "1",
        "7 " * 7000,
        "a" * 8000 + "," + "b" * 7000,
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How many problems of each task are asked; of those that take long to draw, fewer."""

    problems: int = 16
    of_slow: int = 4
    seed: int = 0


class AttackRow(TypedDict):
    """How many problems of one task some answer of each kind got right; None where the right answer is not known."""

    task: str
    problems: int
    distinct: int  # right answers
    restated: int | None
    negated: int | None
    padded: int | None
    perturbed: int | None
    examples: dict[str, list[str]]  # of each kind, answers that passed as right, 3 at most
    errors: int  # hostile answers for which the verifier had to be killed
    constant: str  # the best single answer to all problems
    constant_wins: int


SLOW = ("futoshiki", "knight_swap", "sokoban")


def attack_tasks(
    names: list[str], settings: Settings, path: Path, progress: Callable[[str], None] = lambda name: None
) -> list[AttackRow]:
    """A row for each task. Each is written to `path`, a file of JSON lines, as it comes, and never measured again.

    Raises ValueError where that file holds rows of other settings.
    """
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    if any(row.pop("settings") != asdict(settings) for row in rows):
        raise ValueError(f"{path} holds rows of other settings; give the same ones, or another --kept.")
    by_task = {row["task"]: row for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        progress(name)
        if name not in by_task:
            by_task[name] = attack_task(name, settings)
            with path.open("a") as file:
                file.write(json.dumps({"settings": asdict(settings)} | by_task[name]) + "\n")
    return [by_task[name] for name in names]


def attack_task(name: str, settings: Settings) -> AttackRow:
    """Ask one task; the counts are of problems for which some answer of a kind was right."""
    task = gym.task(name)
    problems = drawn(task, settings.of_slow if name in SLOW else settings.problems, settings.seed)
    golds = [right_answer(problem) for problem in problems]
    common = Counter(gold for gold in golds if gold)
    row: AttackRow = {
        "task": name,
        "problems": len(problems),
        "distinct": len(common),
        "examples": {},
        "errors": 0,
        "restated": None,
        "negated": None,
        "padded": None,
        "perturbed": None,
        "constant": "",
        "constant_wins": 0,
    }
    for kind in KINDS:
        answers = [
            list(dict.fromkeys(of_kind(kind, problem, gold))) for problem, gold in zip(problems, golds, strict=True)
        ]
        wins = [right_among(problem, attempts) for problem, attempts in zip(problems, answers, strict=True)]
        row[kind] = sum(map(bool, wins)) if any(answers) else None
        row["examples"][kind] = [winners[0][:200] for winners in wins if winners][:3]
    constants = dict.fromkeys(
        (*(answer for answer, _ in common.most_common(8)), *CONSTANTS, *blind_moves(settings.seed))
    )
    counts = {answer: sum(bool(right_among(problem, [answer])) for problem in problems) for answer in constants}
    row["constant"], row["constant_wins"] = max(counts.items(), key=lambda item: item[1])
    for answer in HOSTILE:
        row["errors"] += task.verify(problems[0], answer).error is not None
    return row


def drawn(task: Task, count: int, seed: int) -> list[Problem]:
    """Problems at the first level of the task's curriculum; at its defaults where it has none, or too few problems."""
    label = task.name.removeprefix(f"{gym.FAMILY}:")
    assert task.draw
    rng = random.Random(f"{seed}|{task.name}")
    problems: dict[str, Problem] = {}
    for level in (gym.first_level(label), gym.first_level(label), {}):
        settings = read_settings(f"tasks.{task.name}", task.settings, level)
        with suppress(ValueError):  # sokoban's generator hangs on some seeds of its first level
            problems |= {problem.canonical: problem for problem in task.draw(rng, settings, count - len(problems))}
        if len(problems) >= count:
            break
    return list(problems.values())


def right_answer(problem: Problem) -> str | None:
    """The stated right answer, or one of our own; None where that takes a search."""
    entry = problem.facts["entry"]
    if entry["answer"] is not None:
        return entry["answer"].strip()
    facts = entry["metadata"]
    match problem.task.removeprefix(f"{gym.FAMILY}:"):
        case "rubiks_cube":
            undone = [f"{move}'" if not move.endswith("'") else move[:-1] for move in facts["scramble_moves"].split()]
            return " ".join(reversed(undone))
        case "propositional_logic":
            return right_conclusion(entry)
        case "graph_color":
            return json.dumps(_colors(facts["puzzle"]))
    return None


def _colors(puzzle: dict[str, Any]) -> dict[str, int]:
    """A coloring, each vertex in turn with the first color that it may have."""
    colors: dict[int, int] = {}
    for vertex in puzzle["vertices"]:
        near = {colors.get(other) for edge in puzzle["edges"] if vertex in edge for other in edge if other != vertex}
        colors[vertex] = next(color for color in puzzle["color_options"] if color not in near)
    return {str(vertex): color for vertex, color in colors.items()}


def right_among(problem: Problem, answers: list[str]) -> list[str]:
    """The answers that the task's verifier accepts."""
    name = problem.task.removeprefix(f"{gym.FAMILY}:")
    requests = [problem.facts | {"do": "score", "name": name, "answer": answer} for answer in answers]
    replies = gym.scoring.ask_all(requests)
    return [answer for answer, reply in zip(answers, replies, strict=True) if (reply.value or {}).get("score") == 1]


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
    yield from (f"{gold} {gold}", f"{gold}\n{gold}", f"{gold} or 0", f"{gold}, 0", f"x {gold}", f"{gold} x", f"{gold}7")
    yield from (
        f"7{gold}",
        f"[{gold}]",
        f"{gold}\n0 0 0",
        f"I guess {gold}?",
        f"{gold} percent",
        f"{gold[:-1]}, 0{gold[-1]}",
    )
    yield from (
        f"{gold} and 0",
        f"any of 0, 1, {gold}",
        f"{gold[:-1]},[0]{gold[-1]}",
        "LR" + gold,
        gold.replace("\n", "\nabc "),
    )


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
        "`eval/gym_attacks.py` says which are asked. *Constant* is the best single answer to all problems: what a "
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
