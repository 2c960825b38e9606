"""Exact resume: a trainer whose checkpoints are whole, and hold what TRL and transformers do not save.

They restore weights, optimiser, schedule and random states. They lose the position in the cycle of sampling and
updating, the rollouts that are still to be trained on, the metrics since the last log line, a synchronised reference
model, and a LoRA adapter beside its reference; and they repeat the order of the first epoch in every later one.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints
from trl.trainer.utils import RepeatSampler

from data.terminal import first_line, say
from train.distributed.sharding import sharding_on_any_device
from train.files.checkpoints import (
    COLD_START,
    UNFINISHED,
    checkpoint_name,
    discard_after,
    fault,
    newest_whole,
    publish,
    step_of,
)

REFERENCE = "reference.safetensors"
COUNTERS = ("_tr_loss", "_total_loss_scalar", "_globalstep_last_logged", "_total_train_tokens")

# transformers loads the optimiser of several processes to their device, and torch does not know one called cpu:0.
torch.serialization.register_package(
    0, lambda storage: None, lambda storage, location: storage if location.startswith("cpu:") else None
)


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none can be read; the one-line message says which checkpoint is whole."""


class EpochSampler(Sampler[int]):
    """TRL's sampler with the order of an epoch a function of (seed, epoch), the same as in an unbroken run."""

    def __init__(self, sampler: RepeatSampler) -> None:
        self.sampler = sampler
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.sampler.seed)
            for _ in range(self.epoch):  # the orders of the epochs before, as TRL draws them
                torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


class GoOn(TrainerCallback):
    """Restores the progress after transformers has set up the training, and before the first batch."""

    def __init__(self, trainer: "ResumableTrainer") -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Counters have just been set to zero."""
        self.trainer.go_on()
        if state.global_step >= state.max_steps and state.is_world_process_zero:
            say(
                f"The run has done {state.global_step} of {state.max_steps} steps: nothing is left to train. Raise "
                "max_steps, or num_train_epochs, to go on."
            )

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """accelerate's own search for the sampler does not see through every wrapper."""
        if self.trainer.epoch_sampler is not None:
            self.trainer.epoch_sampler.epoch = int(state.epoch or 0)


