"""Which setting a trial gets, and whether it is pruned: Optuna's samplers and pruners, as functions of the trials.

Optuna's proposals depend on which trials happen to be over, and on how many it has proposed before. Here trial n comes
from a fresh study, seeded with n. It holds the results of the trials up to n - at_once, and knows of the later ones
only that they run. So the same trials are proposed whatever finishes first, however many workers there are, and
wherever a sweep was killed.
"""

import hashlib
from collections.abc import Mapping, Sequence

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from eval.sweep.setup.space import Params, grid
from eval.sweep.setup.spec import Spec

PATIENCE, TPE_PATIENCE = 1_000, 20  # draws of settings tried already, after which a search counts as exhausted


def propose(spec: Spec, number: int, claimed: Sequence[Params], over: Sequence[FrozenTrial]) -> Params | None:
    """The setting of trial `number`, different from the `claimed` ones of earlier trials; None where none is left.

    `over` are the finished trials up to number - at_once, with their results. Claimed settings that are not among them
    belong to trials that still run, or may be resumed.
    """
    if spec.method == "grid":
        settings = list(grid(spec.space))
        return settings[number] if number < len(settings) else None
    seed = int.from_bytes(hashlib.blake2b(f"{spec.seed}|{number}".encode(), digest_size=4).digest())
    samplers: list[tuple[BaseSampler, int]] = [(RandomSampler(seed=seed), PATIENCE)]
    if spec.method == "tpe":
        # With few choices it may propose one that was tried again and again: then chance decides.
        samplers.insert(0, (TPESampler(seed=seed, n_startup_trials=spec.startup_trials), TPE_PATIENCE))
    for sampler, patience in samplers:
        study = _study_of(spec, sampler, claimed, over)
        for _ in range(patience):
            params = study.ask({dimension.field: dimension.distribution for dimension in spec.space}).params
            if params not in claimed:  # the same setting again would give the same runs again
                return params
    return None


def _study_of(spec: Spec, sampler: BaseSampler, claimed: Sequence[Params], over: Sequence[FrozenTrial]) -> optuna.Study:
    """A study with the results of the trials that are over; the others it holds as running."""
    study = optuna.create_study(direction=spec.direction, sampler=sampler)
    study.add_trials(over)
    distributions = {dimension.field: dimension.distribution for dimension in spec.space}
    for params in claimed[len(over) :]:
        study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=distributions))
    return study


def pruned_at(spec: Spec, over: Sequence[FrozenTrial], curve: Mapping[int, float]) -> int | None:
    """The first step of the curve at which a trial is given up, compared with ended ones; None where it is not.

    The pruner is led through the earlier trials' curves again, since successive halving marks the rungs on its way.
    """
    if spec.prune is None:
        return None
    pruner: optuna.pruners.BasePruner = optuna.pruners.MedianPruner(
        n_startup_trials=spec.prune.after, n_warmup_steps=spec.prune.from_step
    )
    if spec.prune.method == "asha":
        pruner = optuna.pruners.SuccessiveHalvingPruner(spec.prune.from_step, spec.prune.factor)
    study = optuna.create_study(direction=spec.direction, pruner=pruner)
    for past in over:
        trial = study.ask()
        for step, value in sorted(past.intermediate_values.items()):
            trial.report(value, step)
            trial.should_prune()
        study.tell(trial, past.value if past.state == TrialState.COMPLETE else None, state=past.state)
    if sum(past.state != TrialState.FAIL for past in over) < spec.prune.after:
        return None
    trial = study.ask()
    for step, value in sorted(curve.items()):
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None
