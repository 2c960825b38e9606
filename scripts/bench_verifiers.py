"""Measure how accurate, how fast and how safe the verifiers of mathematics and of code are on this machine.

    python scripts/bench_verifiers.py
    python scripts/bench_verifiers.py --pairs my_pairs.jsonl --json verifiers.json

Accuracy is counted on pairs labelled by hand, one a line: `{"kind": ..., "gold": ..., "answer": ..., "equal": true}`.
False negatives are counted among equal pairs and false positives among the others, for our verifier, for math-verify
alone (with the answer in a box if it has none), and for string comparison of the whole text and of the final answer in
it. Speed is in verdicts a second, without the start of the workers.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.mathematics.extract import final_answer
from data.mixture import judge, load_mixture, side_by_side
from data.problem import Problem
from data.sandbox import jail
from data.tasks import code, math
from data.terminal import CommandLine, count

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [ROOT / "tests" / "data" / "mathematics" / name for name in ("math_pairs.jsonl", "math_pairs_strict.jsonl")]
FUNCTIONS = ROOT / "configs" / "examples" / "functions.jsonl"
# What a model mostly answers, right and wrong: numbers in a box, in a sentence, with a unit, fractions, words, a point.
SIMPLE = [
    ("72", r"So she sold \boxed{72} clips."),
    ("72", r"So she sold \boxed{48} clips."),
    ("18", "She makes $18 every day."),
    ("18", "The answer is $16."),
    (r"\frac{3}{4}", r"\boxed{\dfrac{3}{4}}"),
    (r"\frac{3}{4}", r"\boxed{0.75}"),
    (r"\frac{3}{4}", r"\boxed{\frac{4}{3}}"),
    ("1000", "#### 1,000"),
    ("5", r"$x = \boxed{5}$"),
    (r"\text{Evelyn}", r"\boxed{\text{Carla}}"),
    ("(1, 2)", r"\boxed{(1,2)}"),
    ("12", r"\boxed{12 \text{ apples}}"),
]
HANGS = {
    "power tower": r"\boxed{9^{9^{9^{9}}}}",
    "nested powers": r"\boxed{\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}}",
    "1 MB": "9" * 1_000_000,
    "1 MB of braces": r"\boxed{" + "{" * 1_000_000,
}
MOST_SECONDS = 3.0  # that a hostile answer may take


def by_math_verify(gold: str, answer: str) -> bool:
    """The judgement of math-verify alone."""
    from math_verify import parse, verify

    answer_text = answer if any(sign in answer for sign in ("boxed", "####", "nswer")) else f"\\boxed{{{answer}}}"
    return bool(verify(parse(f"\\boxed{{{gold}}}"), parse(answer_text)))


def by_us(pairs: Sequence[dict[str, Any]]) -> list[bool]:
    """Our judgement of each pair."""
    problems = [Problem("math", "?", "math ?", {"answer": pair["gold"]}) for pair in pairs]
    verdicts = side_by_side(judge, problems, [f"<think>.</think> {pair['answer']}" for pair in pairs])
    return [verdict.correct for _, verdict in verdicts]


def rates(name: str, pairs: Sequence[dict[str, Any]], verdicts: Sequence[bool]) -> dict[str, Any]:
    """A judge's rates of error in either direction."""
    misses = [pair for pair, right in zip(pairs, verdicts, strict=True) if pair["equal"] and not right]
    false_passes = [pair for pair, right in zip(pairs, verdicts, strict=True) if right and not pair["equal"]]
    equal = sum(pair["equal"] for pair in pairs)
    counts = {"judge": name, "false negatives": len(misses), "of equal": equal, "false positives": len(false_passes)}
    return counts | {"of unequal": len(pairs) - equal, "missed": misses, "passed": false_passes}


def speed(problems: Sequence[Problem], completions: Sequence[str], repeats: int) -> float:
    """Verdicts a second, the best of some runs."""

    def seconds() -> float:
        start = time.perf_counter()
        side_by_side(judge, problems, completions)
        return time.perf_counter() - start

    seconds()  # starts the workers
    return len(problems) / min(seconds() for _ in range(repeats))


