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

from data.terminal import CommandLine


def main() -> None:
    """Run the command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("--rows", type=int, default=1024, help="rollouts at once")
    parser.add_argument("--samples", type=int, default=16, help="rollouts of a prompt")
    parser.add_argument("--prompt", type=int, default=40, help="tokens of a prompt")
    parser.add_argument("--new_tokens", type=int, default=400, help="tokens of a completion")
    parser.add_argument("--page_tokens", type=int, default=16, help="tokens of a page")
    arguments = parser.parse_args()
    import torch

    from eval.speed.planning import measure

    torch.set_num_threads(1)
    print(json.dumps(measure(**vars(arguments))))


if __name__ == "__main__":
    main()
