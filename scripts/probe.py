"""Probe the thinking of checkpoints: behaviours, self-correction, error injection, faithfulness, and a monitor.

    python scripts/probe.py --run runs/quickstart
    python scripts/probe.py --checkpoint runs/a/checkpoints/cold-start --checkpoint runs/a/checkpoints/checkpoint-50
    python scripts/probe.py --checkpoint smollm2-135m --config configs/smollm2-135m-countdown.yaml

Every checkpoint answers the same held-out problems, and each later one is compared with the first, paired by problem.
Writes probes.json and the rows behind its figures. Samples are kept as they come: if the command is cut off, run it
again to continue.
"""

import argparse
import os
import sys

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from transformers.utils import logging

from eval.options import add_folders, add_models, add_own_tasks, add_processes, add_sampling, results_folder
from eval.probes.probe_table import render
from eval.probes.probing import Settings, expected, probe
from eval.sampling.progress import sample_bar
from eval.sampling.source import checkpoints_of, source_of
from eval.sampling.workers import Workers, default_count


def parse() -> argparse.Namespace:
    """The command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_models(parser, "path, hub id or smollm2-135m")
    parser.add_argument(
        "--problems", type=int, default=default.problems, help="most held-out problems (default: %(default)s)"
    )
    parser.add_argument(
        "--samples", type=int, default=default.samples, help="samples of each problem (default: %(default)s)"
    )
    parser.add_argument(
        "--temperature", type=float, default=default.temperature, help="of the sampling (default: %(default)s)"
    )
    add_sampling(parser, default.seed)
    add_folders(parser)
    add_processes(parser, default_count())
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
        output = results_folder(arguments)
        total = expected(source, settings, len(checkpoints))
        with sample_bar(total) as bar, Workers(arguments.processes) as workers:
            results = probe(
                checkpoints,
                source,
                settings,
                output,
                cache=arguments.cache,
                workers=workers,
                progress=bar.update,
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(render(results))
    print(f"\nWritten to {output}/probes.json; what it was made of is in {output}/probes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
