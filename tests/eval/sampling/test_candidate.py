"""What a model may be: here a LoRA adapter; checkpoints are in test_cache.py, servers in test_server.py."""

import json

import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model

from eval.evaluate import Settings, evaluate
from eval.sampling.candidate import load_candidate
from eval.sampling.source import read_source
from train.rollout.engine import RolloutEngine
from train.rollout.interface import Sampling

PROMPTS = [[9, 12, 11], [9, 14]]
SAMPLING = Sampling(6, (2,), seed=3)


@pytest.fixture
def adapter(tmp_path, checkpoint, tiny_model, tokenizer):
    """A folder with an adapter of `checkpoint` that changes what it says, and the model that it makes."""
    tiny_model.name_or_path = str(checkpoint)
    model = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_" in name:
                weights.mul_(10)
    path = tmp_path / "adapter"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    assert json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(checkpoint)
    return path, model


def test_an_adapter_is_sampled_with_its_base(tmp_path, adapter, checkpoint):
    path, model = adapter
    expected = [rollout.token_ids for rollout in RolloutEngine(model).generate(PROMPTS, 3, SAMPLING)]
    candidate, base = (load_candidate(str(name), tmp_path / "cache") for name in (path, checkpoint))
    found, without = (
        [rollout.token_ids for rollout in one.backend.generate(PROMPTS, 3, SAMPLING)] for one in (candidate, base)
    )
    assert found == expected != without


def test_an_adapter_is_evaluated_against_its_base(tmp_path, adapter, checkpoint):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"tasks": {"countdown": {}}}))
    settings = Settings(problems=3, samples=2, max_new_tokens=8, temperatures=(1.0,))
    results = evaluate([str(checkpoint), str(adapter[0])], read_source(config), settings, tmp_path / "out")
    assert results["pairs"][0]["after"] == str(adapter[0]) and results["pairs"][0]["problems"] == 3
