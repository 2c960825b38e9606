"""Ask a teacher for reasoning, keep the traces that verify, and write them for `cold_start_data`.

    python scripts/collect.py --teacher http://localhost:8000 --config configs/recipes/qwen3-0.6b-math.yaml
    python scripts/collect.py --teacher runs/a/checkpoints/checkpoint-200 --samples 8 --output traces.jsonl

The teacher is a checkpoint, or the URL of a server with OpenAI's chat API (its key in OPENAI_API_KEY if it needs one).
Only training problems are asked. If the command is cut off, run it again to continue.

Exit codes: 0 done, 2 refused, 5 the teacher failed on the way; the traces so far are kept.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from data.mixture import draw_problems
from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from eval.options import add_own_tasks
from eval.sampling.progress import sample_bar
from eval.sampling.source import Source, source_of
from train.rollout.interface import Sampling

if TYPE_CHECKING:
    from eval.collect import Teacher


def parse() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--teacher", required=True, help="URL of a server, path of a checkpoint, or hub id")
    parser.add_argument("--teacher-model", default="", help="which of a server's models (default: its first)")
    parser.add_argument(
        "--config", type=user_path, help="whose training problems (default: those of the checkpoint's run)"
    )
    parser.add_argument("--problems", type=int, default=1_000, help="training problems to ask")
    parser.add_argument("--samples", type=int, default=4, help="answers to each problem")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the sampling")
    parser.add_argument("--max-new-tokens", type=int, help="longest completion (default: the config's)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    parser.add_argument("--requests", type=int, default=16, help="requests to a server at once")
    parser.add_argument(
        "--system",
        help="system prompt; `task` is the task's own (default: task for a server, the config's for a checkpoint)",
    )
    parser.add_argument("--output", type=user_path, default=Path("traces.jsonl"), help="file of the traces")
    add_own_tasks(parser)
    return parser.parse_args()


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    options = parse()
    quiet_libraries()
    from eval.collect import collect
    from eval.sampling.json_api import ServerError

    if options.problems < 1 or options.samples < 1 or options.requests < 1:
        raise ValueError(
            f"{options.problems} problems, {options.samples} samples, {options.requests} requests; expected at "
            "least 1 of each."
        )
    source = source_of([options.teacher], options.config, own_tasks=options.own_tasks)
    pool = draw_problems(source.parts, "train", options.problems, source.split_seed)
    problems = list({problem.to_json(): problem for problem in pool}.values())  # a small set gives some twice
    teacher = _teacher(options, source)
    try:
        with sample_bar(len(problems) * options.samples) as bar:
            collection = collect(teacher, problems, options.samples, options.output, bar.update)
    except ServerError as error:
        print(f"error: {error} What had come is kept: run the same command to go on.", file=sys.stderr)
        return 5
    print(f"{collection.as_text()} Written to {options.output}: train with cold_start_data: {options.output}.")
    return 0


def _teacher(options: argparse.Namespace, source: Source) -> "Teacher":
    """The teacher that the command line names. Raises ValueError where it cannot be loaded or reached."""
    from eval.sampling.candidate import load_candidate
    from eval.sampling.server import is_url
    from eval.sampling.teacher import ChatTeacher, CheckpointTeacher

    longest = source.max_new_tokens if options.max_new_tokens is None else options.max_new_tokens
    if is_url(options.teacher):
        sampling = Sampling(longest, (), temperature=options.temperature, seed=options.seed)
        system = "task" if options.system is None else options.system
        return ChatTeacher(options.teacher, sampling, system, model=options.teacher_model, requests=options.requests)
    system = source.system_prompt if options.system is None else options.system
    cache = options.output.with_name("cache")
    candidate = load_candidate(options.teacher, cache, chat=source.chat, system_prompt=system)
    sampling = Sampling(longest, candidate.stop_ids, temperature=options.temperature, seed=options.seed)
    return CheckpointTeacher(candidate, sampling, system)


if __name__ == "__main__":
    sys.exit(main())
