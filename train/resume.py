"""Exact resume: what a run needs to go on as if nothing had happened, and TRL and transformers do not save.

They restore weights, optimiser, schedule and random states. They lose where in the cycle of sampling and updating the
run stood, the rollouts that the cycle has left, the metrics gathered since the last log line, a reference model that
is synchronised, a LoRA adapter that has a reference beside it, and they replay the first epoch's order in every later
one. Each process saves its own part beside its random states.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_model, save_model
from torch.utils.data import Sampler
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import RepeatSampler

from train.config import RunConfig, resolved, world_size
from train.rollout.lengths import LengthMemory

REFERENCE = "reference.safetensors"
# What may change when a run goes on: how long, what is shown, what is kept. All else would make it another run.
FREE = (
    "name", "runs_dir", "max_steps", "num_train_epochs", "guard_fraction", "disable_tqdm", "report_to", "run_name",
    "per_device_eval_batch_size", "metric_for_best_model", "greater_is_better", "load_best_model_at_end",
)  # fmt: skip
FREE_PREFIXES = ("logging_", "log_", "save_", "eval_", "hub_", "push_to_hub", "trackio_", "project")


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


class TellEpoch(TrainerCallback):
    """Tells the trainer's sampler which epoch begins; accelerate's own way does not reach it in every set-up."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Before the first batch of the epoch is drawn."""
        self.trainer.epoch_sampler.epoch = int(state.epoch or 0)


def save_progress(trainer: GRPOTrainer, lengths: LengthMemory, checkpoint: Path) -> None:
    """Write this process's part of `trainer`'s progress into `checkpoint`."""
    cycle = trainer.args.steps_per_generation * trainer.num_iterations
    progress = {
        "step": trainer._step,
        "rollouts": trainer._buffered_inputs if trainer._step % cycle else None,
        "metrics": {mode: {name: list(map(float, row)) for name, row in kept.items()} for mode, kept in _kept(trainer)},
        "loss": trainer._tr_loss,
        "total_loss": trainer._total_loss_scalar,
        "last_logged": trainer._globalstep_last_logged,
        "lengths": lengths.state_dict(),
    }
    torch.save(progress, checkpoint / _name(trainer))
    if trainer.args.sync_ref_model and trainer.args.should_save:
        save_model(trainer.accelerator.unwrap_model(trainer.ref_model), str(checkpoint / REFERENCE))


def load_progress(trainer: GRPOTrainer, lengths: LengthMemory, checkpoint: Path) -> None:
    """Take up what `save_progress` wrote."""
    progress = torch.load(checkpoint / _name(trainer), map_location=trainer.args.device, weights_only=True)
    trainer._step = progress["step"]
    trainer._buffered_inputs = progress["rollouts"]
    for mode, kept in _kept(trainer):
        kept.update(progress["metrics"][mode])
    trainer._tr_loss = progress["loss"]
    trainer._total_loss_scalar = progress["total_loss"]
    trainer._globalstep_last_logged = progress["last_logged"]
    lengths.load_state_dict(progress["lengths"])
    if trainer.args.sync_ref_model:
        load_model(trainer.accelerator.unwrap_model(trainer.ref_model), str(checkpoint / REFERENCE))


def load_trained_adapter(model: PreTrainedModel | PeftModel, checkpoint: Path) -> None:
    """Load the trained adapter where a reference lies beside it: transformers would load the reference alone."""
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.load_adapter(str(checkpoint), "default", is_trainable=True)
        model.set_adapter("default")


def refuse_changes(run: RunConfig, training: GRPOConfig) -> None:
    """Raise ValueError, naming the options, where the run would go on under other settings than it began with."""
    processes = json.loads((run.folder / "environment.json").read_text())["processes"]
    if world_size() != processes:
        raise ValueError(f"The run began with {processes} processes, and this would go on with {world_size()}.")
    began = yaml.safe_load((run.folder / "config.yaml").read_text())
    now = yaml.safe_load(yaml.safe_dump(resolved(run, training)))
    differing = [
        f"{name} was {began.get(name, 'left out')!r} and is {now.get(name, 'left out')!r}"
        for name in sorted(began.keys() | now.keys())
        if began.get(name) != now.get(name) and name not in FREE and not name.startswith(FREE_PREFIXES)
    ]
    if differing:
        raise ValueError(
            f"--resume goes on with the settings that the run began with, but {'; '.join(differing)}. Put them "
            "back, or start another run with --name."
        )


def _kept(trainer: GRPOTrainer) -> list[tuple[str, dict[str, list[float]]]]:
    """The metrics gathered since the last log line, by mode."""
    return list(trainer._metrics.items())


def _name(trainer: GRPOTrainer) -> str:
    return f"progress-rank{trainer.args.process_index}.pt"
