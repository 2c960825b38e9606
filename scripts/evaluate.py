"""Evaluate checkpoints on held-out problems: accuracy with intervals, self-correction, step accuracy, thinking length.

    python scripts/evaluate.py --run runs/quickstart
    python scripts/evaluate.py --checkpoint runs/a/checkpoints/checkpoint-50 --checkpoint smollm2-135m
    python scripts/evaluate.py --checkpoint Qwen/Qwen3-0.6B --config configs/quickstart.yaml
    python scripts/evaluate.py --checkpoint http://localhost:8000 --tokenizer DIR --config configs/quickstart.yaml
    python scripts/evaluate.py --run runs/smollm2 --baseline step-by-step
    python scripts/evaluate.py --run runs/quickstart --temperatures 0 0.5 1

Every checkpoint answers the same problems; each later one is compared with the first, paired by problem. The headline
compares each at its best decoding, which is chosen on validation problems: a difference at one temperature may be
nothing but a temperature. All other measures are taken at --temperature. Writes results.json and the samples as
parquet. Samples are kept as they come: run the same command again to go on where an evaluation was cut off.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from transformers.utils import logging

from eval.evaluate import Settings, evaluate, expected
from eval.sampling.baselines import BASELINES
from eval.sampling.progress import sample_bar
from eval.sampling.source import add_own_tasks, checkpoints_of, source_of
from eval.sampling.workers import Workers, default_count
from eval.table import render


def parse() -> argparse.Namespace:
    """The command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", type=Path, help="a run folder: its model before RL and its last checkpoint")
    what.add_argument(
        "--checkpoint", action="append", help="path, hub id, smollm2-135m, or URL of a vLLM server; repeat to compare"
    )
    parser.add_argument(
        "--config", type=Path, help="whose problems (default: the config of the run that a checkpoint is in)"
    )
    parser.add_argument(
        "--problems", type=int, default=default.problems, help="held-out problems, at most (default: %(default)s)"
    )
    parser.add_argument("--samples", type=int, default=default.samples, help="samples of each (default: %(default)s)")
    parser.add_argument(
        "--temperature", type=float, default=default.temperature, help="of all measures (default: %(default)s)"
    )
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
        "--cache", type=Path, help="folder for samples drawn (default: cache, in the folder for results)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=default_count(),
        help="processes that sample, where the model is small (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, help="folder for results (default: RUN/evaluation, or ./evaluation)")
    add_own_tasks(parser)
    return parser.parse_args()


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    given = parse()
    try:
        checkpoints = checkpoints_of(given.run, start=bool(given.baseline)) if given.run else given.checkpoint
        source = source_of(checkpoints, given.config, own_tasks=given.own_tasks)
        settings = Settings(
            given.problems,
            given.samples,
            given.temperature,
            source.max_new_tokens if given.max_new_tokens is None else given.max_new_tokens,
            given.seed,
            given.split,
            given.backend,
            tuple(given.temperatures),
            given.validation_problems,
            given.validation_samples,
        )
        folder = given.output or (given.run / "evaluation" if given.run else Path("evaluation"))
        output = folder / given.baseline if given.baseline and not given.output else folder
        total = expected(source, settings, len(checkpoints), given.baseline)
        with sample_bar(total) as bar, Workers(given.processes) as workers:
            results = evaluate(
                *(checkpoints, source, settings, output),
                cache=given.cache or folder / "cache",
                tokenizer=given.tokenizer,
                baseline=given.baseline,
                workers=workers,
                progress=bar.update,
            )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(render(results))
    print(f"\nWritten to {output}/results.json and samples-N.parquet beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
