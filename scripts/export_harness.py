"""Export the held-out problems as a task of lm-evaluation-harness, so that others can evaluate on them.

    python scripts/export_harness.py --run runs/quickstart
    python scripts/export_harness.py --config configs/smollm2-135m-countdown.yaml --problems 200

Prints the command that runs it (install the harness with: pip install -e '.[harness]'). The harness's greedy accuracy
equals that of scripts/evaluate.py, sample by sample.
"""

import sys
from pathlib import Path

from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from eval.options import add_own_tasks, add_settings
from eval.sampling.source import checkpoints_of, read_source
from eval.settings import Settings
from train.files.checkpoints import refusal


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--run", type=user_path, help="the run folder whose problems are exported")
    whose.add_argument("--config", type=user_path, help="the training config whose problems are exported")
    add_settings(parser, Settings(), "--problems")
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="(default: %(default)s)")
    parser.add_argument("--output", type=user_path, help="folder (default: RUN/harness, or ./harness)")
    add_own_tasks(parser)
    arguments = parser.parse_args()
    quiet_libraries()
    from eval.harness import export

    config = arguments.config or arguments.run / "config.yaml"
    output = arguments.output or (arguments.run / "harness" if arguments.run else Path("harness"))
    model = checkpoints_of(arguments.run)[-1] if arguments.run else "MODEL"
    if arguments.run and (why := refusal(Path(model))):  # the harness itself looks at no seal
        raise ValueError(why)
    name = (arguments.run.resolve().name if arguments.run else config.stem).replace("-", "_")
    source = read_source(config, own_tasks=arguments.own_tasks)
    group, *tasks = export(source, name, arguments.problems, output, arguments.split)
    print(f"Written to {output}: the group {group} of {', '.join(tasks)}. Run it, for example, with\n")
    print(
        f"lm_eval run --model hf --model_args pretrained={model},dtype=float32,add_bos_token=False --tasks {group} \\\n"
        f"  --include_path {output} --apply_chat_template --batch_size 64 --device cpu"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
