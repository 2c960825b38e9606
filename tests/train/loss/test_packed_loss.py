"""Over packed rows the loss has the gradients of stock TRL, which pads: in float32 within 1e-5."""

import copy

import pytest
import torch
from datasets import Dataset
from rollout_models import FAMILIES, VOCAB, sharpened
from transformers import Gemma2Config, Gemma2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from train.config.parse import parse_config
from train.loss import packed_attention
from train.loss.packed import check_packing, shared_prompts
from train.trainer import ReasoningTrainer

LENGTHS = (3, 40, 17, 1, 29, 33, 8, 24)  # of completions; gemma3's window is 24 tokens
SIZE = {
    "vocab_size": 120, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1,
}  # fmt: skip


def trainer_of(kind, model, tokenizer, folder, **options) -> GRPOTrainer:
    packed = {"packed_loss": options.pop("packed_loss")} if "packed_loss" in options else {}
    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=8, num_generations=8, max_completion_length=40, beta=0.0,
        max_steps=1, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no",
        **{"gradient_checkpointing": False} | options,
    )  # fmt: skip
    prompts = Dataset.from_list([{"prompt": "1 + 1"}] * 8)
    return kind(
        copy.deepcopy(model), lambda completions, **_: [0.0] * len(completions), arguments, prompts,
        processing_class=tokenizer, **packed,
    )  # fmt: skip


def batch_of() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows, width, prompt = len(LENGTHS), max(LENGTHS), 9
    prompts = torch.arange(prompt) >= torch.arange(rows)[:, None] % 5  # padded at the left
    prompts[3] = True
    completions = torch.arange(width) < torch.tensor(LENGTHS)[:, None]
    # Two prompts three times each, the second row of the first one masked, and two prompts of their own.
    ids = torch.randint(3, VOCAB, (rows, prompt), generator=generator)
    for row, like in ((1, 0), (2, 0), (4, 3), (5, 3)):
        ids[row], prompts[row] = ids[like], prompts[like]
    completions[1] = False
    return {
        "prompt_ids": ids,
        "prompt_mask": prompts.long(),
        "completion_ids": torch.randint(3, VOCAB, (rows, width), generator=generator),
        "completion_mask": completions.long(),
        "advantages": torch.linspace(-1, 1, rows),
        "num_items_in_batch": torch.tensor(float(sum(LENGTHS))),
    }


def gradient(trainer: GRPOTrainer) -> dict[str, torch.Tensor]:
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    trainer.training_step(trainer.model, batch_of(), None)
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "smollm3"])
def test_the_gradient_is_that_of_stock_trl(family, checkpointing, tokenizer, tmp_path, monkeypatch) -> None:
    model = FAMILIES[family]()
    monkeypatch.setattr(GRPOTrainer, "_prepare_inputs", lambda self, batch: batch)
    monkeypatch.setattr(ReasoningTrainer, "_prepare_inputs", lambda self, batch: batch)
    options = {"gradient_checkpointing": checkpointing}
    stock = gradient(trainer_of(GRPOTrainer, model, tokenizer, tmp_path, **options))
    packed = gradient(trainer_of(ReasoningTrainer, model, tokenizer, tmp_path, packed_loss=True, **options))
    assert stock.keys() == packed.keys()
    largest = max(float(part.abs().max()) for part in stock.values())
    assert largest > 1e-2
    for name, part in stock.items():
        assert float((packed[name] - part).abs().max()) < 1e-5 * max(1.0, largest), name


def test_a_prompt_is_computed_once_for_neighbours_and_rows_without_labels_not_at_all() -> None:
    batch = batch_of()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1).bool()
    labels = ids.masked_fill(~mask, -100)
    labels[:, :9] = -100
    present, spans = shared_prompts(ids, mask, labels)
    assert spans is not None
    assert [(span.end - span.start, span.before_end - span.before) for span in spans] == [
        (12, 0),
        (18, 8),  # behind the prompt of the first row
        (10, 0),
        (30, 8),
        (34, 8),
        (8 + 8, 0),
        (7 + 24, 0),
    ]
    assert int(present.sum()) == spans[-1].end
    alone, unshared = shared_prompts(ids, mask, torch.full_like(labels, -100))
    assert unshared is None and torch.equal(alone, mask)


def test_attention_that_packed_rows_do_not_compute_is_refused(tokenizer, tmp_path) -> None:
    capped = sharpened(Gemma2ForCausalLM(Gemma2Config(**SIZE, head_dim=16)))
    with pytest.raises(
        ValueError, match=r"^packed_loss is set, which Gemma2\w+ does not do: its attention uses softcap"
    ):
        trainer_of(ReasoningTrainer, capped, tokenizer, tmp_path, packed_loss=True)


def test_a_model_whose_packed_rows_come_out_different_is_refused_with_the_gap(tokenizer, tmp_path, monkeypatch) -> None:
    def blind(query, *_):
        return torch.zeros_like(query.transpose(1, 2))

    trainer = trainer_of(ReasoningTrainer, FAMILIES["llama"](), tokenizer, tmp_path)
    check_packing(trainer.model)
    monkeypatch.setattr(packed_attention, "_row_by_row", blind)
    with pytest.raises(ValueError, match=r"^packed_loss is set, but packed rows of Llama\w+ give other .* by \d"):
        check_packing(trainer.model)


def test_packed_rows_need_another_sampler_than_generate() -> None:
    with pytest.raises(ValueError, match="packed_loss is set, but backend is generate"):
        parse_config(["--name", "x", "--tasks", '{"countdown": {}}', "--packed_loss", "true", "--backend", "generate"])
