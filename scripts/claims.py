"""Judge the seven claims on one run or on several seeds of it: sample what they need, draw curves, write the report.

    python scripts/claims.py --run runs/quickstart
    python scripts/claims.py --run runs/seed0 --run runs/seed1 --run runs/seed2
    python scripts/claims.py --run runs/smollm2-135m-cpu --claims 1 7
    python scripts/claims.py --run runs/quickstart --against more-cold-start=runs/longer --against rft=runs/rft

For each run this does the work of scripts/evaluate.py and scripts/probe.py, and measures both scaling curves on the
same held-out problems. Samples are kept in RUN/evaluation/cache: if the command is cut off, run it again to continue.

What should cost nothing, such as more room to think, may lose at most 2 points as measured, and a loss of 5 points has
to lie outside its interval.
"""

import argparse
import json
import shlex
import sys

from data.paths import user_path
from data.terminal import CommandLine, command, quiet_libraries
from eval.claims.conditions import ALL_CLAIMS
from eval.curves.equal_compute import read_control, share_out
from eval.options import add_own_tasks, add_processes, add_settings, read_settings
from eval.sampling.progress import sample_bar
from eval.settings import Effort


def parse() -> argparse.Namespace:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "--run", type=user_path, action="append", required=True, help="a run folder; repeat the option for other seeds"
    )
    parser.add_argument("--output", type=user_path, help="folder for claims.json and plots (default: RUN/evaluation; "
                        "for several runs a folder claims beside the first)")  # fmt: skip
    add_processes(parser)
    parser.add_argument(
        "--against",
        type=read_control,
        action="append",
        default=[],
        metavar="NAME=RUN",
        help="a run with as much compute but without RL, such as more-cold-start=runs/longer; repeat for others; with "
        "several runs, give each NAME once per run, in the same order",
    )
    parser.add_argument(
        "--claims",
        type=int,
        nargs="+",
        choices=ALL_CLAIMS,
        default=ALL_CLAIMS,
        metavar="N",
        help="sample only what these claims need (default: all seven); evidence that is there already is used too",
    )
    add_settings(parser, Effort())
    add_own_tasks(parser)
    return parser.parse_args()


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = parse()
    quiet_libraries()
    from eval.claims.claims_table import markdown, render
    from eval.claims.evidence import gather
    from eval.claims.judging import check_seeds, judge_claims
    from eval.claims.plan import expected, make_plan
    from eval.curves.curve_plots import write_plots
    from eval.report.page import write_report
    from eval.sampling.workers import Workers
    from train.publishing.published import refresh

    runs = arguments.run
    output = arguments.output or (runs[0] / "evaluation" if len(runs) == 1 else runs[0].parent / "claims")
    page = runs[0] / "report.html" if len(runs) == 1 else output / "report.html"
    check_seeds(runs)
    effort = read_settings(Effort(), arguments)
    controls = share_out(arguments.against, len(runs))
    plans = [
        make_plan(run, effort, own_tasks=arguments.own_tasks, controls=against, claims=arguments.claims)
        for run, against in zip(runs, controls, strict=True)
    ]
    with sample_bar(sum(map(expected, plans))) as bar, Workers(arguments.processes) as workers:
        for each in plans:
            bar.set_description(each.run.name)
            gather(each, workers, bar.update)
            sys.stderr.write(refresh(each.run))
    claims = judge_claims(runs)
    output.mkdir(parents=True, exist_ok=True)
    (output / "claims.json").write_text(json.dumps(claims, indent=2) + "\n")
    write_plots(runs, output)
    typed = shlex.join(["python", "scripts/claims.py", *sys.argv[1:]])
    (output / "claims.md").write_text(markdown(claims, typed, "scaling.png"))
    write_report(runs[0], page, runs[1:])
    print(render(claims))
    print(f"\nWritten to {output}: claims.json, claims.md and the plots. The report is {page}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
