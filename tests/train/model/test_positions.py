"""Padding in front of a prompt changes nothing for the tokens behind it, whatever positions a family has."""

import pytest
import torch
from rollout_models import FAMILIES, sharpened
from transformers import (
    AutoModelForCausalLM,
    BioGptConfig,
    BloomConfig,
    CTRLConfig,
    GPT2Config,
    GPTBigCodeConfig,
    MambaConfig,
    OPTConfig,
    PreTrainedConfig,
)

from train.model.positions import count_from_mask, refuse_shifted

SIZE = {"vocab_size": 120, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT = {"vocab_size": 120, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
COUNTED = {
    "gpt2": GPT2Config(**GPT),
    "bigcode": GPTBigCodeConfig(**GPT),
    "ctrl": CTRLConfig(**GPT, dff=96),
    "biogpt": BioGptConfig(**SIZE, intermediate_size=96, max_position_embeddings=64),
}
RIGHT = {
    "opt": OPTConfig(**SIZE, ffn_dim=96, word_embed_proj_dim=64, max_position_embeddings=64),
    "bloom": BloomConfig(vocab_size=120, hidden_size=64, n_layer=2, n_head=4),
    "mamba": MambaConfig(vocab_size=120, hidden_size=64, num_hidden_layers=2, state_size=4),
}


@pytest.mark.parametrize("config", COUNTED.values(), ids=COUNTED)
def test_learnt_positions_are_counted_from_the_mask(config: PreTrainedConfig) -> None:
    model = sharpened(AutoModelForCausalLM.from_config(config))
    with pytest.raises(ValueError, match=rf"{config.model_type}\) cannot be trained here.*differ by up to [\d.]+\."):
        refuse_shifted(model)
    count_from_mask(model)
    refuse_shifted(model)


@pytest.mark.parametrize("config", RIGHT.values(), ids=RIGHT)
def test_families_that_count_right_by_themselves_stay_right(config: PreTrainedConfig) -> None:
    model = sharpened(AutoModelForCausalLM.from_config(config))
    refuse_shifted(model)
    count_from_mask(model)
    refuse_shifted(model)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_rotary_models_are_left_as_they_are(family: str) -> None:
    model = FAMILIES[family]()
    count_from_mask(model)
    assert not model._forward_pre_hooks
    refuse_shifted(model)


def test_positions_that_are_given_are_kept() -> None:
    model = sharpened(AutoModelForCausalLM.from_config(COUNTED["gpt2"]))
    ids = torch.arange(6).unsqueeze(0)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": ids + 7}
    with torch.no_grad():
        before = model(**inputs).logits
        count_from_mask(model)
        assert model(**inputs).logits.equal(before)
