"""Do what a newcomer does in the first hour, from a fresh clone: each step with its command and result.

    make setup-dev && source .venv/bin/activate
    python scripts/newcomers_hour.py                                  # train the quickstart, then every later step
    python scripts/newcomers_hour.py --trained runs/quickstart        # start from a finished run
    python scripts/newcomers_hour.py --config configs/ci.yaml --steps 3 --cold-start-steps 20   # a few minutes

Trains, publishes and serves a model; asks it through the openai client and in the browser (with a screenshot); trains
with a reward and with reasoning traces of the newcomer's own; evaluates on a file shaped like GSM8K; and then makes
every likely mistake. All files go to --folder. Exit code 1 if a step failed.
"""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from data.terminal import CommandLine
from eval.newcomer import bad_inputs, first_steps
from eval.newcomer.hour import ROOT, Hour

NEEDS = ("math_verify", "openai", "starlette", "uvicorn")  # said before the first run, which takes minutes

STEPS: dict[str, Callable[[Hour], str]] = {
    "Train the first model": first_steps.train_first,
    "Open the model card": first_steps.read_card,
    "Serve it; ask with the openai client and in the browser": first_steps.serve_and_ask,
    "Train two steps with a reward of one's own": first_steps.own_reward,
    "Cold start from 50 reasoning traces": first_steps.cold_start,
    "Evaluate on a local file shaped like GSM8K": first_steps.own_benchmark_file,
    "Bad input: no such checkpoint": bad_inputs.no_checkpoint,
    "Bad input: the port is taken": bad_inputs.port_taken,
    "Bad input: a reward that raises": bad_inputs.reward_that_raises,
    "Bad input: a column is missing": bad_inputs.column_missing,
    "Bad input: a teacher that answers rubbish": bad_inputs.teacher_of_rubbish,
    "Bad input: the hub cannot be reached": bad_inputs.hub_unreachable,
}


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/newcomer"), help="for all files")
    parser.add_argument(
        "--config",
        type=Path,
        default=ROOT / "configs" / "quickstart.yaml",
        help="config of the first run (default: the quickstart's)",
    )
    parser.add_argument("--trained", type=Path, metavar="RUN", help="copy this run instead of training the first")
    parser.add_argument("--steps", type=int, help="RL steps (default: the config's)")
    parser.add_argument("--cold-start-steps", type=int, help="cold-start steps (default: the config's)")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="N", help="do only these steps, counted from 1, and keep the first run"
    )
    options = parser.parse_args()
    if options.trained and not (options.trained / "config.yaml").is_file():
        print(f"error: {options.trained} is not a run folder: it has no config.yaml; give runs/NAME.", file=sys.stderr)
        return 2
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        print(
            f"error: {', '.join(missing)} not installed, which a later step needs; run: make setup-dev", file=sys.stderr
        )
        return 2
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shorter = [] if options.steps is None else ["--max_steps", str(options.steps)]
    if options.cold_start_steps is not None:
        shorter += ["--cold_start_steps", str(options.cold_start_steps)]
    hour = Hour(folder, options.config.resolve(), shorter, options.trained)
    for number, (title, work) in enumerate(STEPS.items(), 1):
        if options.only is None or number in options.only:
            hour.step(f"{number}. {title}", work)
    print(f"\n{len(hour.failures)} steps failed{': ' if hour.failures else ''}{', '.join(hour.failures)}")
    return 1 if hour.failures else 0


if __name__ == "__main__":
    sys.exit(main())
