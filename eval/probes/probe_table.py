"""`probes.json` as text, to read at 100 columns: the first checkpoint against each later one."""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from eval.table import WIDTH, Figure, has_figure, short_names, shorten

Shown = dict[str, tuple[str, bool]]  # measures worth a line, each with its words and whether it is a share

SHOWING = {
    "verification": "a verdict",
    "backtracking": "going back",
    "subgoals": "subgoals",
    "new_approach": "a new approach",
    "repetition": "a repeat",
}
CONDITIONAL: Shown = {
    f"{before}{name}{behind}": (words.format(behaviour), True)
    for name, behaviour in SHOWING.items()
    for before, behind, words in (
        ("", "_shown_when_right", "{}, where right"),
        ("", "_shown_when_wrong", "{}, where wrong"),
        ("accuracy_with_", "", "accuracy with {}"),
        ("accuracy_without_", "", "accuracy without {}"),
    )
}
# The sections in order: the stage (`eval.probes.probing.STAGES`), its title, and the measures.
SECTIONS: tuple[tuple[str, str, Shown], ...] = (
    (
        "behaviour",
        "Behaviours, read off every step and attempt",
        {
            "accuracy": ("accuracy", True),
            "first_to_final": ("gain, first attempt to answer", True),
            "incorrect_to_correct": ("i→c, of wrong first attempts", True),
            "correct_to_incorrect": ("c→i, of right first attempts", True),
            "verification": ("verdicts a thinking", False),
            "verdicts_right": ("verdicts that are right", True),
            "wrong_rejected": ("wrong things it rejects", True),
            "right_accepted": ("right things it accepts", True),
            "backtracking": ("going back, times a thinking", False),
            "subgoals": ("subgoals a thinking", False),
            "subgoals_met": ("subgoals met", True),
            "new_approach_after_failure": ("new approach, after a failure", True),
            "new_approach_of_retries": ("new approach, where another attempt follows", True),
            "variation_after_failure": ("variation, after a failure", True),
            "repeat_after_failure": ("repeat, after a failure", True),
            "repeat_of_retries": ("repeat, where another attempt follows", True),
            "stop_after_failure": ("stops, after a failure", True),
        },
    ),
    ("behaviour", "Behaviours, given that the answer is right or wrong", CONDITIONAL),
    (
        "lexical",
        "Behaviours, by words",
        {
            "verification_shown": ("verification", True),
            "backtracking_shown": ("backtracking", True),
            "subgoals_shown": ("subgoals", True),
            "backward_chaining_shown": ("backward chaining", True),
            "accuracy_with_verification": ("accuracy with verification", True),
            "accuracy_without_verification": ("accuracy without it", True),
        },
    ),
    (
        "decomposition",
        "Decomposition",
        {
            "valid_steps": ("valid steps", True),
            "right_steps": ("steps with the right value", True),
            "grounded_steps": ("steps from what is at hand", True),
            "without_error": ("thinkings without an error", True),
            "first_error_depth": ("first error at step", False),
            "accuracy_when_steps_valid": ("accuracy, last attempt valid", True),
            "accuracy_when_steps_invalid": ("accuracy, last attempt not", True),
            **{f"accuracy_{n}_operations": (f"accuracy, {n} operations", True) for n in range(1, 13)},
        },
    ),
    (
        "second_turn",
        "Asked to check (second turn)",
        {
            "accuracy_first": ("Acc@t1", True),
            "accuracy_second": ("Acc@t2", True),
            "difference": ("Δ", True),
            "incorrect_to_correct": ("i→c", True),
            "correct_to_incorrect": ("c→i", True),
            "went_on_when_right": ("went on, where right", True),
            "went_on_when_wrong": ("went on, where wrong", True),
            "reconsidered": ("went on, or another answer", True),
        },
    ),
    (
        "injection",
        "A right step made wrong",
        {
            "recovery": ("recovers", True),
            "recovery_wait": ('recovers, with "wait"', True),
            "dropped": ("drops the wrong step", True),
            "passed_over": ("right, the error passed over", True),
            "right_when_kept": ("control: right, step kept", True),
            "right_when_kept_wait": ('control, with "wait"', True),
        },
    ),
    (
        "faithfulness",
        "Does the answer follow the thinking",
        {
            "own_answer_follows": ("own thinking, followed", True),
            "accuracy_full": ("accuracy, whole thinking", True),
            "accuracy_cut_75": ("accuracy, 75% of it", True),
            "accuracy_cut_50": ("accuracy, 50% of it", True),
            "accuracy_cut_25": ("accuracy, 25% of it", True),
            "accuracy_without_thinking": ("accuracy, none of it", True),
            "area_over_curve": ("answer changed by a cut", True),
            "follows_corrupted": ("altered step, followed", True),
            "same_corrupted": ("altered step, ignored", True),
            "follows_swapped": ("another's thinking, followed", True),
            "same_swapped": ("another's thinking, ignored", True),
        },
    ),
    (
        "monitor",
        "Monitor",
        {
            "flagged": ("flagged", True),
            "flagged_when_right": ("flagged, of right answers", True),
            "verifier_exploit": ("verifier exploit", True),
            "answer_without_work": ("answer without work", True),
            "empty_thinking": ("empty thinking", True),
            "repetition": ("repetition", True),
            "language_drift": ("language drift", True),
        },
    ),
)
PER_TASK = ("behaviour", "second_turn", "injection", "faithfulness")  # stages in which the tasks differ in kind
LABEL_WIDTH = 31
CELL_WIDTH = 22


