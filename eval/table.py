"""The evaluation as text: a console table of `results.json`, and the words and number formats the report shares."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from textwrap import wrap
from typing import Any, TypeGuard

from eval.measures.sample_measures import SAMPLE_MEASURES

Figure = Mapping[str, Any] | None  # an `eval.measures.estimators.Estimate` as JSON: value, low, high, count

TRACED, SAID = (
    tuple(name for name, measure in SAMPLE_MEASURES.items() if measure.kind == kind) for kind in ("traced", "said")
)
WIDTH = 100
LABEL_WIDTH = 31
COLUMN_WIDTH = 22
PER_TASK = tuple(name for name, measure in SAMPLE_MEASURES.items() if measure.per_task)  # the rows of each task
COLUMNS_A_BLOCK = 3  # as many as 100 columns hold


def render(results: Mapping[str, Any]) -> str:
    """The content of `results.json` as a table to read at 100 columns: every checkpoint, every task, every pair."""
    names = short_names([row["checkpoint"] for row in results["checkpoints"]])
    settings = results["settings"]
    intervals = "Intervals are 95%, from resampling whole problems."
    lines = [*wrap(f"{sampling_sentence(settings)} {decoding_sentence(settings)} {intervals}", WIDTH)]
    for first in range(0, len(names), COLUMNS_A_BLOCK):
        block = results["checkpoints"][first : first + COLUMNS_A_BLOCK]
        header = "".join(
            f"{shorten(name, COLUMN_WIDTH - 2):<{COLUMN_WIDTH}}" for name in names[first : first + COLUMNS_A_BLOCK]
        )
        lines += ["", f"{'':<{LABEL_WIDTH}}{header}".rstrip(), *_best(block), ""]
        for number, (title, columns) in enumerate(_sections(block)):
            lines += [f"{title}, {at(settings)}", *_rows(columns, PER_TASK if number else SAMPLE_MEASURES), ""]
    for pair, name in zip(results["pairs"], names[1:], strict=False):
        lines.append(
            f"{name} against {names[0]}, paired by problem: {pair['problems']} problems, {pair['samples']} samples each"
        )
        lines += [*_best_changes(pair), ""]
        for number, (title, columns) in enumerate(_sections([pair])):
            lines += [f"{title}, {at(settings)}", *_changes(columns[0], PER_TASK if number else SAMPLE_MEASURES), ""]
    return "\n".join(lines).rstrip()


def at(settings: Mapping[str, Any]) -> str:
    """The decoding at which every measure but the best accuracy is taken."""
    return f"at temperature {settings['temperature']:g}"


def decoding(temperature: float) -> str:
    """A decoding in words: `greedy`, or `temperature 0.6`."""
    return f"temperature {temperature:g}" if temperature else "greedy"


def beside_best(best: Mapping[str, Any], plain: Mapping[str, Any]) -> str:
    """The end of a sentence on the change at temperature 1, beside that at best decoding."""
    return (
        "; the excess is an effect of temperature."
        if plain["value"] > best["value"]
        else ", not more than at best decoding."
    )


def decoding_sentence(settings: Mapping[str, Any]) -> str:
    """How each checkpoint's best decoding was chosen, as one sentence."""
    if len(settings["temperatures"]) == 1:
        return f"Every checkpoint is decoded at one setting, {decoding(settings['temperatures'][0])}."
    grid = ", ".join("greedy" if not t else f"{t:g}" for t in settings["temperatures"])
    return f"The best decoding of each is chosen among {grid} on other held-out problems."


