"""Dropout is known before any work, and disable_dropout takes it out wherever a family keeps it."""

import pytest
import torch
from rollout_models import scratch_llama, sharpened
from transformers import AutoModelForCausalLM, BioGptConfig, GPT2Config, OPTConfig, PersimmonConfig, PreTrainedConfig

from train.model.dropout import refuse_dropout

SIZE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
FAMILIES = {
    "gpt2": GPT2Config(vocab_size=120, n_embd=64, n_layer=2, n_head=4),  # modules alone
    "opt": OPTConfig(vocab_size=120, **SIZE, ffn_dim=96, word_embed_proj_dim=64, layerdrop=0.3),  # numbers alone
    "biogpt": BioGptConfig(vocab_size=120, **SIZE, intermediate_size=96),
}


@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_a_model_with_dropout_is_refused_with_the_mend_and_the_mend_mends_it(config: PreTrainedConfig) -> None:
    model = sharpened(AutoModelForCausalLM.from_config(config)).eval()
    random = torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"{config.model_type}\) has dropout.*set disable_dropout: true"):
        refuse_dropout(model, disabled=False)
    refuse_dropout(model, disabled=True)
    assert not any(module.training for module in model.modules())
    assert torch.get_rng_state().equal(random)


def test_layers_dropped_whole_are_seen_at_every_seed() -> None:
    config = OPTConfig(vocab_size=120, **SIZE, ffn_dim=96, word_embed_proj_dim=64, layerdrop=0.3, dropout=0.0)
    model = AutoModelForCausalLM.from_config(config)
    for seed in range(50):
        torch.manual_seed(seed)
        with pytest.raises(ValueError, match="has dropout"):
            refuse_dropout(model, disabled=False)


def test_a_model_without_dropout_passes() -> None:
    refuse_dropout(scratch_llama(), disabled=False)


def test_a_rate_that_is_read_from_the_config_is_named() -> None:
    config = PersimmonConfig(vocab_size=120, **SIZE, intermediate_size=96, attention_dropout=0.3, hidden_dropout=0.0)
    model = sharpened(AutoModelForCausalLM.from_config(config))
    with pytest.raises(ValueError, match=r"persimmon.*with disable_dropout too.*config.json"):
        refuse_dropout(model, disabled=True)
