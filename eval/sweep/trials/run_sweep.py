"""A sweep from beginning to end: read, check, work, report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eval.sweep.page.sweep_page import write_page
from eval.sweep.ranking.results import Results, collect
from eval.sweep.ranking.write import write_best, write_results
from eval.sweep.setup.check import Machine, ahead
from eval.sweep.setup.folder import going_on, open_folder
from eval.sweep.setup.read import read_spec
from eval.sweep.setup.space import show
from eval.sweep.setup.spec import Spec
from eval.sweep.trials.presence import Presence
from eval.sweep.trials.records import Run
from eval.sweep.trials.trial_launch import Slot, command, show_command
from eval.sweep.trials.work import Command, SweepStopped, open_store, work


def read(path: Path, folder: Path | None = None, workers: int | None = None) -> tuple[Path, Spec]:
    """A sweep's folder and spec: `path` is a YAML file, or the folder of a sweep to go on with. Raises ValueError."""
    spec = read_spec(path)
    place = folder or (path if path.is_dir() else Path("runs") / "sweeps" / spec.name)
    return place, going_on(place, spec if workers is None else replace(spec, workers=workers))


def show_plan(folder: Path, spec: Spec) -> str:
    """The plan of a sweep: its trials as far as they are known, and the command of the first run."""
    points = ahead(spec)[: spec.count if spec.method != "tpe" else spec.startup_trials]
    first = Run(0, spec.seeds[0], folder / "trials" / "000" / f"seed-{spec.seeds[0]}")
    slot = Slot(0, tuple(map(str, range(spec.gpus or 0))))
    share = f"{spec.gpus} GPU each" if spec.gpus else f"{spec.threads} CPU threads each"
    lines = [
        f"{spec.count} trials x {len(spec.seeds)} seeds = {spec.count * len(spec.seeds)} runs in {folder}, "
        f"{spec.workers} at once with {share}; judged by {spec.measured} on the validation problems.",
        *(f"{number:>5}  {show(params)}" for number, params in enumerate(points)),
    ]
    if spec.method == "tpe":
        lines.append(f"{len(points):>5}  and on: chosen from the results of those before")
    return "\n".join([*lines, "The first run:", f"  {show_command(spec, first, slot)}"])


def sweep(
    folder: Path,
    spec: Spec,
    machine: Machine,
    should_stop: Callable[[], bool],
    *,
    retry_failed: bool = False,
    words: Command = command,
) -> Results:
    """Make or go on with a checked sweep, to its end. Raises ValueError before any work, and SweepStopped."""
    spec = open_folder(folder, spec)
    if retry_failed:
        with Presence(folder / "workers") as presence:
            open_store(folder, spec, presence).retry_failed()
    try:
        work(folder, spec, machine, should_stop, words)
    except SweepStopped:
        report(folder, spec)
        raise
    return report(folder, spec)


def report(folder: Path, spec: Spec) -> Results:
    """Write a sweep's results so far. Raises ValueError where the folder holds no sweep."""
    if not (folder / "sweep.db").is_file():
        raise ValueError(f"{folder} holds no sweep yet, so there is nothing to report.")
    results = collect(open_store(folder, spec, Presence(folder / "workers")))
    write_results(results)
    write_best(results)
    write_page(results)
    return results
