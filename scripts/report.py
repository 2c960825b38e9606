"""Write a run's report: one self-contained page with what it learnt, its curves, and twenty rollouts to read.

    python scripts/report.py runs/quickstart
    python scripts/report.py runs/quickstart --output report.html

Works without an evaluation too; with one (scripts/evaluate.py --run RUN) it compares before and after.
"""

import argparse
import sys
from pathlib import Path

from eval.report import write_report


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, such as runs/quickstart")
    parser.add_argument("--output", type=Path, help="the page (default: RUN/report.html)")
    given = parser.parse_args()
    try:
        path = write_report(given.run, given.output)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Report written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
