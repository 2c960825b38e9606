"""Entry point: `accelerate launch -m train --config configs/quickstart.yaml`.

Checks everything that can be checked, trains the cold start where the run has one, then trains by reinforcement.
Exit codes of a process:
  0    done
  2    refused before any work
  3    stopped by a guard: the reward collapsed, the numbers were not finite, or the engine left the trainer
  4    stopped by SIGINT or SIGTERM after the step in hand, which is saved; 130 or 143: at once, by a second signal
  5    the disk is full or cannot be written, and the last checkpoint is whole; or there are none that are
  6    another process of the run died
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers.utils import logging
from trl import GRPOConfig

from train.callbacks import say
from train.config import RunConfig, parse_config
from train.nonfinite import NonFiniteSteps
from train.ranks import RankWatch
from train.resume import CheckpointError
from train.rollout.parity import ParityError
from train.rollout.sampler import NonFiniteLogits
from train.run import prepare, train
from train.signals import Interrupted


def main() -> int:
    """Run the command line; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        run, training = parse_config()
    except ValueError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            say(f"error: {error}")
        return 2
    watch = RankWatch()
    try:
        with prepared(run, training) as refusal:
            code, message = (2, f"error: {refusal}") if refusal else outcome(run, training)
    except RuntimeError as error:
        watch.explain(error)
        raise
    if code != 5:  # the others have come to the same end
        watch.leave()
    if message is not None and (code == 5 or PartialState().is_main_process):
        say(message)
    return code


@contextmanager
def prepared(run: RunConfig, training: GRPOConfig) -> Iterator[str | None]:
    """One process checks the run, makes its folder and holds it; all hear why not, if the run is refused."""
    state = PartialState()
    refusal: list[str | None] = [None]
    with ExitStack() as held:
        if state.is_main_process:
            try:
                held.enter_context(prepare(run, training))
            except ValueError as error:
                refusal = [str(error)]
        if state.num_processes > 1:
            broadcast_object_list(refusal)
        yield refusal[0]


def outcome(run: RunConfig, training: GRPOConfig) -> tuple[int, str | None]:
    """Train; returns the exit code, and what to say where it is not 0."""
    try:
        stopped = train(run, training)
        return (0, None) if stopped is None else (3, stopped)
    except ParityError as error:
        return 3, f"Stopped: {error}"
    except NonFiniteSteps as error:
        return 3, str(error)
    except ValueError as error:
        if not isinstance(error.__cause__, NonFiniteLogits):
            raise
        return 3, f"Stopped: {error}"
    except Interrupted as error:
        return 4, str(error)
    except CheckpointError as error:
        return 5, f"error: {error}"
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return 5, f"error: {error}. The last checkpoint is whole; free some space, then --resume."
    except Exception as error:
        if "Weights only load failed" not in str(error):
            raise
        return 5, "error: the checkpoint is not as `train` writes it: it holds code, which was not run."


if __name__ == "__main__":
    sys.exit(main())