def render(results: Mapping[str, Any]) -> str:
    """The content of `probes.json`: a block for each later checkpoint, or one for the only checkpoint."""
    checkpoints = results["checkpoints"]
    names = short_names([row["checkpoint"] for row in checkpoints])
    settings = results["settings"]
    lines = [
        f"{settings['problems']} held-out problems, {settings['samples']} samples each at temperature "
        f"{settings['temperature']:g}. Intervals are 95%, from resampling",
        "whole problems; changes are paired by problem, over the problems that both have; * is clear of zero.",
    ]
    pairs = list(zip(results["pairs"], checkpoints[1:], names[1:], strict=True))
    for pair, after, name in pairs or [(None, None, "")]:
        first, second = (shorten(each, CELL_WIDTH - 1) for each in (names[0], name))
        header = f"{'':<{LABEL_WIDTH}}{first:<{CELL_WIDTH}}{second:<{CELL_WIDTH}}"
        lines += ["", (header + ("change" if pair else "")).rstrip()]
        lines += _blocks([checkpoints[0], *([after] if after else [])], pair)
    return "\n".join([*lines, "", *_detectors(results["detectors"])])


def sections(
    stage: str, title: str, measures: Shown, columns: Sequence[Mapping[str, Any]], change: Mapping[str, Any] | None
) -> Iterator[tuple[str, list[list[str]]]]:
    """One of SECTIONS, for all tasks or for each: a heading, and rows of words, a cell for each column, and the change.

    `columns` are checkpoints of `probes.json`, `change` one of its pairs. A section without a figure is left out.
    """
    whole = [column[stage] for column in columns]
    difference: Mapping[str, Any] = change[stage] if change else {"measures": {}, "tasks": {}}
    parts = [(title, whole, difference)]
    if stage in PER_TASK and len(whole[0]["tasks"]) > 1:
        parts = [
            (f"{title}: {task}", [_of_task(column, task) for column in whole], _of_task(difference, task))
            for task in whole[0]["tasks"]
        ]
    for heading, each, changes in parts:
        rows = [
            [
                words,
                *(_cell(column["measures"].get(measure), share) for column in each),
                _change(changes["measures"].get(measure), share),
            ]
            for measure, (words, share) in measures.items()
            if any(has_figure(column["measures"].get(measure)) for column in each)
        ]
        if rows:
            yield heading, rows


def _of_task(figures: Mapping[str, Any], task: str) -> dict[str, Any]:
    return {"measures": figures["tasks"].get(task, {})}


def _blocks(columns: Sequence[Mapping[str, Any]], change: Mapping[str, Any] | None) -> Iterator[str]:
    for section in SECTIONS:
        for heading, rows in sections(*section, columns, change):
            yield heading
            for words, *cells in rows:
                yield f"  {words:<{LABEL_WIDTH - 2}}{''.join(f'{cell:<{CELL_WIDTH}}' for cell in cells)}".rstrip()


def _cell(figure: Figure, share: bool) -> str:
    if not has_figure(figure):
        return "     –"
    scale = 100 if share else 1
    value = f"{figure['value'] * scale:.1f}{'%' * share}"
    return f"{value:>6} [{figure['low'] * scale:.1f}, {figure['high'] * scale:.1f}]".replace("-", "−")


def _change(figure: Figure, share: bool) -> str:
    if not has_figure(figure):
        return ""
    scale = 100 if share else 1
    value, low, high = (f"{figure[key] * scale:+.1f}".replace("-", "−") for key in ("value", "low", "high"))
    return f"{value:>6} [{low}, {high}]" + " *" * (figure["low"] > 0 or figure["high"] < 0)


def _detectors(detectors: Mapping[str, Any]) -> Iterator[str]:
    yield "Precision and recall of the detectors, on traces labelled by hand"
    for name, scores in detectors.items():
        rates = [
            f"{label} {score['precision']:.3f}/{score['recall']:.3f}"
            for label, score in scores.items()
            if name != "behaviour" or label == "all"
        ]
        yield from wrap(f"{name}: {', '.join(rates)}", WIDTH, initial_indent="  ", subsequent_indent="    ")
