"""How long the scheduler takes to plan a step: the forward is replaced, so no model runs.

    python scripts/bench_planning.py --rows 1024 --new_tokens 512

Prints one JSON line with the milliseconds of a `PagedRun.step`, at a full batch and over the whole call: processor time
of one thread, which other work on the machine hardly changes. The stand-in for the forward always returns the same
token, so the time is that of the scheduler, the block tables and the handling of sampled tokens.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # on a bare machine nothing is installed

from data.terminal import CommandLine, count


def main() -> None:
    """Run the command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--rows", type=count, default=1024, help="rollouts at once")
    parser.add_argument("--samples", type=count, default=16, help="rollouts of a prompt")
    parser.add_argument("--prompt", type=count, default=40, help="tokens of a prompt")
    parser.add_argument("--new_tokens", type=count, default=400, help="tokens of a completion")
    parser.add_argument("--page_tokens", type=count, default=16, help="tokens of a page")
    arguments = parser.parse_args()
    if arguments.rows < arguments.samples:
        parser.error(f"--rows is {arguments.rows}, which holds no {arguments.samples} samples of a prompt")
    import torch

    from eval.speed.planning import measure

    torch.set_num_threads(1)
    print(json.dumps(measure(**vars(arguments))))


if __name__ == "__main__":
    main()
