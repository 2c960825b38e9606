"""The cold start: supervised training on demonstrated search traces, the loss on the completion alone."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import GRPOConfig, SFTConfig, SFTTrainer

from data.mixture import demonstrations
from train.callbacks import MetricsFile, ProgressBar
from train.config import RunConfig, world_size
from train.prompts import messages, opens_thinking, prompt_ids
from train.run_folder import COLD_START


def cold_start(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, run: RunConfig, training: GRPOConfig, peft_config: Any
) -> Path:
    """Train `model` on fresh demonstrations and save it beside the checkpoints to come; returns the path."""
    arguments = SFTConfig(
        output_dir=str(run.folder / "checkpoints" / COLD_START),
        max_steps=run.cold_start_steps,
        per_device_train_batch_size=run.cold_start_batch_size,
        learning_rate=run.cold_start_learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=min(50, run.cold_start_steps // 10),
        max_grad_norm=1.0,
        train_sampling_strategy="group_by_length",
        max_length=None,
        completion_only_loss=True,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=training.seed,
        bf16=training.bf16,
        use_cpu=training.use_cpu,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    count = run.cold_start_steps * run.cold_start_batch_size * world_size()
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=demonstration_dataset(tokenizer, run, count, training.seed),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[MetricsFile(run.folder / "metrics.jsonl", "cold-start"), ProgressBar("cold start")],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model()
    return Path(arguments.output_dir)


def demonstration_dataset(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, count: int, seed: int
) -> Dataset:
    """`count` demonstrations as token ids: the prompt as RL will ask it, the completion, and the end token."""
    opened = opens_thinking(tokenizer)
    rows = []
    for problem, completion in demonstrations(run.parts, count, run.split_seed, order=seed):
        prompt = prompt_ids(tokenizer, messages(problem, run.system_prompt))
        text = completion.removeprefix("<think>") if opened else completion
        answer = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        rows.append(
            {
                "input_ids": prompt + answer,
                "completion_mask": [0] * len(prompt) + [1] * len(answer),
                "length": len(prompt) + len(answer),
            }
        )
    return Dataset.from_list(rows)
