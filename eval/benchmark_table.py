"""Benchmark results as Markdown to paste: a row a checkpoint, a column a benchmark, and how each was asked."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.benchmarks import Result
from eval.table import short_names

PLAIN = 2  # checkpoints; with fewer there are no differences to show


def as_markdown(results: Sequence[Result]) -> str:
    """The tables: accuracy with its 95% interval over problems, and below how each benchmark was asked."""
    checkpoints = [row["checkpoint"] for row in results[0].results["checkpoints"]]
    names = short_names(checkpoints)
    header = ["model", *(f"{each.benchmark.title}, avg@{each.benchmark.samples}" for each in results)]
    rows = [
        [name, *(_cell(each.results["checkpoints"][place]) for each in results)] for place, name in enumerate(names)
    ]
    if len(checkpoints) >= PLAIN:
        for place, name in enumerate(names[1:]):
            rows.append([f"{name} − {names[0]}", *(_change(each.results["pairs"][place]) for each in results)])
    lines = _table(header, rows)
    lines += ["", "Percent, with 95% intervals from resampling whole problems; greedy decoding in brackets.", ""]
    lines += _table(
        ["benchmark", "problems", "samples", "temperature", "tokens", "source", "seen in training"],
        [_how(each, names) for each in results],
    )
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return (
        f"{row['accuracy'] * 100:.1f} [{low * 100:.1f}, {high * 100:.1f}] (greedy {row['greedy_accuracy'] * 100:.1f})"
    )


def _change(pair: Mapping[str, Any]) -> str:
    low, high = pair["interval"]
    return f"{pair['difference'] * 100:+.1f} [{low * 100:+.1f}, {high * 100:+.1f}]"


def _how(result: Result, names: Sequence[str]) -> list[str]:
    benchmark, settings = result.benchmark, result.results["settings"]
    problems = settings["problems"]
    part = f"{problems:,}" if problems == benchmark.problems else f"{problems:,} of {benchmark.problems:,}"
    subset = f" {benchmark.subset}" if benchmark.subset else ""
    budget = f"{result.budget:,}" + (" (context)" if result.budget < benchmark.max_new_tokens else "")
    source = f"{benchmark.source}{subset} @ {benchmark.revision[:12]}"
    notes = [_seen(name, count) for name, count in zip(names, result.contamination.values(), strict=True)]
    return [
        benchmark.title,
        part,
        f"{settings['samples']} + 1 greedy",
        f"{settings['temperature']:g}",
        budget,
        source,
        "; ".join(dict.fromkeys(notes)),
    ]


def _seen(name: str, count: int | str | None) -> str:
    if count is None:
        return f"{name}: training set unknown"
    return f"{name}: {count}" if isinstance(count, int) else f"{name}: not checked"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(header)}", *lines[1:]]
