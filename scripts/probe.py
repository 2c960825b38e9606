"""Probe what a checkpoint's thinking is worth: behaviours, self-correction, error injection, faithfulness, a monitor.

    python scripts/probe.py --run runs/quickstart
    python scripts/probe.py --checkpoint runs/a/checkpoints/cold-start --checkpoint runs/a/checkpoints/checkpoint-50
    python scripts/probe.py --checkpoint smollm2-135m --config configs/smollm2-135m-countdown.yaml

Every checkpoint answers the same held-out problems; each later one is compared with the first, paired by problem.
Writes probes.json, and beside it what the figures were made of. Samples are kept as they come: run the same command
again to go on where it was cut off.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from transformers.utils import logging

from data.paths import user_path
from eval.probes.probe_table import render
from eval.probes.probing import Settings, expected, probe
from eval.sampling.progress import sample_bar
from eval.sampling.source import add_own_tasks, checkpoints_of, source_of
from eval.sampling.workers import Workers, default_count


def parse() -> argparse.Namespace:
    """The command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=user_path, help="a run folder: its model before RL and its last checkpoint")
    what.add_argument("--checkpoint", action="append", help="path, hub id or smollm2-135m; repeat to compare")
    parser.add_argument(
        "--config", type=user_path, help="whose problems (default: the config of the run that a checkpoint is in)"
    )
    parser.add_argument(
        "--problems", type=int, default=default.problems, help="held-out problems, at most (default: %(default)s)"
    )
    parser.add_argument("--samples", type=int, default=default.samples, help="samples of each (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=default.temperature, help="(default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, help="longest completion (default: the config's)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the sampling (default: %(default)s)")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="(default: %(default)s)")
    parser.add_argument(
        "--output", type=user_path, help="folder for results (default: RUN/evaluation, or ./evaluation)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=default_count(),
        help="processes that sample, where the model is small (default: %(default)s)",
    )
    parser.add_argument(
        "--cache", type=user_path, help="folder for samples drawn (default: cache, in the folder for results)"
    )
    add_own_tasks(parser)
    return parser.parse_args()


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    arguments = parse()
    try:
        checkpoints = checkpoints_of(arguments.run) if arguments.run else arguments.checkpoint
        source = source_of(checkpoints, arguments.config, own_tasks=arguments.own_tasks)
        settings = Settings(
            arguments.problems,
            arguments.samples,
            arguments.temperature,
            source.max_new_tokens if arguments.max_new_tokens is None else arguments.max_new_tokens,
            arguments.seed,
            arguments.split,
        )
        output = arguments.output or (arguments.run / "evaluation" if arguments.run else Path("evaluation"))
        total = expected(source, settings, len(checkpoints))
        with sample_bar(total) as bar, Workers(arguments.processes) as workers:
            results = probe(
                *(checkpoints, source, settings, output), cache=arguments.cache, workers=workers, progress=bar.update
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(render(results))
    print(f"\nWritten to {output}/probes.json; what it was made of is in {output}/probes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
