"""Evaluate checkpoints on held-out problems: accuracy with intervals, self-correction, step accuracy, thinking length.

    python scripts/evaluate.py --run runs/quickstart
    python scripts/evaluate.py --checkpoint runs/a/checkpoints/checkpoint-50 --checkpoint smollm2-135m
    python scripts/evaluate.py --checkpoint Qwen/Qwen3-0.6B --config configs/quickstart.yaml
    python scripts/evaluate.py --checkpoint http://localhost:8000 --tokenizer DIR --config configs/quickstart.yaml
    python scripts/evaluate.py --run runs/smollm2 --baseline step-by-step
    python scripts/evaluate.py --run runs/quickstart --temperatures 0 0.5 1
    python scripts/evaluate.py --checkpoint Qwen/Qwen3-0.6B --benchmark gsm8k,math500,aime24

Every checkpoint answers the same problems, and each later one is compared with the first, paired by problem. The
headline compares each at its best decoding, chosen on validation problems, because a difference at one temperature may
come from the temperature alone. All other measures are taken at --temperature.

Writes results.json and the samples as parquet. --baseline and --skip N write into folders of their own, such as
RUN/evaluation/skip-400, so that the results of the first problems stay. With --benchmark, the problems, samples,
temperature and budget are the benchmark's, and a Markdown table is printed and written to benchmarks.md. Samples are
kept as they come: if an evaluation is cut off, run the same command again to continue.
"""

import argparse
import json
import sys
from dataclasses import replace

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
from eval.settings import BASELINES, Settings, benchmark_names


def parse() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    add_models(parser, "path, hub id, smollm2-135m, or URL of a vLLM server")
    add_settings(parser, Settings(), "--problems", "--skip", "--samples", "--temperature", "--temperatures")
    add_settings(parser, Settings(), "--validation-problems", "--validation-samples", "--backend")
    parser.set_defaults(problems=None, samples=None, temperature=None)  # a benchmark has others
    add_sampling(parser)
    parser.add_argument(
        "--baseline",
        choices=BASELINES,
        help="evaluate the first checkpoint by prompting alone; with --run, the model that the run started from",
    )
    parser.add_argument("--tokenizer", help="path or hub id, if a server's model name is neither")
    add_processes(parser)
    parser.add_argument(
        "--benchmark",
        metavar="NAME[,NAME]",
        help=f"evaluate on these instead of the run's problems: {', '.join(benchmark_names())}",
    )
    parser.add_argument(
        "--benchmark-file",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a local .jsonl or .parquet file with a benchmark's columns, used instead of the hub; repeat for others",
    )
    add_folders(
        parser, "RUN/evaluation, or ./evaluation; skip-N in it with --skip N, and BASELINE in it with --baseline"
    )
    add_own_tasks(parser)
    return parser.parse_args()


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    quiet_libraries()
    if arguments.benchmark_file and arguments.benchmark is None:
        raise ValueError("--benchmark-file is given without --benchmark, which says what is asked; give both.")
    if arguments.skip and arguments.benchmark is not None:
        raise ValueError(f"--skip {arguments.skip} passes over a run's problems; leave it out with --benchmark.")
    print(compare(arguments) if arguments.benchmark is None else benchmark(arguments))
    return 0


def compare(arguments: argparse.Namespace) -> str:
    """Evaluate the checkpoints on the config's problems; returns the table."""
    from eval.evaluate import evaluate, expected
    from eval.sampling.workers import Workers
    from eval.table import render
    from train.publishing.published import refresh

    checkpoints = (
        checkpoints_of(arguments.run, start=bool(arguments.baseline)) if arguments.run else arguments.checkpoint
    )
    source = source_of(checkpoints, arguments.config, own_tasks=arguments.own_tasks)
    settings = read_settings(Settings(), arguments, max_new_tokens=source.max_new_tokens)
    folder = results_folder(arguments)
    output = folder
    if not arguments.output:  # what other questions found stays as it is
        output /= f"skip-{settings.skip}" if settings.skip else ""
        output /= arguments.baseline or ""
    total = expected(source, settings, len(checkpoints), arguments.baseline)
    with sample_bar(total) as bar, Workers(arguments.processes) as workers:
        results = evaluate(
            checkpoints,
            source,
            settings,
            output,
            cache=arguments.cache or folder / "cache",
            tokenizer=arguments.tokenizer,
            baseline=arguments.baseline,
            workers=workers,
            progress=bar.update,
        )
    if arguments.run and output == arguments.run / "evaluation":
        sys.stderr.write(refresh(arguments.run))
    return f"{render(results)}\n\nWritten to {output}/results.json and samples-N.parquet beside it."


def benchmark(arguments: argparse.Namespace) -> str:
    """Ask the checkpoints benchmarks; returns the table."""
    from eval.benchmark_table import as_markdown
    from eval.benchmarks import as_json, evaluate_benchmarks, read_benchmarks
    from eval.sampling.workers import Workers

    if arguments.baseline:
        raise ValueError("--baseline and --benchmark do not go together; leave one out.")
    changes = {name: getattr(arguments, name) for name in ("samples", "temperature", "max_new_tokens")}
    changes = {name: value for name, value in changes.items() if value is not None}
    benchmarks = read_benchmarks(arguments.benchmark, arguments.benchmark_file)
    folder = results_folder(arguments)
    with Workers(arguments.processes) as workers:
        results = evaluate_benchmarks(
            {name: replace(each, **changes) for name, each in benchmarks.items()},
            checkpoints_of(arguments.run) if arguments.run else arguments.checkpoint,
            folder,
            config=arguments.config,
            own_tasks=arguments.own_tasks,
            most=arguments.problems,
            seed=arguments.seed,
            backend=arguments.backend,
            tokenizer=arguments.tokenizer,
            cache=arguments.cache,
            workers=workers,
        )
    table = as_markdown(results)
    (folder / "benchmarks.md").write_text(table + "\n")
    (folder / "benchmarks.json").write_text(json.dumps([as_json(each) for each in results], indent=2) + "\n")
    return f"{table}\n\nWritten to {folder}/benchmarks.md; results and samples of each are in a folder of its name."


if __name__ == "__main__":
    sys.exit(main())