class ResumableTrainer(Trainer):
    """A mixin for TRL's trainers: a checkpoint gets its name when it is complete, and holds all that resuming needs.

    Each process saves its own progress beside its random states.
    """

    _unfinished: Path | None = None
    _resumed: str | None = None
    epoch_sampler: EpochSampler | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_callback(GoOn(self))

    def create_accelerator_and_postprocess(self) -> None:
        """Create the accelerator as transformers does, with sharding allowed on CPUs too."""
        with sharding_on_any_device():
            super().create_accelerator_and_postprocess()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: TRL's names neither the base model nor the tasks; the run's config.yaml says both."""

    def progress(self) -> dict[str, Any]:
        """The state that this process needs to continue, as numbers and tensors."""
        metrics = {
            mode: {key: list(map(float, row)) for key, row in values.items()} for mode, values in self._metrics.items()
        }
        return {"metrics": metrics} | {name: getattr(self, name) for name in COUNTERS}

    def take_up(self, progress: dict[str, Any]) -> None:
        """Continue from what `progress` returned."""
        for mode, metrics in self._metrics.items():
            metrics.update(progress["metrics"][mode])
        for name in COUNTERS:
            setattr(self, name, progress[name])

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Gathered from shards, weights that are tied no longer share their memory, and would be written twice.
        aliases = getattr(self.model, "all_tied_weights_keys", {})
        if state_dict is not None:
            state_dict = {name: weight for name, weight in state_dict.items() if name not in aliases}
        super()._save(output_dir, state_dict)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        torch.save(self.progress(), self._progress_file(output_dir))
        if getattr(self.args, "sync_ref_model", False) and self.args.should_save:
            save_model(self.accelerator.unwrap_model(self.ref_model), str(Path(output_dir) / REFERENCE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._resumed = checkpoint

    def go_on(self) -> None:
        """Restore the progress in the checkpoint that training resumes from, if it resumes."""
        if self._resumed is None:
            return
        progress = self._progress_file(self._resumed)
        self.take_up(torch.load(progress, map_location=self.args.device, weights_only=True))
        if getattr(self.args, "sync_ref_model", False):
            load_model(self.accelerator.unwrap_model(self.ref_model), str(Path(self._resumed) / REFERENCE))

    def _progress_file(self, checkpoint: str) -> Path:
        return Path(checkpoint) / f"progress-rank{self.args.process_index}.pt"

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if isinstance(self.model, PeftModel) and "ref" in self.model.peft_config:
            # Where a reference adapter lies beside the trained one, transformers loads the reference alone.
            self.model.load_adapter(resume_from_checkpoint, "default", is_trainable=True)
            self.model.set_adapter("default")

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:  # killed between its last checkpoint and its end
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._unfinished or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        name = checkpoint_name(self.state.global_step)
        if self.args.should_save:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._unfinished = folder / UNFINISHED
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            self._point_to_best(folder)
            if self.args.should_save:
                self.state.save_to_json(str(folder / UNFINISHED / name / "trainer_state.json"))
                publish(folder / UNFINISHED / name, folder / name)
                rotate_checkpoints(str(folder), self.args.save_total_limit, self.state.best_model_checkpoint)
        except (OSError, SafetensorError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not writing_failed(error):
                raise
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            raise CheckpointError(_not_written(folder, name, error)) from error
        finally:
            self._unfinished = None
        self.accelerator.wait_for_everyone()

    def _point_to_best(self, folder: Path) -> None:
        """Record the path of the best checkpoint: transformers has looked among the unfinished ones."""
        best = self.state.best_global_step
        if best and (best == self.state.global_step or (folder / checkpoint_name(best)).is_dir()):
            self.state.best_model_checkpoint = str(folder / checkpoint_name(best))


def resume_point(folder: Path) -> Path | None:
    """The newest whole checkpoint in `folder`, or None; says what was passed over, and moves it out of the way.

    The first process looks, and all take what it found. Raises CheckpointError where there are checkpoints and none is
    whole: to start anew without a word could cost days.
    """
    decision: list[str | None] = [None, None]  # the checkpoint, or why there is none
    if PartialState().is_main_process:
        path, passed_over = newest_whole(folder)
        for line in passed_over:
            say(line)
        if path is not None:
            decision = [str(path), None]
        elif passed_over:
            decision = [None, _none_whole(folder)]
        if decision[1] is None:
            discard_after(folder, step_of(path) if path else -1)
    if PartialState().num_processes > 1:
        broadcast_object_list(decision)
    checkpoint, complaint = decision
    if complaint:
        raise CheckpointError(complaint)
    return Path(checkpoint) if checkpoint else None


def _none_whole(folder: Path) -> str:
    """Advice where there are checkpoints and none of them is whole."""
    anew = f"None of the checkpoints in {folder} is whole; --overwrite starts the run anew."
    if fault(folder / COLD_START) is not None:
        return anew
    return (
        f"None of the checkpoints in {folder} is whole, but the cold start is: delete them with `rm -r "
        f"{folder}/checkpoint-*`, and --resume begins RL from it again."
    )


def writing_failed(error: BaseException) -> bool:
    """Whether `error` comes from a disk that is full or cannot be written; torch and safetensors have no class for it.

    torch.save words it in several ways.
    """
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
    if isinstance(error, OSError) and error.errno in numbers:
        return True
    signs = ("PytorchStreamWriter", "unexpected pos", "iostream error", *map(os.strerror, numbers))
    return any(sign in str(error) for sign in signs)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn errors of torch and safetensors on a full disk into a CheckpointError that names the last whole checkpoint.

    `folder` holds the run's checkpoints. An OSError says its reason itself, and stays.
    """
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if isinstance(error, CheckpointError) or not writing_failed(error):
            raise
        raise CheckpointError(f"A file could not be written: {first_line(error)}. {what_is_left(folder)}") from error


def _not_written(folder: Path, name: str, error: Exception) -> str:
    free = shutil.disk_usage(folder).free / 2**20
    return f"{name} could not be written: {first_line(error)} ({free:,.0f} MiB free). {what_is_left(folder)}"


def what_is_left(folder: Path) -> str:
    """The newest whole checkpoint in `folder`, if any, from which a run whose disk is full can continue."""
    last, _ = newest_whole(folder)
    words = f"{last} is whole" if last else "No checkpoint was written before it"
    return f"{words}; free some space, then --resume."
