"""Write a run's report: one self-contained page with the seven claims, the curves, and every rollout to read.

    python scripts/report.py runs/quickstart
    python scripts/report.py runs/quickstart --output report.html
    python scripts/report.py runs/seed0 runs/seed1 runs/seed2
    python scripts/report.py runs/quickstart --live         # while it trains; scripts/watch.py shows it

With several seeds of one run, the page is the first seed's, and the claims and scaling curves are those of all seeds
together. The report needs no evaluation. After scripts/evaluate.py --run RUN it compares the model before and after,
and after scripts/claims.py and scripts/probe.py it has evidence for the claims. Plots go beside it as PNG and SVG.
"""

import os
import sys
from pathlib import Path

from data.paths import user_path
from data.terminal import CommandLine, command
from eval.options import add_own_tasks
from eval.report.page import write_live_report, write_report
from eval.sampling.source import load_own_tasks


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "run", type=user_path, nargs="+", help="a run folder, such as runs/quickstart, then those of its other seeds"
    )
    parser.add_argument("--output", type=user_path, help="the page (default: RUN/report.html)")
    parser.add_argument(
        "--live",
        action="store_true",
        help="only the cheap parts of the page and the newest rollouts, at the lowest process priority",
    )
    add_own_tasks(parser)
    arguments = parser.parse_args()
    if arguments.own_tasks:
        load_own_tasks(arguments.run[0] / "config.yaml")  # so that their parsers mark the thinkings
    if arguments.live and (arguments.output or arguments.run[1:]):
        raise ValueError("--live writes RUN/report.html of one run; leave out --output and other runs.")
    path = (
        live(arguments.run[0])
        if arguments.live
        else write_report(arguments.run[0], arguments.output, arguments.run[1:])
    )
    print(f"Report written to {path}")
    return 0


def live(run: Path) -> Path:
    """The page of a run that goes on, made without taking time from it."""
    os.nice(19)
    return write_live_report(run)


if __name__ == "__main__":
    sys.exit(main())
