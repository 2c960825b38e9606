"""Write a run's report: one self-contained page, with seven claims judged, curves, and every rollout to read.

    python scripts/report.py runs/quickstart
    python scripts/report.py runs/quickstart --output report.html
    python scripts/report.py runs/seed0 runs/seed1 runs/seed2

Of several runs, other seeds of one, the page is the first's; the claims and scaling curves are those of all together.
Works without an evaluation too; with one (scripts/evaluate.py --run RUN) it compares before and after, and with
scripts/claims.py and scripts/probe.py the claims have evidence. Plots go beside the page as PNG and SVG.
"""

import argparse
import sys
from pathlib import Path

from eval.report.page import write_report
from eval.sampling.source import add_own_tasks, read_source


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="+", help="a run folder, such as runs/quickstart; then its other seeds")
    parser.add_argument("--output", type=Path, help="the page (default: RUN/report.html)")
    add_own_tasks(parser)
    given = parser.parse_args()
    try:
        if given.own_tasks:
            read_source(given.run[0] / "config.yaml", own_tasks=True)  # so that its parser marks the thinkings
        path = write_report(given.run[0], given.output, given.run[1:])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Report written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
