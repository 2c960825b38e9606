"""The parity gate in a run: what is broken in the trainer's own forward stops the run, by name."""

import copy
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from train.rollout.engine import RolloutEngine
from train.rollout.parity.gate import ParityError
from train.trainer import ReasoningTrainer

compute = GRPOTrainer._get_per_token_logps_and_entropies


@pytest.fixture
def sharp_model(tiny_model, tokenizer):
    """Random weights large enough that a wrong forward shows in the logits."""
    generator = torch.Generator().manual_seed(0)
    for parameter in tiny_model.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(0, 0.25, generator=generator)
    return tiny_model


def trainer_of(model, tokenizer, folder, **values):
    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=4, gradient_accumulation_steps=4, num_generations=4,
        max_completion_length=16, beta=0.0, max_steps=1, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True,
        save_strategy="no", shuffle_dataset=False, **values,
    )  # fmt: skip
    texts = ["1 + 1", "1 + 2 + 3 + 4 + 5 + 6", "7", "8 + 9 + 10"]  # of unlike lengths, so that TRL pads
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": f"compute {text}"}]} for text in texts])

    def reward(completion_ids, **_):
        return [float(sum(ids) % 2) for ids in completion_ids]

    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.bos_token = "<|user|>"  # its prompts begin with it
    trainer = ReasoningTrainer(
        model=model, reward_funcs=reward, args=arguments, train_dataset=prompts, processing_class=tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def without_mask(self, model, input_ids, attention_mask, keep, **options):
    with _changed(model, lambda given: given | {"attention_mask": torch.ones_like(attention_mask)}):
        return compute(self, model, input_ids, attention_mask, keep, **options)


def position_zero(self, model, input_ids, attention_mask, keep, **options):
    with _changed(model, lambda given: given | {"position_ids": torch.zeros_like(input_ids)}):
        return compute(self, model, input_ids, attention_mask, keep, **options)


def one_more_bos(self, model, input_ids, attention_mask, keep, **options):
    bos = self.processing_class.bos_token_id
    rows, masks = [], []
    for ids, mask in zip(input_ids, attention_mask, strict=True):
        start = int(mask.argmax())  # behind the padding
        rows.append(torch.cat([ids[:start], ids.new_tensor([bos]), ids[start:]]))
        masks.append(torch.cat([mask[:start], mask.new_ones(1), mask[start:]]))
    return compute(self, model, torch.stack(rows), torch.stack(masks), keep, **options)


def in_bfloat16(self, *arguments, **options):
    with torch.autocast("cpu", torch.bfloat16):
        return compute(self, *arguments, **options)


def without_adapter(self, model, *arguments, **options):
    with model.disable_adapter():
        return compute(self, model, *arguments, **options)


@contextmanager
def _changed(model, change: Callable[[dict], dict]):
    hook = model.register_forward_pre_hook(lambda _, args, given: (args, change(given)), with_kwargs=True)
    yield
    hook.remove()


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (without_mask, "mask - the trainer's forward attended to the padding"),
        (position_zero, "position - the trainer's forward gave every token position 0"),
        (one_more_bos, "BOS - the trainer's forward had one more token"),
        (in_bfloat16, r"precision - .* so the trainer's forward came from bfloat16"),
    ],
)
def test_what_is_broken_in_the_losss_forward_is_named(sharp_model, tokenizer, tmp_path, monkeypatch, broken, cause):
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", broken)
    with pytest.raises(ParityError, match=cause):
        trainer_of(sharp_model, tokenizer, tmp_path).train()


def test_dropout_is_named_and_the_mend_that_it_names_mends_it(sharp_model, tokenizer, tmp_path):
    for layer in sharp_model.model.layers:
        layer.mlp.down_proj = torch.nn.Sequential(torch.nn.Dropout(0.2), layer.mlp.down_proj)
    with pytest.raises(ParityError, match=r"dropout - .* disable_dropout: true"):
        trainer_of(sharp_model, tokenizer, tmp_path).train()
    trainer_of(sharp_model, tokenizer, tmp_path, disable_dropout=True).train()


def test_a_loss_without_the_adapter_is_named(sharp_model, tokenizer, tmp_path, monkeypatch):
    adapted = get_peft_model(sharp_model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", without_adapter)
    with pytest.raises(ParityError, match="adapter - the trainer's forward came from the base model"):
        trainer_of(adapted, tokenizer, tmp_path).train()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_an_unbroken_run_passes_and_logs_the_gap_to_the_loss(sharp_model, tokenizer, tmp_path, temperature):
    trainer = trainer_of(sharp_model, tokenizer, tmp_path, temperature=temperature)
    trainer.train()
    (gap,) = [row["logprob_gap/max"] for row in trainer.state.log_history if "logprob_gap/max" in row]
    assert 0 < gap < 1e-4


def test_the_gate_draws_nothing_and_changes_nothing(sharp_model, tokenizer, tmp_path):
    sharp_model.model.layers[0].mlp.act_fn = torch.nn.Sequential(torch.nn.Dropout(1e-9), torch.nn.SiLU())
    trainer = trainer_of(sharp_model, tokenizer, tmp_path)
    trainer.model.train()
    before = torch.get_rng_state(), [module.training for module in sharp_model.modules()]
    ids, logprobs = trainer._generate_single_turn([[5, 6, 7]] * 4 + [[8, 9]] * 4, None, {}, 4)
    assert len(ids) == len(logprobs) == 8
    assert torch.equal(torch.get_rng_state(), before[0])
    assert [module.training for module in sharp_model.modules()] == before[1]
    assert all(parameter.grad is None for parameter in sharp_model.parameters())


@pytest.mark.parametrize(
    "options", [{}, {"top_p": 0.6}, {"top_k": 3}, {"min_p": 0.3}, {"top_k": 3, "temperature": 0.7}]
)
def test_the_loss_is_given_what_its_own_forward_would_give_however_samples_are_cut(
    sharp_model, tokenizer, tmp_path, options
):
    trainer = trainer_of(sharp_model, tokenizer, tmp_path, **options)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([trainer.train_dataset[n] for n in (0, 1) for _ in range(4)])
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        own, _, _ = compute(trainer, trainer.model, ids, mask, batch["completion_ids"].shape[1])
    present = batch["completion_mask"].bool()
    torch.testing.assert_close(batch["old_per_token_logps"][present], own[present], atol=1e-4, rtol=0)


def test_what_decodes_the_rollouts_is_said_once_before_the_first_update(
    tiny_model, tokenizer, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("train.rollout_trainer.RolloutEngine", partial(RolloutEngine, page_tokens=16))
    trainer = trainer_of(tiny_model, tokenizer, tmp_path)
    trainer.args.max_steps = 2
    trainer.train()
    said = "".join(capsys.readouterr())
    assert said.count("Rollouts are decoded by the module's own layers.\n") == 1
