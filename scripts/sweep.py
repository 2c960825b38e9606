"""Try many settings of a run, each with several seeds, and report which is best and how certain that is.

    python scripts/sweep.py configs/sweeps/quickstart-grid.yaml
    python scripts/sweep.py configs/sweeps/quickstart-grid.yaml --dry-run
    python scripts/sweep.py configs/sweeps/quickstart-tpe.yaml --workers 2
    python scripts/sweep.py runs/sweeps/quickstart-tpe          # continue, or join from another machine
    python scripts/sweep.py runs/sweeps/quickstart-tpe --report # only write the page, while others work

Each trial is one setting, and its seeds are replicas from which the ranking's intervals come. Trials are ranked on
the validation problems, each run at its best decoding if the file has `temperatures`. The same command continues a
sweep that was cut off, or joins one that is running; killed runs continue from their last checkpoint. The results are
report.html, results.json and best.yaml in the sweep's folder.

Exit codes: 0 done, 1 no trial could be ranked (or another worker took over), 2 refused at the start,
4 stopped by a signal, 5 a run could not be saved.

Fields of a sweep's YAML file:
"""

import argparse
import sys
from dataclasses import fields

try:
    from eval.sweep.trials.run_sweep import read, report, show_plan, sweep
except ModuleNotFoundError as error:
    if error.name != "optuna":
        raise
    sys.exit("error: a sweep needs optuna; install it with: pip install -e '.[sweep]'")
from data.paths import user_path
from data.terminal import CommandLine, command
from eval.sweep.ranking.words import verdict
from eval.sweep.setup.check import check
from eval.sweep.setup.spec import Prune, Spec
from eval.sweep.trials.work import SweepStopped
from train.lifecycle.signals import StopSignals


def parse() -> argparse.Namespace:
    """The command line."""
    lines = [f"  {field.name:<10} {field.metadata['help']}" for field in fields(Spec)[:-1]]
    lines += [f"  prune.{field.name:<9} {field.metadata['help']}" for field in fields(Prune)]
    parser = CommandLine((__doc__ or "") + "\n".join(lines))
    parser.add_argument("sweep", type=user_path, help="a sweep's YAML file, or the folder of a sweep to continue")
    parser.add_argument("--folder", type=user_path, help="the sweep's folder (default: runs/sweeps/NAME)")
    parser.add_argument("--workers", type=int, help="runs at once on this machine (default: the file's)")
    parser.add_argument("--dry-run", action="store_true", help="check the file and print the trials, and stop")
    parser.add_argument("--report", action="store_true", help="write the page of the sweep so far, and stop")
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    return parser.parse_args()


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    try:
        folder, spec = read(arguments.sweep, arguments.folder, arguments.workers)
        if arguments.report:
            results = report(folder, spec)
        else:
            spec, machine = check(spec)
            if arguments.dry_run:
                print(show_plan(folder, spec))
                return 0
            with StopSignals("the runs in hand finish their step and are saved") as signals:
                results = sweep(
                    folder, spec, machine, lambda: signals.first is not None, retry_failed=arguments.retry_failed
                )
    except SweepStopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.code
    print(verdict(results))
    print(f"Written to {results.folder}/report.html, with results.json and best.yaml beside it.")
    return 0 if results.ranked else 1


if __name__ == "__main__":
    sys.exit(main())
