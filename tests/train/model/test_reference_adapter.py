"""With `beta`, the reference of a model that starts from an adapter is that adapter, whatever its kind."""

import pytest
import torch
from datasets import Dataset
from peft import (
    FourierFTConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    PeftConfig,
    TrainableTokensConfig,
    VeraConfig,
    get_peft_model,
)
from rollout_models import scratch_llama
from trl import GRPOConfig
from trl.trainer.utils import use_adapter

from train.model import reference_adapter, scratch
from train.model.loading import load_model
from train.trainer import ReasoningTrainer

KIND = {"task_type": "CAUSAL_LM"}
TARGETS = {"target_modules": ["q_proj", "down_proj"]}
KINDS: dict[str, PeftConfig] = {
    "LoRA": LoraConfig(r=4, **KIND, **TARGETS),
    "DoRA": LoraConfig(r=4, use_dora=True, **KIND, **TARGETS),
    "PiSSA": LoraConfig(r=4, init_lora_weights="pissa", **KIND, **TARGETS),
    "OLoRA": LoraConfig(r=4, init_lora_weights="olora", **KIND, **TARGETS),
    "replicated layers": LoraConfig(r=4, layer_replication=[[0, 2], [1, 3]], **KIND, **TARGETS),
    "embeddings": LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"], **KIND),
    "token rows": LoraConfig(r=4, trainable_token_indices=[5, 6], **KIND, **TARGETS),
    "token rows alone": TrainableTokensConfig(token_indices=[5, 6], **KIND),
    "IA3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], **KIND),
    "VeRA": VeraConfig(r=8, target_modules=["q_proj"], **KIND),
    "LoHa": LoHaConfig(r=4, **KIND, **TARGETS),
    "LoKr": LoKrConfig(r=4, **KIND, **TARGETS),
    "FourierFT": FourierFTConfig(n_frequency=20, target_modules=["q_proj"], **KIND),
}
IDS = torch.arange(3, 20).unsqueeze(0)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False).logits


def loaded(folder, config: PeftConfig) -> torch.nn.Module:
    """A model with an adapter whose weights are far from their first values, as a run loads it."""
    tokenizer = scratch.build_tokenizer(())
    scratch_llama(vocab_size=len(tokenizer)).save_pretrained(folder / "base")
    adapted = get_peft_model(load_model(str(folder / "base")), config)
    generator = torch.Generator().manual_seed(1)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    adapted.save_pretrained(folder / "adapter")
    return load_model(str(folder / "adapter"), is_trainable=True)


def trainer_of(model: torch.nn.Module, folder) -> ReasoningTrainer:
    arguments = GRPOConfig(
        output_dir=str(folder), beta=0.1, use_cpu=True, bf16=False, report_to=[], per_device_train_batch_size=2,
        num_generations=2, max_completion_length=8,
    )  # fmt: skip
    problem = {"prompt": [{"role": "user", "content": "1 + 2"}]}
    return ReasoningTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [1.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_list([problem] * 2),
        processing_class=scratch.build_tokenizer(()),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_policy_and_reference_both_compute_what_was_loaded(tmp_path, kind):
    config = KINDS[kind]
    model = loaded(tmp_path, config)
    begun = {name: getattr(config, name, None) for name in ("init_lora_weights", "layer_replication")}
    before = logits(model)
    adapted = trainer_of(model, tmp_path).model
    assert torch.equal(logits(adapted), before)
    with use_adapter(adapted, "ref"):
        assert torch.equal(logits(adapted), before)
    assert not any(weight.requires_grad for name, weight in adapted.named_parameters() if ".ref" in name)
    assert {name: getattr(adapted.peft_config["default"], name, None) for name in begun} == begun


def test_a_reference_that_does_not_come_out_the_same_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_adapter, "OWN", "elsewhere")  # so nothing is copied
    model = loaded(tmp_path, KINDS["IA3"])
    model.peft_config["elsewhere"] = model.peft_config["default"]
    with pytest.raises(ValueError, match=r"LlamaForCausalLM \(llama\) cannot have a reference.*of kind IA3") as refusal:
        trainer_of(model, tmp_path)
    assert "beta is 0.1" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_reference_of_split_weights_is_refused_before_it_is_made(tmp_path):
    model = loaded(tmp_path, KINDS["IA3"])
    next(model.parameters()).ds_id = 0  # as DeepSpeed marks what it has split
    with pytest.raises(ValueError, match=r"beta is 0.1, .* ZeRO-3 of DeepSpeed has split .* Set beta: 0"):
        trainer_of(model, tmp_path)
