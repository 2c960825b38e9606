"""Entry point: `accelerate launch -m train --config configs/quickstart.yaml`.

Options are read and checked here before torch is imported, so that a slip of the pen is refused within a second;
`train.command` does the rest, and lists the exit codes.
"""

import os
import sys

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from train.config.arguments import HELP, read_values
from train.config.refused import refused


def main() -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:]
    try:
        values = None if set(words) & set(HELP) else read_values(words)
    except ValueError as error:
        return refused(error)
    # torch, transformers and trl take ten seconds to import, which a refusal above need not wait for.
    if values is None:
        from train.config.help import print_help

        print_help()
        return 0
    from train.command import run_command

    return run_command(values)


if __name__ == "__main__":
    sys.exit(main())
