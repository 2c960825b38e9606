"""The seven claims, each *supported*, *not supported* or *inconclusive* from the figures that a run's evaluation holds.

A claim names conditions, each a figure with a 95% interval. There are two kinds. A figure that has to lie above a
threshold (0 unless it says otherwise) is

- supported, where the whole interval is above the threshold;
- not supported, where the interval reaches down to the threshold although it is narrow enough (at most SMALLEST on
  either side) to have shown an effect of that size, or where it is wholly below;
- inconclusive, where it reaches down and is wider: there was too little evidence to tell.

A figure that must not lose more than an allowance is

- supported, where it loses no more, and its interval leaves out a loss of SMALLEST;
- not supported, where it loses more, and its interval leaves out no loss at all;
- inconclusive otherwise.

The weakest condition decides: a claim is not supported if any condition is not, else inconclusive if any is or is
missing, else supported. Controls of equal compute, where there are any, are further conditions of the first claim
(`eval.claims.controls`). Conditions compare each model at its own best decoding, so that a change of temperature cannot
meet them. Where the start is not shown to get worse by the hottest temperature tried, its best decoding may be hotter
still, and a gain over it is not called supported (`eval.claims.hotter`), unless the start solves less than SMALLEST at
every temperature. `open` lists what may still change a verdict: hotter temperatures (the claim is not called supported
until they are tried) and a control (the first claim is judged without it). Weaker evidence is shown beside the
conditions and decides nothing. Figures of several seeds are combined first (`eval.measures.seeds`). From three seeds on
a verdict is about the method; with fewer it holds only "in this run".

The evidence is read from JSON files in RUN/evaluation, so that a claim can be judged anew without sampling anything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.claims.conditions import CLAIMS, Claim, Condition, Verdict
from eval.claims.controls import NO_CONTROL, check_controls, control_conditions, control_words
from eval.claims.hotter import may_be_hotter
from eval.measures.seeds import across_seeds
from train.files.recorded_config import read_run_config
from train.files.untrusted import read_json

SEEDS = 3  # runs of other seeds before a claim is about more than these runs
OWN = ("name", "seed", "runs_dir")  # what seeds of one run may differ in
RETAINED = "retained"  # folder in RUN/evaluation: other tasks than the run's own
AGAINST_START = (1, 2)  # claims of the trained model against the start, each at its best decoding
COMMAND = "python scripts/claims.py --run {run}"


def judge_claims(runs: Sequence[Path]) -> dict[str, Any]:
    """The content of `claims.json`. Raises ValueError for runs that are no seeds of one, and unreadable evidence."""
    seeds = check_seeds(runs)
    few = "in this run" if len(runs) == 1 else f"in these {len(runs)} runs"
    scope = f"across {len(seeds)} seeds" if len(seeds) >= SEEDS else few
    controls = list(control_conditions(_compared(runs)))
    claims = [
        _claim(number, claim, runs, scope, controls if number == 1 else ()) for number, claim in enumerate(CLAIMS, 1)
    ]
    return {
        "seeds": seeds,
        "scope": scope,
        "rule": __doc__,
        "headline": headline(claims[0]),
        "claims": claims,
        "words": [words for statements in WORDS for words in statements(runs)],
    }


def headline(claim: dict[str, Any]) -> dict[str, Any]:
    """The difference that RL made: at best decoding, and beside it at temperature 1."""
    (best, *_), (plain, *_) = claim["figures"], claim["beside"]
    return {"best": best["estimate"], "at_temperature_1": plain["estimate"]}


def check_seeds(runs: Sequence[Path]) -> list[int]:
    """The runs' different seeds. Raises ValueError for a seed given twice, and for runs that differ in other ways."""
    configs = [_config(run) for run in runs]
    first = {key: value for key, value in configs[0].items() if key not in OWN}
    for run, config in zip(runs[1:], configs[1:], strict=True):
        for key in sorted(first.keys() | config.keys() - set(OWN)):
            if config.get(key) != first.get(key):
                raise ValueError(
                    f"{runs[0]} and {run} are not seeds of one run: {key} is {first.get(key)!r} and "
                    f"{config.get(key)!r}; judge them one by one."
                )
    seeds = [int(config.get("seed", 0)) for config in configs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"the runs have the seeds {seeds}; a seed that is given twice counts the same luck twice.")
    return seeds