def simple_speed(count: int = 1_200) -> dict[str, float]:
    """Verdicts a second on simple answers: as training asks, and with every one of them sent to a worker."""
    pairs = [SIMPLE[number % len(SIMPLE)] for number in range(count)]
    problems = [Problem("math", "?", "math ?", {"answer": gold}) for gold, _ in pairs]
    direct = speed(problems, [f"<think>.</think> {answer}" for _, answer in pairs], 3)
    settled = math.settled
    try:
        math.settled = lambda gold, answer: None
        return {"as asked": direct, "in workers": speed(problems, [f"<think>.</think> {a}" for _, a in pairs], 3)}
    finally:
        math.settled = settled


def hang(answer: str) -> dict[str, Any]:
    """How long a hostile answer takes, and how long the next one after it."""
    problem = Problem("math", "?", "math ?", {"answer": r"\sqrt{5}"})
    start = time.perf_counter()
    verdict = math.verify(problem, answer)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    alive = math.verify(problem, r"\boxed{\frac{5}{\sqrt{5}}}").correct
    after = time.perf_counter() - start
    return {"seconds": seconds, "verdict": verdict.error or verdict.reason, "next": after, "lives": alive}


def code_speed(kind: jail.Kind) -> float:
    """Verdicts a second on the example functions, half of them wrong."""
    rows = [json.loads(line) for line in FUNCTIONS.read_text().splitlines()]
    [part] = load_mixture({"code": {"source": str(FUNCTIONS), "sandbox": kind}})
    problems = code.problems(part.settings)["train"]
    solutions = [row["solution"] for row in rows] + [row["solution"].replace("return", "return not") for row in rows]
    return speed(problems * 2, [f"<think>.</think>```python\n{solution}```" for solution in solutions], 2)


def main() -> int:
    """Measure and print; exit code 1 where a promise is broken."""
    parser = CommandLine(__doc__)
    parser.add_argument("--pairs", type=Path, nargs="+", default=PAIRS, help="JSONL files of pairs labelled by hand")
    parser.add_argument("--workers", type=count, default=2, help="processes that judge mathematics")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    pairs = [json.loads(line) for path in arguments.pairs for line in path.read_text().splitlines()]
    math.POOL.workers = arguments.workers

    judges: dict[str, Callable[[], list[bool]]] = {
        "rethink": lambda: by_us(pairs),
        "math-verify alone": lambda: [by_math_verify(pair["gold"], pair["answer"]) for pair in pairs],
        "string match": lambda: [pair["gold"] == pair["answer"] for pair in pairs],
        "string match, found": lambda: [pair["gold"] == final_answer(pair["answer"]) for pair in pairs],
    }
    accuracy = {"pairs": [rates(name, pairs, judge()) for name, judge in judges.items()]}
    print(f"{len(pairs)} pairs{'':14}false negatives   false positives")
    for row in accuracy["pairs"]:
        negatives = f"{row['false negatives']} of {row['of equal']}"
        print(f"{row['judge']:23}{negatives:18}{row['false positives']} of {row['of unequal']}")
    for wrong in ("missed", "passed"):
        for pair in accuracy["pairs"][0][wrong]:
            print(f"  {wrong}: {pair['answer']!r} for {pair['gold']!r}")
    figures: dict[str, Any] = accuracy | {"simple": simple_speed()}
    print(
        f"\nsimple answers, {arguments.workers} workers: {figures['simple']['as asked']:.0f} verdicts/s, "
        f"{figures['simple']['in workers']:.0f} with each of them sent to a worker"
    )
    figures["hangs"] = {name: hang(answer) for name, answer in HANGS.items()}
    for name, row in figures["hangs"].items():
        print(
            f"{name}: {row['seconds']:.2f} s, {row['verdict']}; the next {'in' if row['lives'] else 'NOT in'} "
            f"{row['next']:.2f} s"
        )
    figures["code"] = {}
    kinds: tuple[jail.Kind, ...] = ("bubblewrap", "nsjail")
    for kind in kinds:
        if lacking := jail.fault(kind):
            print(f"code: {kind} {lacking}")
            continue
        code._kind = None
        figures["code"][kind] = code_speed(kind)
        print(f"code in {kind}: {figures['code'][kind]:.1f} verdicts/s")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    all_end = all(row["lives"] and row["seconds"] <= MOST_SECONDS for row in figures["hangs"].values())
    is_good = figures["simple"]["as asked"] >= 500 and all_end
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
