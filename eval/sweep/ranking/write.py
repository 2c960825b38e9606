"""The files that a sweep ends in: results.json for programs, and best.yaml, the best setting ready to run."""

import json
from dataclasses import asdict
from typing import Any

import yaml

from eval.measures.estimators import Estimate
from eval.sweep.ranking.results import Entry, Results
from eval.sweep.ranking.words import figure, seeds, verdict
from eval.sweep.setup.setting import setting
from eval.sweep.setup.space import show
from train.files.atomic import write_text


def write_results(results: Results) -> None:
    """Write results.json: each trial with its figures, seed by seed, the ranking, and what is within noise."""
    spec = results.spec
    content = {
        "sweep": spec.name,
        "metric": spec.metric,
        "temperatures": list(spec.temperatures),
        "direction": spec.direction,
        "method": spec.method,
        "seeds": list(spec.seeds),
        "validation_problems": results.problems,
        "over": results.over,
        "ranking": [entry.number for entry in results.ranked],
        "within_noise_of_the_first": [entry.number for entry in results.ties],
        "verdict": verdict(results),
        "importances": results.importances.shares,
        "importances_caution": results.importances.caution,
        "trials": [_entry(entry) for entry in sorted((*results.ranked, *results.others), key=lambda e: e.number)],
    }
    write_text(results.folder / "results.json", json.dumps(content, indent=2) + "\n")


def write_best(results: Results) -> None:
    """Write best.yaml, if there is a best: a training config that says what it is, and how sure that is."""
    if not results.ranked:
        return
    best, spec = results.ranked[0], results.spec
    level = figure(spec.metric, best.estimate)
    config = setting(spec.base, spec.set, spec.space, best.trial.params)
    path = results.folder / "best.yaml"
    head = [
        f"Trial {best.number} of the sweep {spec.name}: {show(best.trial.params)}.",
        f"{spec.measured} {level} on {results.problems} validation problems, {seeds(spec)}.",
        *([] if results.over else ["The sweep is not over yet."]),
        *(
            [f"Within noise of it: {', '.join(f'trial {entry.number}' for entry in results.ties)}."]
            if results.ties
            else []
        ),
        f"    accelerate launch -m train --config {path}",
    ]
    text = "".join(f"# {line}\n" for line in head)
    body = yaml.safe_dump({"name": f"{spec.name}-best"} | config, sort_keys=False, allow_unicode=True)
    write_text(path, text + body)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "trial": entry.number,
        "params": entry.trial.params,
        "status": entry.status,
        "pruned_at": entry.trial.pruned_at,
        "estimate": _estimate(entry.estimate),
        "first_minus_this": _estimate(entry.behind),
        "curve": [list(point) for point in entry.curve.items()],
        "seeds": {
            replica.seed: {
                "state": replica.record.state,
                "run": str(replica.folder),
                "estimate": _estimate(replica.estimate),
                "curve": [list(point) for point in replica.curve.items()],
                "attempts": [asdict(attempt) for attempt in replica.record.attempts],
            }
            for replica in entry.replicas
        },
    }


def _estimate(figure: Estimate | None) -> dict[str, Any] | None:
    return None if figure is None else asdict(figure)
