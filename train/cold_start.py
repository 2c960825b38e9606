"""The cold start: supervised training on demonstrated search traces, the loss on the completion alone."""

import shutil
from typing import Any, Literal

import torch
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import GRPOConfig, SFTConfig, SFTTrainer

from data.mixture import Part, demonstrations
from data.tasks import get_task
from data.terminal import say
from train.config.qlora import keep_adapters_precise
from train.config.run_config import RunConfig, world_size
from train.files.checkpoints import COLD_START, UNFINISHED, publish, step_of
from train.lifecycle.callbacks import MetricsFile, ProgressBar, StopWhenAsked
from train.lifecycle.overwriting import ForgetOverwritten
from train.lifecycle.resume import ResumableTrainer, resume_point
from train.lifecycle.run_folder import truncate_metrics
from train.lifecycle.signals import Interrupted
from train.lifecycle.trackers import TENSORBOARD, log_last
from train.model.prompts import messages, opens_thinking, prompt_ids
from train.muon import Muon
from train.rollout.support import context_length
from train.trace_set import trace_examples

LOGGING_STEPS = 10
HABIT_RATE = 0.1  # of the peak rate, to which it falls: the habits come last, and a rate of 0 would teach none


class DemonstrationTrainer(ResumableTrainer, SFTTrainer):
    """TRL's SFTTrainer with some tokens weighing more: the judgements on one's own steps and attempts.

    They are one token in twenty, decide everything, and are learnt last by a small model.
    """

    def __init__(
        self, *args: Any, judgement_ids: list[int], judgement_weight: float, muon: bool = False, **kwargs: Any
    ) -> None:
        self.muon = muon
        super().__init__(*args, **kwargs)
        keep_adapters_precise(self.model)
        self.judgement_ids = torch.tensor(judgement_ids)
        self.judgement_weight = judgement_weight

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Muon where it is set, else transformers' own."""
        if not self.muon:
            return super().create_optimizer(model)
        self.optimizer = Muon(self.model if model is None else model, self.args.learning_rate)
        return self.optimizer

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cross-entropy averaged over the completion tokens with their weights, those of all processes together."""
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        targets = inputs["labels"][:, 1:]  # (rows, width - 1)
        judged = torch.isin(targets, self.judgement_ids.to(targets.device))  # (rows, width - 1)
        weights = (targets != -100) * torch.where(judged, self.judgement_weight, 1.0)
        # Prompts included, padding not, of all processes: what the cold start cost.
        self._total_train_tokens += int(self.accelerator.reduce(inputs["attention_mask"].sum(), "sum"))
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        right = outputs.is_top1[judged].float()
        if len(right):
            self._metrics["train"]["judgement_accuracy"].append(right.mean().item())
        # The gradients of the processes are averaged, so each divides by the mean of their weights: a mean of means
        # would count the tokens of a process with shorter demonstrations for more.
        return -(outputs.log_probs * weights).sum() / self.accelerator.reduce(weights.sum(), "mean").clamp(min=1)


def cold_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    run: RunConfig,
    training: GRPOConfig,
    peft_config: Any,
    stop: StopWhenAsked,
) -> None:
    """Train `model` on fresh demonstrations and save it beside the checkpoints to come, as `cold-start`.

    One that was cut off continues from where it was last saved, every tenth of the way. Raises Interrupted.
    """
    checkpoints = run.folder / "checkpoints"
    on_the_way = checkpoints / f"{COLD_START}-unfinished"
    metrics = run.folder / "metrics.jsonl"
    resumed = resume_point(on_the_way) if run.resume else None
    if run.resume and training.process_index == 0:
        truncate_metrics(metrics, "cold-start", step_of(resumed) if resumed else -1)
        say(f"The cold start goes on from {resumed}." if resumed else "The cold start starts anew.")
    staged = run.cold_start_easy_steps or run.cold_start_habit_steps
    arguments = SFTConfig(
        output_dir=str(on_the_way),
        max_steps=run.cold_start_steps,
        per_device_train_batch_size=run.cold_start_batch_size,
        learning_rate=run.cold_start_learning_rate,
        lr_scheduler_type="cosine_with_min_lr" if run.cold_start_habit_steps else "cosine",
        lr_scheduler_kwargs={"min_lr_rate": HABIT_RATE} if run.cold_start_habit_steps else {},
        warmup_steps=min(50, run.cold_start_steps // 10),
        max_grad_norm=1.0,
        train_sampling_strategy="sequential" if staged else "group_by_length",
        max_length=None,
        completion_only_loss=True,
        logging_steps=LOGGING_STEPS,
        save_strategy="steps",
        save_steps=max(1, run.cold_start_steps // 10),
        save_total_limit=1,
        report_to=[name for name in training.report_to if name == "tensorboard"],
        log_level=training.log_level,
        disable_tqdm=True,
        seed=training.seed,
        bf16=training.bf16,
        use_cpu=training.use_cpu,
        dataloader_pin_memory=training.dataloader_pin_memory,
        ddp_find_unused_parameters=training.ddp_find_unused_parameters,
        gradient_checkpointing=training.gradient_checkpointing,
    )
    trainer = DemonstrationTrainer(
        judgement_ids=sorted(token_ids(tokenizer, run, "judgements")),
        judgement_weight=run.cold_start_judgement_weight,
        muon=run.cold_start_optim == "muon",
        model=model,
        args=arguments,
        train_dataset=training_set(tokenizer, run, training.seed, limits_of(model, training)),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[MetricsFile(metrics, "cold-start"), ProgressBar("cold start"), stop, ForgetOverwritten(run)],
    )
    trainer.remove_callback(PrinterCallback)
    log_last(trainer, run.folder / TENSORBOARD / COLD_START, step_of(resumed) if resumed else -1)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if stop.stopped:
        step = trainer.state.global_step
        raise Interrupted(f"Stopped after step {step} of the cold start, which is saved; --resume goes on from it.")
    trainer.save_model(str(checkpoints / UNFINISHED / COLD_START))
    trainer.accelerator.wait_for_everyone()
    if trainer.args.should_save:
        publish(checkpoints / UNFINISHED / COLD_START, checkpoints / COLD_START)
        shutil.rmtree(on_the_way)
    trainer.accelerator.wait_for_everyone()  # the other processes load what the first one wrote


def token_ids(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, attribute: Literal["judgements", "doubts"]
) -> set[int]:
    """Ids of the tasks' words of a kind, with and without the space before them, where they are single tokens."""
    words = [word for part in run.demonstration_parts for word in getattr(get_task(part.task), attribute)]
    encoded = [tokenizer.encode(space + word, add_special_tokens=False) for word in words for space in ("", " ")]
    return {ids[0] for ids in encoded if len(ids) == 1}


