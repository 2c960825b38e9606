"""Controls of equal compute as conditions of the first claim: RL has to beat each (`eval.curves.equal_compute`).

A control that had too little compute is left out of a run only where RL is clearly ahead of it, since that says nothing
about one of equal compute. One that RL does not beat even so counts all the more. One that had more compute counts too,
and is called that: the verdict is then the harder one.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.claims.conditions import Condition
from eval.claims.figures import control
from eval.curves.equal_compute import ENOUGH

Compared = Mapping[Path, Mapping[str, Any]]  # what controls.json holds, by run; in each the comparisons by their names
NO_CONTROL = "no control of equal compute without RL decides here: give one for each run, such as --against rft=RUN."
KEYS = {"checkpoint", "difference", "enough", "flops", "flops_of_reinforcement", "trained"}  # of each


def check_controls(compared: Compared) -> None:
    """Raise ValueError for a comparison that this version did not write."""
    for run, controls in compared.items():
        for name, figures in controls.items():
            if missing := KEYS - (figures.keys() if isinstance(figures, dict) else set()):
                raise ValueError(
                    f"{run / 'evaluation' / 'controls.json'} has no {', '.join(sorted(missing))} of {name}; it was "
                    f"written by another version: give --against {name}=RUN again."
                )


def control_conditions(compared: Compared) -> Iterator[tuple[Condition, Sequence[Path]]]:
    """A condition for each control, with the runs that it is judged on: those that lack it are among them."""
    for name in dict.fromkeys(name for controls in compared.values() for name in controls):
        runs = [run for run, controls in compared.items() if name not in controls or _decides(run, name, controls)]
        if runs:
            amount = _amount([compared[run][name] for run in runs if name in compared[run]])
            yield Condition(control(name), f"trained minus {name} of {amount} compute, at best decoding"), runs


def control_words(compared: Compared) -> Iterator[str]:
    """Remarks: what each control spent, and whether it is left out."""
    for run, controls in compared.items():
        for name, figures in controls.items():
            share = _share(figures)
            left_out = "" if _decides(run, name, controls) else ", and RL is clearly ahead of it: it decides nothing"
            yield f"{run.name}: {name} ({figures['checkpoint']}) spent {100 * share:.0f}% of RL's FLOPs{left_out}."


def _share(figures: Mapping[str, Any]) -> float:
    return float(figures["flops"] / figures["flops_of_reinforcement"])


def _amount(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """How the compute of a control compares with RL's, over several runs."""
    less = not all(figures["enough"] for figures in comparisons)
    more = any(_share(figures) > 1 / ENOUGH for figures in comparisons)
    return {(False, False): "equal", (True, False): "equal or less", (False, True): "equal or more"}.get(
        (less, more), "less or more"
    )


def _decides(run: Path, name: str, controls: Mapping[str, Any]) -> bool:
    difference = control(name).read(run)
    return controls[name]["enough"] or difference is None or difference.low <= 0
