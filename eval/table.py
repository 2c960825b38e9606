"""The evaluation as text: a console table of `results.json`, and the words and number formats the report shares."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from textwrap import wrap
from typing import Any, TypeGuard

Figure = Mapping[str, Any] | None  # an `eval.measures.estimators.Estimate` as JSON: value, low, high, count

# Every measure worth a row: its words, and whether it is a share (shown in percent) or a number.
LABELS: dict[str, tuple[str, bool]] = {
    "accuracy": ("accuracy", True),
    "greedy_accuracy": ("greedy accuracy", True),
    "first_attempt_accuracy": ("first-attempt accuracy", True),
    "incorrect_to_correct": ("i→c, of wrong first attempts", True),
    "correct_to_incorrect": ("c→i, of right first attempts", True),
    "right_by_luck": ("right by luck, of right answers", True),
    "step_accuracy": ("step accuracy", True),
    "repair_rate": ("repair rate, of slips", True),
    "slips": ("slips", False),
    "attempts": ("attempts", False),
    "subgoals": ("subgoals", False),
    "says_verification": ("says that it verifies", True),
    "says_backtracking": ("says that it backtracks", True),
    "says_subgoals": ("says that it sets subgoals", True),
    "says_backward_chaining": ("says that it works backward", True),
    "thinking_tokens": ("thinking tokens", False),
    "answer_tokens": ("answer tokens", False),
    "format": ("right format", True),
    "truncated": ("truncated", True),
    "verifier_errors": ("verifier errors", True),
}
TRACED = tuple(LABELS)[2 : tuple(LABELS).index("subgoals") + 1]  # of thinkings that their task takes apart
SAID = tuple(name for name in LABELS if name.startswith("says_"))  # of all others
WIDTH = 100
LABEL_WIDTH = 31
COLUMN_WIDTH = 22
PER_TASK = (*list(LABELS)[:8], "thinking_tokens")  # the rows of each task; all tasks together have every row
COLUMNS_A_BLOCK = 3  # as many as 100 columns hold


def render(results: Mapping[str, Any]) -> str:
    """The content of `results.json` as a table to read at 100 columns: every checkpoint, every task, every pair."""
    names = short_names([row["checkpoint"] for row in results["checkpoints"]])
    asked_of_all = f"{asked(results['settings'])} Intervals are 95%, from resampling whole problems."
    lines = [*wrap(asked_of_all, WIDTH), ""]
    for first in range(0, len(names), COLUMNS_A_BLOCK):
        block = results["checkpoints"][first : first + COLUMNS_A_BLOCK]
        header = "".join(
            f"{_shorten(name, COLUMN_WIDTH - 2):<{COLUMN_WIDTH}}" for name in names[first : first + COLUMNS_A_BLOCK]
        )
        lines += [f"{'':<{LABEL_WIDTH}}{header}".rstrip()]
        for number, (title, columns) in enumerate(_sections(block)):
            lines += [title, *_rows(columns, PER_TASK if number else LABELS), ""]
    for pair, name in zip(results["pairs"], names[1:], strict=False):
        lines.append(
            f"{name} against {names[0]}, paired by problem: {pair['problems']} problems, {pair['samples']} samples each"
        )
        for number, (title, columns) in enumerate(_sections([pair])):
            lines += [title, *_changes(columns[0], PER_TASK if number else LABELS), ""]
    return "\n".join(lines).rstrip()


def asked(settings: Mapping[str, Any]) -> str:
    """What was asked of every checkpoint, as one sentence."""
    samples = "one sample" if settings["samples"] == 1 else f"{settings['samples']} samples"
    return (
        f"{settings['problems']} held-out problems ({settings['split']} split), {samples} each at temperature "
        f"{settings['temperature']:g} and one greedy, at most {settings['max_new_tokens']} tokens."
    )


def short_names(checkpoints: Sequence[str]) -> list[str]:
    """The last part of each path, with the run's name before it where the last part alone is not enough."""
    paths = [
        [part for part in PurePath(name).parts if part not in ("/", "checkpoints")] or [name] for name in checkpoints
    ]
    longest = max((len(parts) for parts in paths), default=1)
    for count in range(1, longest + 1):
        short = ["/".join(parts[-count:]) for parts in paths]
        if len(set(short)) == len(set(checkpoints)):
            return short
    return list(checkpoints)