def _best(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each checkpoint's best decoding, and its accuracy there, of all tasks and of each."""
    cells = "".join(f"  {decoding(column['best_temperature']):<{COLUMN_WIDTH - 2}}" for column in columns).rstrip()
    lines = ["each at its best decoding", f"  {'decoding':<{LABEL_WIDTH - 2}}{cells}"]
    sections = [("accuracy", [column["best"]["measures"] for column in columns])]
    tasks = list(columns[0]["best"]["tasks"])
    if len(tasks) > 1:
        sections += [(f"accuracy, {task}", [column["best"]["tasks"][task] for column in columns]) for task in tasks]
    return lines + [
        _row(title, "accuracy", [each.get("accuracy") for each in measures]) for title, measures in sections
    ]


def _best_changes(pair: Mapping[str, Any]) -> list[str]:
    """The difference that counts: each at its best decoding."""
    lines = [f"each at its best decoding: {' against '.join(map(decoding, reversed(pair['best_temperatures'])))}"]
    lines.append(_change("accuracy", "accuracy", pair["best"]["measures"].get("accuracy")))
    tasks = pair["best"]["tasks"]
    if len(tasks) > 1:
        lines += [_change(f"accuracy, {task}", "accuracy", tasks[task].get("accuracy")) for task in tasks]
    return lines


def problems(settings: Mapping[str, Any]) -> str:
    """The number of problems, and which they are: `400 held-out problems after the first 400`."""
    after = f" after the first {settings['skip']}" if settings.get("skip") else ""
    return f"{settings['problems']} held-out problems{after}"


def sampling_sentence(settings: Mapping[str, Any]) -> str:
    """The settings of every checkpoint's samples, as one sentence."""
    samples = "one sample" if settings["samples"] == 1 else f"{settings['samples']} samples"
    return (
        f"{problems(settings)} ({settings['split']} split), {samples} each at temperature "
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


def label(measure: str) -> str:
    """A measure in words."""
    return SAMPLE_MEASURES[measure].label


def show(measure: str, figure: Figure) -> str:
    """A figure: `31.2%`, `48.3`, or a dash where there is none."""
    return _value(measure, figure["value"]) if has_figure(figure) else "–"


def show_interval(measure: str, figure: Figure) -> str:
    """Its interval: `[28.1, 34.5]`, in the figure's own unit; empty where there is none."""
    if not has_figure(figure):
        return ""
    scale = 100 if SAMPLE_MEASURES[measure].share else 1
    return f"[{figure['low'] * scale:.1f}, {figure['high'] * scale:.1f}]"


def show_change(measure: str, figure: Figure) -> str:
    """A difference with its sign: `+20.8 points`, or `+3.1` of what is no share."""
    if not has_figure(figure):
        return "–"
    return _signed(measure, figure["value"]) + (" points" if SAMPLE_MEASURES[measure].share else "")


def show_change_interval(measure: str, figure: Figure) -> str:
    """Its interval: `+18.1 to +23.6`; empty where there is none."""
    if not has_figure(figure):
        return ""
    return f"{_signed(measure, figure['low'])} to {_signed(measure, figure['high'])}"


def clear(figure: Figure) -> bool:
    """Whether the interval of a difference leaves zero out."""
    return has_figure(figure) and (figure["low"] > 0 or figure["high"] < 0)


def measures_present(measures: Iterable[str], columns: Sequence[Mapping[str, Figure]]) -> list[str]:
    """The measures that the columns can have: a thinking is either parsed, or known by its words."""
    left_out: set[str] = set()
    for always_there, group in (("attempts", TRACED), ("says_verification", SAID)):
        if not any(has_figure(column.get(always_there)) for column in columns):
            left_out.update(group)
    return [measure for measure in measures if measure not in left_out]


def has_figure(figure: Figure) -> TypeGuard[Mapping[str, Any]]:
    """Whether there is a figure: a rate of nothing, or an interval that no resample could give, is none."""
    return figure is not None and all(math.isfinite(figure[key]) for key in ("value", "low", "high"))


def _value(measure: str, value: float) -> str:
    return f"{value * 100:.1f}%" if SAMPLE_MEASURES[measure].share else f"{value:.1f}"


def _signed(measure: str, value: float) -> str:
    number = value * 100 if SAMPLE_MEASURES[measure].share else value
    # A bound just off zero keeps a second digit, so that what is clear of zero does not seem to touch it.
    signed = next((text for digits in (1, 2) if float(text := f"{number:+.{digits}f}")), "0.0")
    return signed.replace("-", "−")


def _sections(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """All tasks together, then each where there are several: a title, and each row's measures."""
    tasks = list(rows[0]["tasks"])
    sections = [("all tasks" if len(tasks) > 1 else tasks[0], [row["measures"] for row in rows])]
    if len(tasks) > 1:
        sections += [(task, [row["tasks"][task] for row in rows]) for task in tasks]
    return sections


def _rows(columns: Sequence[Mapping[str, Figure]], measures: Iterable[str]) -> list[str]:
    return [
        _row(label(measure), measure, [column.get(measure) for column in columns])
        for measure in measures_present(measures, columns)
    ]


def _row(title: str, measure: str, figures: Sequence[Figure]) -> str:
    cells = [f"{show(measure, figure):>7} {show_interval(measure, figure)}" for figure in figures]
    return f"  {title:<{LABEL_WIDTH - 2}}" + "".join(f"{cell:<{COLUMN_WIDTH}}" for cell in cells).rstrip()


def _changes(column: Mapping[str, Figure], measures: Iterable[str]) -> list[str]:
    return [_change(label(measure), measure, column.get(measure)) for measure in measures_present(measures, [column])]


def _change(title: str, measure: str, figure: Figure) -> str:
    line = f"  {title:<{LABEL_WIDTH - 2}}{show_change(measure, figure):>13}"
    if has_figure(figure):
        line += f"  [{show_change_interval(measure, figure)}]".ljust(26) + noise_word(figure)
    return line


def noise_word(figure: Figure) -> str:
    """A difference's interval in words."""
    return "clear of zero" if clear(figure) else "within noise"


def shorten(name: str, width: int) -> str:
    """The end of a name that is too long for its column."""
    return name if len(name) <= width else f"…{name[-(width - 1) :]}"
