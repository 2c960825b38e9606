"""Full weights for readers that know no adapters: merged where that is the same model, refused by name where not."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from train.model.loading import ModelError, load_model, merged_checkpoint


def adapted(model, **changes):
    """The model with an adapter that changes what it computes."""
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "down_proj"], **changes)
    adapter = get_peft_model(model, config).eval()
    generator = torch.Generator().manual_seed(0)
    for weight in adapter.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return adapter


def test_merged_weights_compute_what_weights_and_adapter_did(tiny_model):
    model, ids = adapted(tiny_model, use_dora=True), torch.arange(9, 20).unsqueeze(0)
    with torch.no_grad():
        apart = model(input_ids=ids).logits
        with merged_checkpoint("here", model) as folder:
            torch.testing.assert_close(load_model(folder)(input_ids=ids).logits, apart, atol=1e-4, rtol=1e-4)


def test_an_adapter_that_cannot_be_merged_is_refused_in_one_line(tiny_model):
    model = adapted(tiny_model, lora_bias=True)  # there is no bias that it could be added to
    refused = pytest.raises(ModelError, match=r"^the adapter of here cannot be merged into its base model \(RuntimeErr")
    with refused, merged_checkpoint("here", model):
        pass


def test_an_adapter_that_is_merged_into_another_model_is_refused_with_the_gap(tiny_model, monkeypatch):
    model = adapted(tiny_model)
    monkeypatch.setattr(model, "merge_and_unload", model.unload, raising=False)  # as if nothing were merged
    refused = pytest.raises(ModelError, match=r"gives logits that differ by a share of [\d.]+; use the back end")
    with refused, merged_checkpoint("here", model):
        pass