def show(measure: str, figure: Figure) -> str:
    """A figure: `31.2%`, `48.3`, or a dash where there is none."""
    return _value(measure, figure["value"]) if known(figure) else "–"


def show_interval(measure: str, figure: Figure) -> str:
    """Its interval: `[28.1, 34.5]`, in the figure's own unit; empty where there is none."""
    if not known(figure):
        return ""
    scale = 100 if LABELS[measure][1] else 1
    return f"[{figure['low'] * scale:.1f}, {figure['high'] * scale:.1f}]"


def show_change(measure: str, figure: Figure) -> str:
    """A difference with its sign: `+20.8 points`, or `+3.1` of what is no share."""
    if not known(figure):
        return "–"
    return f"{_signed(measure, figure['value'])} points" if LABELS[measure][1] else _signed(measure, figure["value"])


def show_change_interval(measure: str, figure: Figure) -> str:
    """Its interval: `+18.1 to +23.6`; empty where there is none."""
    if not known(figure):
        return ""
    return f"{_signed(measure, figure['low'])} to {_signed(measure, figure['high'])}"


def clear(figure: Figure) -> bool:
    """Whether the interval of a difference leaves zero out."""
    return known(figure) and (figure["low"] > 0 or figure["high"] < 0)


def given(measures: Iterable[str], columns: Sequence[Mapping[str, Figure]]) -> list[str]:
    """The measures that the columns can have: a thinking is either taken apart, or known by its words."""
    left_out: set[str] = set()
    for always_there, group in (("attempts", TRACED), ("says_verification", SAID)):
        if not any(known(column.get(always_there)) for column in columns):
            left_out.update(group)
    return [measure for measure in measures if measure not in left_out]


def known(figure: Figure) -> TypeGuard[Mapping[str, Any]]:
    """Whether there is a figure: a rate of nothing, or an interval that no resample could give, is none."""
    return figure is not None and all(math.isfinite(figure[key]) for key in ("value", "low", "high"))


def _value(measure: str, value: float) -> str:
    return f"{value * 100:.1f}%" if LABELS[measure][1] else f"{value:.1f}"


def _signed(measure: str, value: float) -> str:
    scaled = value * 100 if LABELS[measure][1] else value
    # A bound just off zero keeps a second digit, so that what is clear of zero does not seem to touch it.
    shown = next((text for digits in (1, 2) if float(text := f"{scaled:+.{digits}f}")), "0.0")
    return shown.replace("-", "−")


def _sections(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """All tasks together, then each where there are several: a title, and each row's measures."""
    tasks = list(rows[0]["tasks"])
    sections = [("all tasks" if len(tasks) > 1 else tasks[0], [row["measures"] for row in rows])]
    if len(tasks) > 1:
        sections += [(task, [row["tasks"][task] for row in rows]) for task in tasks]
    return sections


def _rows(columns: Sequence[Mapping[str, Figure]], measures: Iterable[str]) -> list[str]:
    lines = []
    for measure in given(measures, columns):
        figures = [column.get(measure) for column in columns]
        cells = [f"{show(measure, figure):>7} {show_interval(measure, figure)}" for figure in figures]
        lines.append(
            f"  {LABELS[measure][0]:<{LABEL_WIDTH - 2}}" + "".join(f"{cell:<{COLUMN_WIDTH}}" for cell in cells).rstrip()
        )
    return lines


def _changes(column: Mapping[str, Figure], measures: Iterable[str]) -> list[str]:
    lines = []
    for measure in given(measures, [column]):
        figure = column.get(measure)
        line = f"  {LABELS[measure][0]:<{LABEL_WIDTH - 2}}{show_change(measure, figure):>13}"
        if known(figure):
            line += f"  [{show_change_interval(measure, figure)}]".ljust(26) + noise_word(figure)
        lines.append(line)
    return lines


def noise_word(figure: Figure) -> str:
    """What a difference's interval says, in words."""
    return "clear of zero" if clear(figure) else "within noise"


def _shorten(name: str, width: int) -> str:
    return name if len(name) <= width else f"…{name[-(width - 1) :]}"
