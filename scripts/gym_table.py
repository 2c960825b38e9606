"""Measure which of reasoning-gym's tasks a model can start on, or how well their verifiers hold, and write the table.

    python scripts/gym_table.py --model smollm2-135m --output data/tasks/GYM.md
    python scripts/gym_table.py --model Qwen/Qwen3-0.6B --tasks leg_counting chain_sum
    python scripts/gym_table.py --attack --output data/tasks/GYM.md

The last command asks no model: it gives each task's verifier answers that are wrong or that ignore the question. Each
table is a section of the file, and the other section stays as it is. Results are kept task by task in --kept: if the
command is cut off, run it again to continue.
"""

import argparse
import shlex
import sys
from pathlib import Path

from tqdm import tqdm

from data.tasks import gym
from data.terminal import CommandLine, command, quiet_libraries
from eval.gym import attacks, blind
from eval.gym.attack_page import section, section_of, with_section
from eval.options import add_settings, read_settings
from eval.settings import GymSettings


def parse() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--model", default="smollm2-135m", help="hub id, local path or smollm2-135m")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="names, without the prefix gym: (default: all)")
    parser.add_argument(
        "--attack", action="store_true", help="test the verifiers with wrong answers instead of a model"
    )
    parser.add_argument("--output", type=Path, help="file for the table (default: print it)")
    parser.add_argument(
        "--kept", type=Path, help="file of the results so far (default: runs/gym-table/MODEL.jsonl, or attack.jsonl)"
    )
    add_settings(parser, GymSettings())
    return parser.parse_args()


def write(output: Path | None, page: str) -> None:
    """Write the page to the file, or print it where there is none."""
    if output:
        output.write_text(page)
    else:
        print(page)


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    quiet_libraries()
    source = "attack" if arguments.attack else arguments.model.replace("/", "-")
    path = arguments.kept or Path("runs/gym-table") / f"{source}.jsonl"
    page = arguments.output.read_text() if arguments.output and arguments.output.is_file() else ""
    settings = read_settings(GymSettings(), arguments)
    names = arguments.tasks or gym.names()
    for name in names:
        gym.task(name)
    if arguments.attack:
        attack = attacks.Settings(seed=arguments.seed)
        attack_rows = attacks.attack_tasks(names, attack, path, lambda name: print(name, file=sys.stderr))
        note = blind.note(blind.blind_walks(arguments.seed)) if blind.TASK in names else ""
        write(arguments.output, with_section(page, section(attack_rows, attack, note)))
        return 0
    import torch

    from eval.gym.table import measure_tasks, render
    from train.model.chat_checks import check_chat
    from train.model.loading import load_model, load_tokenizer
    from train.model.prompts import stop_ids
    from train.rollout.engine import RolloutEngine

    tokenizer = load_tokenizer(arguments.model)
    model = load_model(arguments.model).to("cuda" if torch.cuda.is_available() else "cpu")
    with tqdm(total=len(names), unit="task", dynamic_ncols=True) as bar:

        def show(name: str) -> None:
            bar.set_description(name)
            bar.update()

        check_chat(model, tokenizer, system=False)
        ends = stop_ids(model, tokenizer)
        rows = measure_tasks(names, RolloutEngine(model), tokenizer, ends, settings, path, show)
    table = render(rows, arguments.model, settings, shlex.join(["python", "scripts/gym_table.py", *sys.argv[1:]]))
    write(arguments.output, with_section(table, section_of(page)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
