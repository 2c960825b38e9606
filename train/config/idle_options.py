"""Options of TRL that would do nothing here, or would break a run: refused by name, each with what to do instead."""

from collections.abc import Mapping
from typing import Any

LEAVE_OUT = "leave it out"
IN_VAIN = ("do_train", "do_predict", "batch_eval_metrics", "fp16_full_eval", "bf16_full_eval")
# Option: the values that change nothing, and what to do in place of another.
IDLE: dict[str, tuple[tuple[Any, ...], str]] = {
    "resume_from_checkpoint": ((None,), "give --resume, which goes on from the run's newest whole checkpoint"),
    "output_dir": ((None,), "set runs_dir and name"),
    "model_init_kwargs": ((None,), "set model_dtype or load_in_4bit"),
    "trust_remote_code": ((False,), "no code of a checkpoint is run"),
    "cache_implementation": ((None,), LEAVE_OUT),
    "use_transformers_continuous_batching": ((False,), LEAVE_OUT),
    "use_transformers_paged": ((False,), LEAVE_OUT),
    "transformers_continuous_batching_config": ((None,), LEAVE_OUT),
    "repetition_penalty": ((1.0,), LEAVE_OUT),
    "generation_kwargs": ((None,), LEAVE_OUT),
    "max_tool_calling_iterations": ((None,), LEAVE_OUT),
    "label_smoothing_factor": ((0.0,), LEAVE_OUT),
    "local_rank": ((-1, 0), "the launcher gives each process its own"),
    **{name: ((False,), LEAVE_OUT) for name in IN_VAIN},
    **{name: ((None,), LEAVE_OUT) for name in ("label_names", "include_for_metrics")},
    "length_column_name": (("length",), LEAVE_OUT),
    "eval_do_concat_batches": ((True,), LEAVE_OUT),
    "restore_callback_states_from_checkpoint": ((False,), "--resume restores all that a run needs"),
    "train_sampling_strategy": (("random",), "the order of the problems is shuffle_dataset's and the seed's"),
}
# Options that break a run: what they would do.
BREAKING: dict[str, tuple[tuple[Any, ...], str]] = {
    "remove_unused_columns": ((False, None), "would take from each row the problem that its reward is judged by"),
    "auto_find_batch_size": ((False,), "would split groups; lower per_device_train_batch_size"),
    "neftune_noise_alpha": ((None, 0), "would add noise to the loss but not to the rollouts"),
    "ignore_data_skip": ((False,), "would have a resumed run begin its epoch's problems again"),
    "dataloader_drop_last": ((False,), "would leave out validation problems that fill no batch"),
    "enable_jit_checkpoint": ((False,), "would answer SIGTERM, after which the step in hand is already saved"),
}


def refuse_idle(values: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of TRL that Rethink would ignore, or that would break a run."""
    for name, (neutral, instead) in IDLE.items():
        if values.get(name, neutral[0]) not in neutral:
            raise ValueError(f"{name} is {values[name]!r}, which Rethink would ignore; {instead}.")
    for name, (neutral, does) in BREAKING.items():
        if values.get(name, neutral[0]) not in neutral:
            raise ValueError(f"{name} is {values[name]!r}, which {does}; leave it out.")
