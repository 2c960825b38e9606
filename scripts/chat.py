"""Chat in the terminal with a checkpoint or a server: the thinking appears as it is written, then the answer.

    python scripts/chat.py runs/quickstart/checkpoints/checkpoint-30
    python scripts/chat.py http://localhost:8000
    echo 'numbers 2 6 8 target 10' | python scripts/chat.py runs/quickstart/checkpoints/checkpoint-30

In the chat, /help lists the settings: thinking budget, effort, temperature, seed.
"""

import argparse
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from eval.options import add_own_tasks
from eval.sampling.source import read_source

if TYPE_CHECKING:
    from eval.serve.terminal import Terminal


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("model", help="a checkpoint's folder, a hub id, smollm2-135m, or a server's URL")
    parser.add_argument(
        "--config", type=user_path, help="training config (default: that of the run that the checkpoint belongs to)"
    )
    parser.add_argument(
        "--max-context", type=int, help="most tokens of prompt and completion (default: the model's limit)"
    )
    parser.add_argument("--show-thinking", action=argparse.BooleanOptionalAction, default=True)
    add_own_tasks(parser)
    arguments = parser.parse_args()
    quiet_libraries()
    from eval.sampling.server import is_url
    from eval.serve.batcher import Batcher
    from eval.serve.listen import Options
    from eval.serve.marking import Marker
    from eval.serve.served import load_served
    from eval.serve.terminal import RemoteTalker, Terminal, local_talker
    from train.rollout.engine import RolloutEngine

    with ExitStack() as stack:
        if is_url(arguments.model):
            source = read_source(arguments.config, own_tasks=arguments.own_tasks) if arguments.config else None
            terminal = Terminal(RemoteTalker(arguments.model), Marker(source))
        else:
            options = Options(longest=arguments.max_context, config=arguments.config, own_tasks=arguments.own_tasks)
            model, served = load_served(arguments.model, options)
            batcher = Batcher(RolloutEngine(model), served.sampling, longest=served.longest, most_waiting=0)
            talker = stack.enter_context(local_talker(served, batcher))
            terminal = Terminal(talker, Marker(served.source, seed=os.getpid()), remembers=served.remembers)
        terminal.colours = sys.stdout.isatty()
        terminal.show_thinking = arguments.show_thinking
        converse(terminal)
    return 0


def converse(terminal: "Terminal") -> None:
    """Read lines until there are no more."""

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    for stream in (sys.stdin, sys.stdout):  # a byte that is no character, a character that the terminal lacks
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    terminal.write = write
    talking = True
    while talking:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            break
        talking = terminal.say(line)


if __name__ == "__main__":
    sys.exit(main())
