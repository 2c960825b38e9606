"""How much each searched field matters for being among the best trials: Optuna's PED-ANOVA (Watanabe et al. 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from eval.sweep.setup.spec import Spec

TOP = 5  # the best trials must be at least as many for stable figures, as Optuna's documentation says
SHARE = 0.1  # of all trials that count as the best, where that is more than TOP
ENOUGH = 20  # trials: TOP are a quarter of them; with fewer, nearly all are "the best"
FEWEST = 8  # below it there is nothing to show


@dataclass(frozen=True, slots=True)
class Importances:
    """Shares that sum to 1, largest first, or none; `caution` says what not to read into them."""

    shares: dict[str, float]
    caution: str


def importances(spec: Spec, complete: Sequence[FrozenTrial]) -> Importances:
    """The importance of each field over the trials that are complete."""
    count = len(complete)
    if len(spec.search) < 2:
        return Importances({}, "One field was searched, so it has all the importance there is.")
    if count < FEWEST:
        return Importances({}, f"{count} complete trials are too few for importances to mean anything.")
    # Imported here: it imports scikit-learn where that is installed, a second that few sweeps need.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(direction=spec.direction)
    study.add_trials(complete)
    best = max(SHARE, TOP / count)
    importances = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=best))
    caution = ""
    if count < ENOUGH:
        caution = f"{count} complete trials are too few for this to mean much; from {ENOUGH} on it begins to."
    return Importances(dict(sorted(importances.items(), key=lambda item: -item[1])), caution)
