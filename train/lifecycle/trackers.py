"""Where the curves of a run can be watched: TensorBoard by default, Weights & Biases and Trackio by `report_to`.

transformers' own callbacks do the logging. Here they never wait: without a login or a network W&B logs into the run
folder, TensorBoard and Trackio write to this machine anyway. A resumed run continues the same curves. The main
process alone logs.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from transformers import Trainer
from transformers.integrations import (
    INTEGRATION_TO_CALLBACK,
    TensorBoardCallback,
    get_available_reporting_integrations,
    get_reporting_integration_callbacks,
)
from trl import GRPOConfig

from data.terminal import say
from train.config.run_config import RunConfig

TENSORBOARD = "tensorboard"  # in the run folder
PROJECT = "rethink"  # in which W&B and Trackio gather the runs by default
INSTALL = {"wandb": "'.[wandb]'"}
PATIENCE = 5.0  # seconds for W&B's server to answer at all


def check_trackers(training: GRPOConfig) -> None:
    """Raise ValueError for a tracker that is unknown or not installed."""
    for name in training.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            names = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise ValueError(f"report_to is {name!r}; expected none, or some of: {names}.")
        if name not in get_available_reporting_integrations():
            raise ValueError(
                f"report_to is {name}, which is not installed: pip install {INSTALL.get(name, name)}, or leave it out."
            )


@contextmanager
def trackers(run: RunConfig, training: GRPOConfig) -> Iterator[None]:
    """Open the trackers in `report_to` on the main process within the context; other processes log nothing."""
    if training.process_index:
        training.report_to = []
    training.run_name = training.run_name or run.name
    if training.project == GRPOConfig.project:
        training.project = PROJECT
    if "wandb" not in training.report_to:
        yield
        return
    import wandb

    _start_wandb(run, training)
    failed = True
    try:
        yield
        failed = False
    finally:
        wandb.finish(exit_code=int(failed))


def log_last(trainer: Trainer, folder: Path, step: int) -> None:
    """Move the trackers of `trainer` behind its other callbacks, so that they log what those add.

    TensorBoard's curves go to `folder`; those of a run that is resumed lose what was logged after `step`.
    """
    for kind in get_reporting_integration_callbacks(trainer.args.report_to):
        tracker = trainer.pop_callback(kind)
        if isinstance(tracker, TensorBoardCallback):
            tracker.tb_writer = tracker._SummaryWriter(log_dir=str(folder), purge_step=step + 1)
        trainer.add_callback(tracker)


def _start_wandb(run: RunConfig, training: GRPOConfig) -> None:
    import wandb

    offline = _why_offline()
    if offline:
        say(f"W&B logs offline, since {offline}. To upload: wandb sync {run.folder / 'wandb'}/offline-run-*")
    began = json.loads((run.folder / "environment.json").read_text())["started"]
    wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=training.run_name,
        dir=str(run.folder),
        id=hashlib.sha256(f"{run.name} {began}".encode()).hexdigest()[:12],  # the same when it is resumed
        resume=None if offline else "allow",
        mode="offline" if offline else None,
        settings=wandb.Settings(silent=True) if offline else None,
    )


def _why_offline() -> str | None:
    """Why W&B cannot upload as it logs, or None where it can; what the user has set in WANDB_MODE stands."""
    import wandb

    if "WANDB_MODE" in os.environ:
        return None
    server = wandb.setup().settings.base_url
    try:
        httpx.get(server, timeout=PATIENCE)
        logged_in = wandb.login(prompt=False)
    except httpx.HTTPError as error:
        return f"{server} does not answer ({type(error).__name__})"
    except wandb.Error as error:
        return f"{server} does not know the API key ({' '.join(str(error).split())})"
    return None if logged_in else "there is no API key (wandb login, or WANDB_API_KEY)"
