"""Evaluate checkpoints on held-out problems: accuracy with intervals, self-correction, step accuracy, thinking length.

    python scripts/evaluate.py --run runs/quickstart
    python scripts/evaluate.py --checkpoint runs/a/checkpoints/checkpoint-50 --checkpoint smollm2-135m
    python scripts/evaluate.py --checkpoint Qwen/Qwen3-0.6B --config configs/quickstart.yaml
    python scripts/evaluate.py --checkpoint http://localhost:8000 --tokenizer DIR --config configs/quickstart.yaml
    python scripts/evaluate.py --run runs/smollm2 --baseline step-by-step
    python scripts/evaluate.py --run runs/quickstart --temperatures 0 0.5 1
    python scripts/evaluate.py --checkpoint Qwen/Qwen3-0.6B --benchmark gsm8k,math500,aime24

Every checkpoint answers the same problems; each later one is compared with the first, paired by problem. The headline
compares each at its best decoding, which is chosen on validation problems: a difference at one temperature may be
nothing but a temperature. All other measures are taken at --temperature. Writes results.json and the samples as
parquet. With --benchmark the problems, samples, temperature and budget are the benchmark's; a Markdown table is printed
and written to benchmarks.md. Samples are kept as they come: run the same command again to go on where an evaluation was
cut off.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from transformers.utils import logging

from data.paths import user_path
from eval.benchmark_table import as_markdown
from eval.benchmarks import as_json, evaluate_benchmark, names, read_benchmarks, source_of_benchmark
from eval.evaluate import Settings, evaluate, expected
from eval.sampling.baselines import BASELINES
from eval.sampling.candidate import Candidates
from eval.sampling.progress import sample_bar
from eval.sampling.source import add_own_tasks, checkpoints_of, config_of, held_out, source_of
from eval.sampling.workers import Workers, default_count
from eval.table import render
from train.lifecycle.published import refresh
from train.model.chat import TOKENIZERS_OWN


def parse() -> argparse.Namespace:
    """The command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=user_path, help="a run folder: its model before RL and its last checkpoint")
    what.add_argument(
        "--checkpoint", action="append", help="path, hub id, smollm2-135m, or URL of a vLLM server; repeat to compare"
    )
    parser.add_argument(
        "--config", type=user_path, help="whose problems (default: the config of the run that a checkpoint is in)"
    )
    parser.add_argument("--problems", type=int, help=f"held-out problems, at most (default: {default.problems})")
    parser.add_argument("--samples", type=int, help=f"samples of each (default: {default.samples})")
    parser.add_argument("--temperature", type=float, help=f"of all measures (default: {default.temperature:g})")
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs="+",
        default=default.temperatures,
        metavar="T",
        help="grid from which each model's best decoding is chosen, 0 is greedy; a single one leaves no choice and is "
        f"taken as it is (default: {' '.join(f'{t:g}' for t in default.temperatures)})",
    )
    parser.add_argument(
        "--validation-problems",
        type=int,
        default=default.validation_problems,
        help="other held-out problems, on which the best decoding is chosen (default: %(default)s)",
    )
    parser.add_argument(
        "--validation-samples",
        type=int,
        default=default.validation_samples,
        help="samples of each at each temperature (default: %(default)s)",
    )
    parser.add_argument("--max-new-tokens", type=int, help="longest completion (default: the config's)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the sampling (default: %(default)s)")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="(default: %(default)s)")
    parser.add_argument(
        "--backend",
        choices=["engine", "generate", "vllm"],
        default="engine",
        help="what samples (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline",
        choices=BASELINES,
        help="ask the first checkpoint by prompting alone; with --run that is the model which the run started from",
    )
    parser.add_argument("--tokenizer", help="path or hub id, where a server's model name is neither")
    parser.add_argument(
        "--cache", type=user_path, help="folder for samples drawn (default: cache, in the folder for results)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=default_count(),
        help="processes that sample, where the model is small (default: %(default)s)",
    )
    parser.add_argument("--benchmark", metavar="NAME[,NAME]", help=f"ask these instead: {', '.join(names())}")
    parser.add_argument(
        "--benchmark-file",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a local .jsonl or .parquet file with the columns of a benchmark, in place of the hub; repeat",
    )
    parser.add_argument(
        "--output", type=user_path, help="folder for results (default: RUN/evaluation, or ./evaluation)"
    )
    add_own_tasks(parser)
    return parser.parse_args()


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    arguments = parse()
    if arguments.benchmark:
        return benchmark(arguments)
    default = Settings()
    try:
        checkpoints = (
            checkpoints_of(arguments.run, start=bool(arguments.baseline)) if arguments.run else arguments.checkpoint
        )
        source = source_of(checkpoints, arguments.config, own_tasks=arguments.own_tasks)
        settings = Settings(
            default.problems if arguments.problems is None else arguments.problems,
            default.samples if arguments.samples is None else arguments.samples,
            default.temperature if arguments.temperature is None else arguments.temperature,
            source.max_new_tokens if arguments.max_new_tokens is None else arguments.max_new_tokens,
            arguments.seed,
            arguments.split,
            arguments.backend,
            tuple(arguments.temperatures),
            arguments.validation_problems,
            arguments.validation_samples,
        )
        folder = arguments.output or (arguments.run / "evaluation" if arguments.run else Path("evaluation"))
        output = folder / arguments.baseline if arguments.baseline and not arguments.output else folder
        total = expected(source, settings, len(checkpoints), arguments.baseline)
        with sample_bar(total) as bar, Workers(arguments.processes) as workers:
            results = evaluate(
                *(checkpoints, source, settings, output),
                cache=arguments.cache or folder / "cache",
                tokenizer=arguments.tokenizer,
                baseline=arguments.baseline,
                workers=workers,
                progress=bar.update,
            )
        if arguments.run and output == arguments.run / "evaluation":
            sys.stderr.write(refresh(arguments.run))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(render(results))
    print(f"\nWritten to {output}/results.json and samples-N.parquet beside it.")
    return 0


