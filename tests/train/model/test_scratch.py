import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.mixture import demonstrations, load_mixture
from train.model.scratch import build_model


def test_every_demonstration_encodes_without_unknowns_and_decodes_to_itself(tokenizer):
    parts = load_mixture({"countdown": {"numbers": 4}, "arithmetic": {"factor_digits": 2, "slip": 0.4}})
    for problem, completion in demonstrations(parts, 300, 0):
        ids = tokenizer.encode(completion)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == completion
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": problem.prompt}], return_dict=False)
        assert tokenizer.unk_token_id not in prompt


def test_numbers_to_99_are_one_token_and_longer_ones_are_spelled(tokenizer):
    assert len(tokenizer.encode(" 7 99")) == 2
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" 4736")) == [" 4", "7", "3", "6"]


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_checkpoint_loads_with_plain_transformers_and_generates_through_its_chat_template(
    tmp_path, tokenizer, architecture
):
    torch.manual_seed(0)
    build_model({"architecture": architecture, "hidden_size": 32}, tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    inputs = loaded.apply_chat_template(
        [{"role": "user", "content": "compute 36 * 4"}], add_generation_prompt=True, return_tensors="pt"
    )
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert output.shape[1] > inputs["input_ids"].shape[1]
    assert loaded.decode(inputs["input_ids"][0]) == "<|user|>compute 36 * 4<|assistant|>"


def test_the_same_seed_builds_the_same_weights(tokenizer):
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        random.seed(0)
        models.append(build_model({}, tokenizer))
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
