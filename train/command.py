"""The command `accelerate launch -m train`, once its options are read.

Checks everything that can be checked, trains the cold start where the run has one, then trains with RL.
Exit codes of a process:
  0    done
  2    refused before any work
  3    stopped by a guard: the reward collapsed, the numbers were not finite, or the engine left the trainer;
       or a reward function of the user's failed, or gave something else than one finite number for each completion
  4    stopped by SIGINT or SIGTERM after the current step, which is saved; 130 or 143: at once, by a second signal
  5    the disk is full or cannot be written; or no checkpoint is whole
  6    another process of the run died
"""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers.utils import logging
from trl import GRPOConfig

from data.terminal import say
from train.config.arguments import Values
from train.config.launch import Launch, check_launch, find_launch, refusal
from train.config.parse import configure
from train.config.refused import one_line, refused
from train.config.run_config import RunConfig
from train.distributed.rank_watch import RankWatch
from train.distributed.shared_folder import why_not_shared
from train.lifecycle.diagnosis import diagnosis
from train.lifecycle.nonfinite import NonFiniteSteps
from train.lifecycle.resume import CheckpointError, what_is_left
from train.lifecycle.signals import Interrupted
from train.plan.checkpointing import decide_checkpointing
from train.rewards.own import RewardError
from train.rollout.parity.gate import ParityError
from train.rollout.sampler import NonFiniteLogits
from train.run import prepare, train


def run_command(values: Values) -> int:
    """Train as the checked options say; returns the exit code."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        launch = find_launch()
        check_launch(launch)
        run, training = configure(values)
        checkpointing = decide_checkpointing(run, training, launch)
        if why := refusal(launch, run, training):
            raise ValueError(why)
    except ValueError as error:
        return refused(error)
    watch = RankWatch()
    if checkpointing and PartialState().is_main_process:
        say(checkpointing)
    try:
        with prepared(run, training, launch) as why_not:
            code, message, alone = (2, f"error: {one_line(why_not)}", False) if why_not else outcome(run, training)
    except RuntimeError as error:
        watch.explain(error)
        raise
    if not alone:  # the others have come to the same end
        watch.leave()
    if message is not None and (alone or PartialState().is_main_process):
        say(message)
    if code in (0, 3, 4) and PartialState().is_main_process and (lines := diagnosis(run.folder)):
        say(lines)
    return code


@contextmanager
def prepared(run: RunConfig, training: GRPOConfig, launch: Launch) -> Iterator[str | None]:
    """One process checks the run, makes its folder and locks it; if the run is refused, all learn why."""
    state = PartialState()
    why_not: list[str | None] = [None]
    with ExitStack() as stack:
        if launch.local_processes < launch.processes:
            why_not = [why_not_shared(Path(run.runs_dir))]
        if state.is_main_process and why_not[0] is None:
            try:
                stack.enter_context(prepare(run, training))
            except ValueError as error:
                why_not = [str(error)]
        if state.num_processes > 1:
            broadcast_object_list(why_not)
        yield why_not[0]


def outcome(run: RunConfig, training: GRPOConfig) -> tuple[int, str | None, bool]:
    """Train. Returns the exit code, a message if it is not 0, and whether the other processes may not know of it."""
    try:
        stopped = train(run, training)
        return 3 if stopped else 0, stopped, False
    except (ParityError, RewardError) as error:
        return 3, f"Stopped: {error}", True
    except NonFiniteSteps as error:
        return 3, str(error), False
    except ValueError as error:
        if not isinstance(error.__cause__, NonFiniteLogits):
            raise
        return 3, f"Stopped: {error}", True
    except Interrupted as error:
        return 4, str(error), False
    except CheckpointError as error:
        return 5, f"error: {error}", True
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return 5, f"error: {error}. {what_is_left(run.folder / 'checkpoints')}", True
    except Exception as error:
        if "Weights only load failed" not in str(error):
            raise
        return 5, "error: the checkpoint is not as `train` writes it: it holds code, which was not run.", True
