"""Probe the thinking of checkpoints: behaviours, self-correction, error injection, faithfulness, and a monitor.

    python scripts/probe.py --run runs/quickstart
    python scripts/probe.py --checkpoint runs/a/checkpoints/cold-start --checkpoint runs/a/checkpoints/checkpoint-50
    python scripts/probe.py --checkpoint smollm2-135m --config configs/smollm2-135m-countdown.yaml

Every checkpoint answers the same held-out problems, and each later one is compared with the first, paired by problem.
Writes probes.json and the rows behind its figures. Samples are kept as they come: if the command is cut off, run it
again to continue.
"""

import argparse
import sys

from data.terminal import CommandLine, command, quiet_libraries
from eval.options import (
    add_folders,
    add_models,
    add_own_tasks,
    add_processes,
    add_sampling,
    add_settings,
    read_settings,
    results_folder,
)
from eval.sampling.progress import sample_bar
from eval.sampling.source import checkpoints_of, source_of
from eval.settings import ProbeSettings


def parse() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    add_models(parser, "path, hub id or smollm2-135m")
    add_settings(parser, ProbeSettings(), "--problems", "--samples", "--temperature")
    add_sampling(parser)
    add_folders(parser)
    add_processes(parser)
    add_own_tasks(parser)
    return parser.parse_args()


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    quiet_libraries()
    from eval.probes.probe_table import render
    from eval.probes.probing import expected, probe
    from eval.sampling.workers import Workers

    checkpoints = checkpoints_of(arguments.run) if arguments.run else arguments.checkpoint
    source = source_of(checkpoints, arguments.config, own_tasks=arguments.own_tasks)
    settings = read_settings(ProbeSettings(), arguments, max_new_tokens=source.max_new_tokens)
    output = results_folder(arguments)
    total = expected(source, settings, len(checkpoints))
    with sample_bar(total) as bar, Workers(arguments.processes) as workers:
        results = probe(
            checkpoints, source, settings, output, cache=arguments.cache, workers=workers, progress=bar.update
        )
    print(render(results))
    print(f"\nWritten to {output}/probes.json; what it was made of is in {output}/probes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
