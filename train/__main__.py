"""Entry point: `accelerate launch -m train --config configs/quickstart.yaml`.

Checks everything that can be checked, trains the cold start where the run has one, then trains by reinforcement.
Exit codes: 0 done, 2 refused before any work, 3 stopped by the collapse guard or the engine's parity gate.
"""

import os
import sys

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers.utils import logging

from train.callbacks import say
from train.config import parse_config
from train.rollout.parity import ParityError
from train.run import prepare, train


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        run, training = parse_config()
        state = PartialState()
        fault: list[str | None] = [None]
        if state.is_main_process:  # one process judges and makes the folder, all hear what it found
            try:
                prepare(run, training)
            except ValueError as error:
                fault = [str(error)]
        if state.num_processes > 1:
            broadcast_object_list(fault)
        if fault[0] is not None:
            raise ValueError(fault[0])
    except ValueError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            say(f"error: {error}")
        return 2
    try:
        stopped = train(run, training)
    except ParityError as error:
        stopped = f"Stopped: {error}"
    if stopped is not None:
        say(stopped)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