def limits_of(model: PreTrainedModel, training: GRPOConfig) -> tuple[int, int]:
    """The longest completion in RL, and the model's context, both in tokens."""
    return training.max_completion_length, context_length(model)


def training_set(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, seed: int, limits: tuple[int, int] = (0, 0)
) -> Dataset:
    """All examples of the cold start; where it has stages, in the order in which they are trained on.

    `limits` are those of what is taken of `cold_start_data`: tokens of a completion, and of all.
    """
    batch = run.cold_start_batch_size * world_size()
    easy, habits = run.cold_start_easy_steps, run.cold_start_habit_steps
    skills = skill_dataset(tokenizer, run, (run.cold_start_steps - easy - habits) * batch, seed, limits)
    if not easy and not habits:
        return skills
    generator = torch.Generator().manual_seed(seed)
    stages = []
    if easy:
        first = demonstration_dataset(
            tokenizer, run, run.demonstration_parts_with(run.cold_start_easy), easy * batch, seed + 2
        )
        stages.append(_by_length(first, batch, generator))
    stages.append(_by_length(skills, batch, generator))
    # The habits are not grouped by length: each batch is averaged over its tokens, and a batch of nothing but short
    # demonstrations would teach haste several times as fast as the long ones teach patience.
    if habits:
        parts = run.demonstration_parts_with(run.cold_start_habits)
        stages.append(demonstration_dataset(tokenizer, run, parts, habits * batch, seed + 1))
    return concatenate_datasets(stages)


def _by_length(examples: Dataset, batch: int, generator: torch.Generator) -> Dataset:
    """In random order, but with batches of similar lengths, so that little of them is padding."""
    return examples.select(get_length_grouped_indices(examples["length"], batch, generator=generator))


def skill_dataset(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, count: int, seed: int, limits: tuple[int, int]
) -> Dataset:
    """`count` demonstrations, or where the run has traces, these in their share and demonstrations for the rest.

    Traces that are fewer than their share are repeated.
    """
    settings = run.trace_settings
    if settings is None:
        return demonstration_dataset(tokenizer, run, run.demonstration_parts, count, seed)
    share = max(1, round(settings.share * count))
    traces = Dataset.from_list(trace_examples(tokenizer, run, *limits, share))
    parts = [traces.select([place % len(traces) for place in range(share)])]
    if share < count:
        parts.append(demonstration_dataset(tokenizer, run, run.demonstration_parts, count - share, seed))
    return concatenate_datasets(parts).shuffle(seed=seed)


def demonstration_dataset(
    tokenizer: PreTrainedTokenizerBase, run: RunConfig, parts: list[Part], count: int, seed: int
) -> Dataset:
    """`count` demonstrations as token ids: the prompt as RL will ask it, the completion, and the end token.

    The prompt is no target. Of a demonstration's words of doubt only the first is one: the model learns what follows a
    further doubt, which budget forcing may append, but not to doubt again and again by itself.
    """
    opened = opens_thinking(tokenizer)
    doubts = token_ids(tokenizer, run, "doubts")
    rows = []
    for problem, completion in demonstrations(parts, count, run.split_seed, order=seed):
        prompt = prompt_ids(tokenizer, messages(problem, run.system_prompt))
        text = completion.removeprefix("<think>") if opened else completion
        answer = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        first = next((place for place, token in enumerate(answer) if token in doubts), len(answer))
        targets = [int(token not in doubts or place == first) for place, token in enumerate(answer)]
        rows.append(
            {
                "input_ids": prompt + answer,
                "completion_mask": [0] * len(prompt) + targets,
                "length": len(prompt) + len(answer),
            }
        )
    return Dataset.from_list(rows)
