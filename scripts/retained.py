"""Measure what RL cost elsewhere: compare the start with the trained model on tasks that the run did not train.

    python scripts/retained.py runs/smollm2
    python scripts/retained.py runs/smollm2 --tasks '{"gym:chain_sum": {}, "gym:spell_backward": {"weight": 2}}'

By default the tasks are families of reasoning-gym that the run did not train on; for a model from scratch, which knows
no others, they are other settings of its own tasks. Writes RUN/evaluation/retained, which the report and
scripts/claims.py read.
"""

import argparse
import json
import sys
from typing import Any

from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from eval.options import add_own_tasks, add_processes, add_settings, read_settings
from eval.sampling.progress import sample_bar
from eval.sampling.source import checkpoints_of
from eval.settings import Settings

DEFAULT = Settings(problems=200, samples=2, validation_problems=100)


def tasks_of(text: str) -> dict[str, Any]:
    """The tasks that the command line names. Raises ArgumentTypeError."""
    try:
        tasks = json.loads(text)
    except ValueError:
        tasks = None
    if not isinstance(tasks, dict) or not tasks:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a JSON object of tasks, such as '{{\"gym:chain_sum\": {{}}}}'"
        )
    return tasks


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("run", type=user_path, help="a run folder with a checkpoint before and after RL")
    parser.add_argument("--tasks", type=tasks_of, metavar="JSON", help="mapping of tasks to settings, as in a config")
    add_settings(parser, DEFAULT, "--problems", "--samples", "--temperatures", "--validation-problems")
    add_processes(parser)
    add_own_tasks(parser)
    arguments = parser.parse_args()
    quiet_libraries()
    from eval.evaluate import evaluate, expected
    from eval.retained import folder_of, other_source
    from eval.sampling.workers import Workers
    from eval.table import render

    checkpoints = checkpoints_of(arguments.run)
    if len(checkpoints) < 2:
        raise ValueError(f"{arguments.run} has no checkpoint of before RL to compare with.")
    source = other_source(arguments.run, arguments.tasks, own_tasks=arguments.own_tasks)
    settings = read_settings(DEFAULT, arguments, max_new_tokens=source.max_new_tokens)
    output = folder_of(arguments.run)
    with sample_bar(expected(source, settings, 2)) as bar, Workers(arguments.processes) as workers:
        results = evaluate(checkpoints, source, settings, output, workers=workers, progress=bar.update)
    print(render(results))
    print(f"\nWritten to {output}/results.json; the report shows it below the verdicts.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
