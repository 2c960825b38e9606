"""Why the reward of a run rose, stayed flat or fell, from its metrics alone, with the figures and what to try.

The first and the last steps of the run are compared, `WINDOW` of each. A change counts only if it
is larger than the scatter from step to step.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from train.files.recorded_config import read_run_config
from train.files.untrusted import read_metrics

WINDOW = 8  # steps at either end that are compared
FEWEST = 6  # steps that a diagnosis needs
LEAST = 0.02  # a smaller change of accuracy is none
ALL = 0.97  # of the answers right: nothing is left to learn
NONE = 0.02  # of the answers right: nothing is there to reinforce

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ends:
    """The first and the last logged steps of a run, all of them, and its options."""

    config: Row
    first: list[Row]
    last: list[Row]
    rows: list[Row]

    def mean(self, rows: list[Row], name: str) -> float | None:
        """The mean of a metric over steps, None where it was not logged."""
        values = _values(rows, name)
        return fmean(values) if values else None

    def now(self, name: str) -> float:
        """A metric at the end of the run; 0 where it was not logged."""
        return self.mean(self.last, name) or 0.0

    def before(self, name: str) -> float:
        """A metric at the run's beginning; 0 where it was not logged."""
        return self.mean(self.first, name) or 0.0


def diagnose(folder: Path) -> list[str]:
    """What became of the reward in a run folder, and then a line for each likely cause. Empty before the first step.

    Raises ValueError where the folder's files cannot be read.
    """
    config = read_run_config(folder / "config.yaml")
    return explain(config, [row for row in read_metrics(folder / "metrics.jsonl") if row["phase"] == "rl"])


