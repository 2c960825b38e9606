"""Judge the seven claims on a run, or on several seeds of one: both scaling curves, claims.json, plots.

    python scripts/claims.py --run runs/quickstart
    python scripts/claims.py --run runs/seed0 --run runs/seed1 --run runs/seed2

Every checkpoint answers the same held-out problems. Samples are kept in RUN/evaluation/cache as they come: run the same
command again to go on where it was cut off.
"""

import argparse
import json
import os
import sys
from dataclasses import fields
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from tqdm import tqdm
from transformers.utils import logging

from eval.claims import check_seeds, judge_claims
from eval.curve_plots import write_plots
from eval.evidence import Effort, gather, plan


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", required=True, help="a run folder; repeat for other seeds")
    parser.add_argument("--output", type=Path, help="folder for claims.json and plots (default: RUN/evaluation, or "
                        "claims beside the first of several runs)")  # fmt: skip
    for field in fields(Effort):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=int, default=field.default, help="(default: %(default)s)"
        )
    return parser.parse_args()


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    given = parse()
    output = given.output or (given.run[0] / "evaluation" if len(given.run) == 1 else given.run[0].parent / "claims")
    try:
        check_seeds(given.run)
        effort = Effort(**{field.name: getattr(given, field.name) for field in fields(Effort)})
        plans = [plan(run, effort) for run in given.run]
        with tqdm(total=sum(each.total for each in plans), unit="sample", dynamic_ncols=True) as bar:
            for each in plans:
                bar.set_description(str(each.run))
                gather(each, bar.update)
        claims = judge_claims(given.run)
        output.mkdir(parents=True, exist_ok=True)
        (output / "claims.json").write_text(json.dumps(claims, indent=2) + "\n")
        write_plots(given.run, output)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for claim in claims["claims"]:
        print(f"{claim['number']}. {claim['claim']}\n   {claim['verdict']} {claim['scope']}")
        for figure in claim["figures"] + claim["beside"]:
            if figure["estimate"]:
                low, value, high = (100 * figure["estimate"][key] for key in ("low", "value", "high"))
                print(f"   {figure['says']}: {value:+.1f} [{low:+.1f}, {high:+.1f}]")
        for command in claim["missing"]:
            print(f"   evidence is missing: {command}")
    print("", *claims["words"], sep="\n")
    print(f"\nWritten to {output}/claims.json, with the plots beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