def _evidence(run: Path, name: str) -> dict[str, Any]:
    """The content of RUN/evaluation/`name`.json; empty where the file is not there. Raises ValueError."""
    path = run / "evaluation" / f"{name}.json"
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: evaluate anew.")
    return content


def _compared(runs: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """What each run was compared with at equal compute, by its name."""
    compared = {run: _evidence(run, "controls") for run in runs}
    check_controls(compared)
    return compared


def _control_words(runs: Sequence[Path]) -> Iterator[str]:
    """Remarks on the controls of equal compute."""
    return control_words(_compared(runs))


def _claim(
    number: int,
    claim: Claim,
    runs: Sequence[Path],
    scope: str,
    controls: Sequence[tuple[Condition, Sequence[Path]]],
) -> dict[str, Any]:
    judged = [*((condition, runs) for condition in claim.conditions), *controls]
    figures = [_together(condition, of) for condition, of in judged]
    missing = [
        _why(claim, condition, run) for condition, of in judged for run in of if condition.figure.read(run) is None
    ]
    hotter = may_be_hotter(_train_curves(runs), "start") if number in AGAINST_START else ""
    verdicts = {figure["verdict"] for figure in figures}
    verdict: Verdict = "inconclusive" if missing or hotter or "inconclusive" in verdicts else "supported"
    return {
        "number": number,
        "claim": claim.title,
        "verdict": "not supported" if "not supported" in verdicts else verdict,
        "scope": scope,
        "figures": figures,
        "beside": [_together(condition, runs) for condition in claim.beside],
        "missing": list(dict.fromkeys(missing)),
        "open": [line for line in (hotter, NO_CONTROL if number == 1 and not controls else "") if line],
    }


def _together(condition: Condition, runs: Sequence[Path]) -> dict[str, Any]:
    """The condition's figure over all runs and what it says; null where a run lacks it."""
    estimates = [estimate for run in runs if (estimate := condition.figure.read(run)) is not None]
    estimate = across_seeds(estimates) if len(estimates) == len(runs) else None
    if estimate is not None and condition.above:  # a share; the normal interval of few seeds knows no bounds
        estimate = replace(estimate, low=max(0.0, estimate.low), high=min(1.0, estimate.high))
    return {
        "figure": str(condition.figure),
        "says": condition.says,
        "above": condition.above,
        "allowance": condition.allowance,
        "threshold": condition.threshold,
        "estimate": None if estimate is None else asdict(estimate),
        "seeds": [asdict(one) for one in estimates],
        "verdict": None if estimate is None else condition.judge(estimate),
    }


def _why(claim: Claim, condition: Condition, run: Path) -> str:
    """Why a run has no such figure, or how to get it."""
    if condition.figure.optional:
        name, *_ = condition.figure.keys
        return f"{run.name} was not compared with {name}: give --against {name}=RUN once for each run, in their order."
    if claim.from_scratch and _config(run).get("model") == "scratch":
        return claim.from_scratch
    if condition.figure.path(run).is_file():
        return f"nothing in {run.name} to take it from: {condition.says}."
    return COMMAND.format(run=run)


def _config(run: Path) -> dict[str, Any]:
    if not (run / "config.yaml").is_file():
        raise ValueError(f"{run} is not a run folder: its config.yaml cannot be read.")
    config = read_run_config(run / "config.yaml")
    if not isinstance(config, dict):
        raise ValueError(f"{run / 'config.yaml'} holds no options; expected the configuration that `train` wrote.")
    return config


def _words(runs: Sequence[Path]) -> list[str]:
    """The test-compute curves in words: the base model, measures of budget forcing, crossovers."""
    by_run = {run: _evidence(run, "test-curve") for run in runs}
    if not all(by_run.values()):
        return []
    lines = [curve["note"] for curve in by_run.values() if curve["note"]]
    for stage in by_run[runs[0]]["stages"]:
        control, scaling, performance = (
            100 * fmean(curve["sequential"][stage]["s1"][name] for curve in by_run.values())
            for name in ("control", "scaling", "performance")
        )
        lines.append(
            f"Thinking held to budgets, {stage} model, by the measures of arXiv 2501.19393: control {control:.0f}%, "
            f"scaling {scaling:+.2f} points a token, performance {performance:.1f}%."
        )
    return [*dict.fromkeys(lines), *(f"{run.name}: {curve['crossover']['words']}" for run, curve in by_run.items())]


def _cover_words(runs: Sequence[Path]) -> Iterator[str]:
    """How reliably each stage solves problems, which pass@k hides: Cover@tau (arXiv 2510.08325)."""
    for run in runs:
        if cover := _evidence(run, "test-curve").get("cover"):
            taus = "/".join(f"{100 * point['tau']:.0f}" for point in next(iter(cover.values())))
            shares = ", ".join(
                stage + " " + "/".join(f"{100 * point['cover']['value']:.0f}" for point in points) + "%"
                for stage, points in cover.items()
            )
            yield f"{run.name}: problems solved in at least {taus}% of their samples (Cover@tau): {shares}."


def _drift_words(runs: Sequence[Path]) -> Iterator[str]:
    """How far each trained model is from its start; forgetting grows with it (`eval.measures.drift`)."""
    for run in runs:
        if drift := _evidence(run, "train-curve").get("kl_to_start"):
            yield (
                f"{run.name}: KL divergence from the trained model to the start {drift['value']:.3f} nats a token "
                f"[{drift['low']:.3f}, {drift['high']:.3f}], on its own samples."
            )


def _retained_words(runs: Sequence[Path]) -> Iterator[str]:
    """What each trained model kept of other tasks than its own (`eval.retained`)."""
    for run in runs:
        if results := _evidence(run, f"{RETAINED}/results"):
            before, after = (row["best"]["measures"]["accuracy"]["value"] for row in results["checkpoints"])
            change = results["pairs"][-1]["best"]["measures"]["accuracy"]
            yield (
                f"{run.name}: on other tasks ({', '.join(results['checkpoints'][0]['tasks'])}) accuracy was "
                f"{before:.1%} and is {after:.1%}: {100 * change['value']:+.1f} points "
                f"[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}], each at its best decoding."
            )


def _train_curves(runs: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    return {run: _evidence(run, "train-curve") for run in runs}


def _decoding_words(runs: Sequence[Path]) -> Iterator[str]:
    """Whether the trained model may be better than measured; whether the start is decides a verdict."""
    if hotter := may_be_hotter(_train_curves(runs), "trained"):
        yield hotter


def _forecast_words(runs: Sequence[Path]) -> Iterator[str]:
    """How far each fit on the first half of a run's checkpoints misses the second half."""
    for run in runs:
        if forecast := _evidence(run, "train-curve").get("forecast"):
            misses = ", ".join(
                f"the {name.replace('_', '-')} curve misses by {100 * curve['error']:.1f} points"
                for name, curve in forecast["curves"].items()
            )
            yield (
                f"{run.name}: fitted on the first {forecast['fitted_on']} checkpoints, {misses} on the rest (an "
                f"interval reaches {100 * forecast['noise']:.1f} either side)."
            )


# The remarks below the verdicts, in this order.
WORDS: tuple[Callable[[Sequence[Path]], Iterable[str]], ...] = (
    _words, _decoding_words, _cover_words, _drift_words, _retained_words, _forecast_words, _control_words,
)  # fmt: skip