def explain(config: Any, rl_rows: list[Row]) -> list[str]:
    """`diagnose`, from the configuration of a run and its RL metrics."""
    rows = [row for row in rl_rows if _values([row], "reward")]
    if not rows or not isinstance(config, dict):
        return []
    span = min(WINDOW, max(1, len(rows) // 2))
    ends = Ends(config, rows[:span], rows[-span:], rows)
    course, says = _course(ends, [row for row in rl_rows if _values([row], "eval_accuracy")])
    lines = [line for cause in CAUSES for line in cause(ends, course)]
    if course == "flat" and not lines:
        lines = [_unexplained(ends)]
    return [says, *(f"  - {line}" for line in lines)]


def diagnosis(folder: Path) -> str:
    """What to print at the end of a run, in lines; empty where nothing was logged or nothing can be read."""
    try:
        return "\n".join(diagnose(folder))
    except ValueError:
        return ""


def _course(ends: Ends, validated: list[Row]) -> tuple[str, str]:
    """`rose`, `flat`, `fell` or `short`, and a sentence with the figures."""
    chooses = ends.config.get("dynamic_sampling") and len(validated) >= 2
    rows, name, what = (
        (validated, "eval_accuracy", "Accuracy on validation problems")
        if chooses  # the problems of a batch are chosen to be half right, so that its accuracy says nothing
        else (ends.rows, _signal(ends.rows), "Accuracy in training")
    )
    values, steps = _values(rows, name), [row["step"] for row in rows if _values([row], name)]
    if len(values) < FEWEST:
        texts = [f"{values[at]:.1%} at step {steps[at]}" for at in sorted({0, len(values) - 1}) if values]
        count = "One step is" if len(values) == 1 else f"{len(values)} values are"
        return "short", f"{what}: {', '.join(texts) or 'none logged'}. {count} too few to say whether it learns."
    span = min(WINDOW, len(values) // 2)
    means = [fmean(values[at : at + span]) for at in range(len(values) - span + 1)]
    best = max(range(len(means)), key=means.__getitem__)
    change, noise = means[-1] - means[0], _noise(values[:span], values[-span:])
    drop, drop_noise = means[best] - means[-1], 1.5 * _noise(values[best : best + span], values[-span:])
    start = f"{means[0]:.1%} (steps {steps[0]} to {steps[span - 1]})"
    end = f"{means[-1]:.1%} (steps {steps[-span]} to {steps[-1]})"
    if drop > max(drop_noise, 2 * LEAST):
        peak = f"{means[best]:.1%} (steps {steps[best]} to {steps[best + span - 1]})"
        return "fell", f"{what} fell from {peak} to {end}; it began with {start}."
    if change > noise:
        return "rose", f"{what} rose from {start} to {end}."
    return "flat", f"{what} stayed flat: {start}, then {end}; a change below {100 * noise:.1f} points is noise."


def _format(ends: Ends, course: str) -> Iterator[str]:
    share = ends.now("format")
    if share < 0.9 and _values(ends.last, "format") and ends.now("truncated") < 0.7 * (1 - share):
        yield (
            f"Format: {1 - share:.0%} of the answers break the form and score nothing, right or wrong. Try "
            "`system_prompt: task`, a longer cold start, or `rewards: {correct: 1, format: 0.1}`."
        )


def _truncation(ends: Ends, course: str) -> Iterator[str]:
    share = ends.now("truncated")
    if share > 0.1:
        grew = f" (at first {ends.before('truncated'):.0%})" if share > 1.5 * ends.before("truncated") else ""
        masked = ends.config.get("mask_truncated_completions")
        unmasked = ", or `mask_truncated_completions: false`, so that loops cost" if masked else ""
        loops = f"; {ends.now('repetition'):.0%} of what is written repeats itself" if _loops(ends) else ""
        yield (
            f"Truncation: {share:.0%} of the rollouts{grew} are cut off at max_completion_length "
            f"{ends.config.get('max_completion_length')} and score nothing{loops}. Try a longer "
            f"max_completion_length, or the reward `overlong`{unmasked}."
        )


def _repetition(ends: Ends, course: str) -> Iterator[str]:
    if _loops(ends) and ends.now("truncated") <= 0.1:
        yield (
            f"Loops: {ends.now('repetition'):.0%} of the 4-grams of a rollout stood in it before, at first "
            f"{ends.before('repetition'):.0%}. Try a lower learning rate, or go back to an earlier checkpoint."
        )


def _loops(ends: Ends) -> bool:
    return ends.now("repetition") > max(0.2, 1.5 * ends.before("repetition"))


def _all_wrong(ends: Ends, course: str) -> Iterator[str]:
    right = ends.now(_signal(ends.rows))
    if right < NONE:
        yield (
            f"All wrong: {right:.1%} of the answers are right, so almost no group holds one to reinforce (useful "
            f"groups: {ends.now('useful_groups'):.0%}). Try easier settings of the tasks, a cold start that teaches "
            "the skill, more samples (num_generations), or the partial reward `score`."
        )


def _all_right(ends: Ends, course: str) -> Iterator[str]:
    right = ends.now(_signal(ends.rows))
    if right > ALL:
        yield (
            f"All right: {right:.1%} of the answers are right, so groups no longer differ (useful groups: "
            f"{ends.now('useful_groups'):.0%}). Try harder settings of the tasks."
        )


def _useless_groups(ends: Ends, course: str) -> Iterator[str]:
    share, right = ends.now("useful_groups"), ends.now(_signal(ends.rows))
    if share < 0.3 and _values(ends.last, "useful_groups") and NONE <= right <= ALL:
        yield (
            f"Groups: in {1 - share:.0%} of them all samples got the same reward and teach nothing, with {right:.0%} "
            "right over all. Try `dynamic_sampling: true`, more num_generations, or tasks of middling difficulty."
        )


def _entropy(ends: Ends, course: str) -> Iterator[str]:
    began, now = ends.before("entropy"), ends.now("entropy")
    if course not in ("flat", "fell") or not _values(ends.last, "entropy") or ends.now(_signal(ends.rows)) > ALL:
        return
    if now < 0.02 or now < began / 4:
        yield (
            f"Entropy: {now:.3f} nats a token, from {began:.3f}: samples of a problem hardly differ, so nothing new is "
            "tried. Try a lower learning rate, a larger epsilon_high (0.28), or temperature 1 if it is lower."
        )
    elif now > 2 * began and now > 0.3:
        yield (
            f"Entropy: {now:.2f} nats a token, from {began:.2f}: the model is coming apart. Try a lower learning rate, "
            "a lower max_grad_norm, or beta 0.01 to hold it near its start."
        )


def _rate(ends: Ends, course: str) -> Iterator[str]:
    if course == "fell":
        how = _step_length(ends)
        yield f"Rate: steps may be too long ({how}). Go back to the best checkpoint and halve the learning rate."


def _unexplained(ends: Ends) -> str:
    """What to say of a flat run in which nothing keeps answers from scoring, and groups from teaching."""
    before, now = ends.before("entropy"), ends.now("entropy")
    course = f"entropy {before:.2f}, then {now:.2f} nats a token ({_step_length(ends)})"
    if abs(now - before) < 0.1 * before:
        useful = f"{ends.now('useful_groups'):.0%} useful"
        says, advice = f"groups differ ({useful}) and yet the model hardly moves", "a rate two or three times as high"
        return f"Rate: {says}: {course}. Try {advice}, or more steps."
    says = "None of the usual causes shows; the model moves, and not towards right answers"
    return f"{says}: {course}. Read its newest rollouts in report.html, and try more steps, or more problems a step."


def _step_length(ends: Ends) -> str:
    rate = max(_values(ends.rows, "learning_rate"), default=0.0)
    norms, limit = _values(ends.rows, "grad_norm"), float(ends.config.get("max_grad_norm") or 0)
    clipped = sum(norm > limit for norm in norms) / len(norms) if norms and limit else 0.0
    figures = f"highest learning rate {rate:.1e}"
    figures += f", gradient norm {fmean(norms):.2g}" if norms else ""
    return figures + (f", clipped to {limit:g} in {clipped:.0%} of the steps" if clipped else "")


def _faults(ends: Ends, course: str) -> Iterator[str]:
    if ends.now("verifier_errors") > 0.01:
        yield (
            f"Verifier: it failed on {ends.now('verifier_errors'):.1%} of the rollouts, which then score nothing; the "
            "column `error` of rollouts.parquet says why."
        )
    skips = max(_values(ends.rows, "nonfinite_steps"), default=0.0)
    if skips:
        yield f"Numbers: {skips:.0f} steps were not finite and were skipped. Try a lower rate, or float32 weights."


# In the order in which they would be looked for: what keeps answers from scoring, what groups teach, how it learns.
CAUSES: tuple[Callable[[Ends, str], Iterator[str]], ...] = (
    _format, _truncation, _repetition, _all_wrong, _all_right, _useless_groups, _entropy, _rate, _faults,
)  # fmt: skip


def _signal(rows: list[Row]) -> str:
    """The share of right answers alone: a sum with other rewards may rise while fewer are right."""
    return next(
        (name for name in ("rewards/correct/mean", "accuracy") if all(_values([row], name) for row in rows)), "reward"
    )


def _values(rows: list[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows if isinstance(row.get(name), int | float) and math.isfinite(row[name])]


def _noise(first: list[float], last: list[float]) -> float:
    """Two standard errors of the difference of two means, from the scatter within each."""
    spread = [variance(values) / len(values) if len(values) > 1 else 0.0 for values in (first, last)]
    return float(max(LEAST, 2 * sum(spread) ** 0.5))