def benchmark(arguments: argparse.Namespace) -> int:
    """Ask benchmarks; returns the exit code."""
    changes = {
        "samples": arguments.samples,
        "temperature": arguments.temperature,
        "max_new_tokens": arguments.max_new_tokens,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    folder = arguments.output or (arguments.run / "evaluation" if arguments.run else Path("evaluation"))
    try:
        if arguments.baseline:
            raise ValueError("--baseline and --benchmark do not go together; leave one out.")
        checkpoints = checkpoints_of(arguments.run) if arguments.run else arguments.checkpoint
        sets = {
            name: replace(each, **changes)
            for name, each in read_benchmarks(arguments.benchmark, arguments.benchmark_file).items()
        }
        configs = {each: arguments.config or config_of(user_path(each).absolute()) for each in checkpoints}
        known = [each for each in checkpoints if configs[each]]
        run = source_of(known, arguments.config, own_tasks=arguments.own_tasks) if known else None
        sources = {name: source_of_benchmark(name, each, run) for name, each in sets.items()}
        results = []
        with Workers(arguments.processes) as workers:
            candidates = Candidates(
                arguments.cache or folder / "cache",
                backend=arguments.backend,
                tokenizer=arguments.tokenizer,
                chat=run.chat if run else TOKENIZERS_OWN,
                system_prompt=next(iter(sources.values())).system_prompt,
                workers=workers,
            )
            for name, each in sets.items():
                count = (
                    len(held_out(sources[name], arguments.problems or each.problems))
                    * (each.samples + 1)
                    * len(checkpoints)
                )
                with sample_bar(count) as bar:
                    how = (sources[name], checkpoints, candidates, folder / name, configs)
                    settings = {
                        "seed": arguments.seed,
                        "backend": arguments.backend,
                        "progress": bar.update,
                        "most": arguments.problems,
                    }
                    results.append(evaluate_benchmark(name, each, *how, **settings))
        table = as_markdown(results)
        (folder / "benchmarks.md").write_text(table + "\n")
        (folder / "benchmarks.json").write_text(json.dumps([as_json(each) for each in results], indent=2) + "\n")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    print(f"\nWritten to {folder}/benchmarks.md; results and samples of each are in a folder of its name.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
