"""Entry point: `accelerate launch -m train --config configs/quickstart.yaml`.

Checks everything that can be checked, trains the cold start where the run has one, then trains by reinforcement.
Exit codes: 0 done; 2 refused before any work; 3 stopped by the collapse guard or the engine's parity gate; 4 stopped
by SIGINT or SIGTERM, saved (130 or 143 at the second signal, not saved); 5 the disk is full or cannot be written.
"""

import errno
import os
import sys

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import BaseFileLock
from transformers.utils import logging
from trl import GRPOConfig

from train.callbacks import say
from train.config import RunConfig, parse_config
from train.resume import CheckpointError
from train.rollout.parity import ParityError
from train.run import prepare, train
from train.signals import Interrupted


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    held: BaseFileLock | None = None
    try:
        run, training = parse_config()
        state = PartialState()
        fault: list[str | None] = [None]
        if state.is_main_process:  # one process judges and makes the folder, all hear what it found
            try:
                held = prepare(run, training)
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
        code, message = outcome(run, training)
    finally:
        if held is not None:
            held.release()
    if message is not None:
        say(message)
    return code


def outcome(run: RunConfig, training: GRPOConfig) -> tuple[int, str | None]:
    """Train; returns the exit code, and what to say where it is not 0."""
    try:
        stopped = train(run, training)
        return (0, None) if stopped is None else (3, stopped)
    except ParityError as error:
        return 3, f"Stopped: {error}"
    except Interrupted as error:
        return 4, str(error)
    except CheckpointError as error:
        return 5, f"error: {error}"
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return 5, f"error: {error}. The last checkpoint is whole; free some space, then --resume."


if __name__ == "__main__":
    sys.exit(main())
