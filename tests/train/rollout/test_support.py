"""Support is decided by the result: what calls the engine's attention and comes out wrong is refused, with the gap."""

from collections.abc import Callable

import pytest
import torch
from peft import (
    AdaptionPromptConfig,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from rollout_models import CAPPED_FAMILIES, FAMILIES, largest_gap, prompts_of, scratch_llama, sharpened
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BertConfig,
    BioGptConfig,
    DiffLlamaConfig,
    DogeConfig,
    FalconConfig,
    FalconH1Config,
    GPT2Config,
    GPTBigCodeConfig,
    Llama4TextConfig,
    MptConfig,
    NemotronConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RecurrentGemmaConfig,
    RwkvConfig,
    StableLmConfig,
    XLNetConfig,
    ZayaConfig,
)

from train.rollout.dense.attention import check_sequence
from train.rollout.engine import RolloutEngine, check_support
from train.rollout.interface import Sampling
from train.rollout.parity.trial import SHORT_WINDOW, short_windows
from train.rollout.support import UnsupportedModel, context_length

SIZE = {
    "vocab_size": 120,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 1,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 96, "head_dim": 16}
STATE = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 8}
ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1, "vocab_size": 120}


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    return sharpened(AutoModelForCausalLM.from_config(config))


WRONG: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama4": lambda: Llama4TextConfig(**SIZE, **EXPERTS, attention_chunk_size=8192),
    "falcon_h1": lambda: FalconH1Config(**SIZE, **STATE),
    "diffllama": lambda: DiffLlamaConfig(**SIZE),
    "doge": lambda: DogeConfig(**SIZE),
    "zaya": lambda: ZayaConfig(
        **SIZE,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=1,
        moe_intermediate_size=32,
        router_hidden_size=16,
        layer_types=["hybrid"] * 2,
    ),
}
LEARNT_POSITIONS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt2": lambda: GPT2Config(**ENDS, n_embd=64, n_layer=2, n_head=4, n_positions=128),
    "opt": lambda: OPTConfig(
        **ENDS, hidden_size=64, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128,
        word_embed_proj_dim=64,
    ),
    "gpt_bigcode": lambda: GPTBigCodeConfig(**ENDS, n_embd=64, n_layer=2, n_head=4, n_positions=128),
    "biogpt": lambda: BioGptConfig(
        **ENDS, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=128,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", WRONG)
def test_a_model_that_would_be_sampled_wrong_is_refused_by_name_with_the_gap(family: str) -> None:
    with pytest.raises(UnsupportedModel, match=rf"\({family}.*differ from its own plain forward by [\d.]+ "):
        check_support(model_of(WRONG[family]()))


@pytest.mark.parametrize("family", CAPPED_FAMILIES)
def test_soft_capping_and_sinks_are_supported_where_the_model_will_run_on_a_gpu(family: str) -> None:
    with pytest.raises(UnsupportedModel, match="does not compute on a CPU"):
        check_support(CAPPED_FAMILIES[family]())
    check_support(CAPPED_FAMILIES[family](), moves_to_gpu=True)


def test_an_untrained_model_is_judged_by_how_far_its_logits_spread() -> None:
    torch.manual_seed(0)
    with pytest.raises(UnsupportedModel, match="differ from its own plain forward"):
        check_support(AutoModelForCausalLM.from_config(DiffLlamaConfig(**SIZE)).eval())
    check_support(AutoModelForCausalLM.from_config(GPT2Config(**ENDS, n_embd=64, n_layer=2, n_head=4)).eval())


@pytest.mark.parametrize("family", LEARNT_POSITIONS)
def test_models_with_learnt_positions_are_sampled_right_up_to_the_last(family: str) -> None:
    model, prompts = model_of(LEARNT_POSITIONS[family]()), prompts_of((5, 98))
    engine = RolloutEngine(model)
    assert largest_gap(model, prompts, engine.generate(prompts, 2, Sampling(30, ()))) < 1e-4
    with pytest.raises(ValueError, match="more than the model's context of 128"):
        engine.generate(prompts, 2, Sampling(31, ()))


SEES_PADDING: dict[str, Callable[[], PreTrainedConfig]] = {
    "rwkv": lambda: RwkvConfig(**ENDS, hidden_size=64, num_hidden_layers=2, context_length=128),
    "recurrent_gemma": lambda: RecurrentGemmaConfig(**SIZE | {"num_hidden_layers": 3}, lru_width=64),
    "bart": lambda: BartConfig(
        **ENDS, d_model=64, decoder_layers=2, decoder_ffn_dim=96, decoder_attention_heads=4, max_position_embeddings=128
    ),
    "xlnet": lambda: XLNetConfig(**ENDS, d_model=64, n_layer=2, n_head=4, d_inner=96),
    "bert": lambda: BertConfig(**SIZE),
}


@pytest.mark.parametrize("backend", ["engine", "generate"])
@pytest.mark.parametrize("family", SEES_PADDING)
def test_a_model_that_sees_the_padding_or_tokens_to_come_is_refused_by_both_back_ends(
    family: str, backend: str
) -> None:
    with pytest.raises(UnsupportedModel, match=family) as refusal:
        check_support(model_of(SEES_PADDING[family]()), backend)
    if backend == "generate":
        assert "differ from its own plain forward by" in str(refusal.value)


def test_generate_samples_families_that_the_engine_refuses() -> None:
    check_support(model_of(StableLmConfig(**SIZE)), "generate")
    check_support(model_of(DiffLlamaConfig(**SIZE)), "generate")


def test_the_trial_leaves_the_model_as_it_was() -> None:
    model = FAMILIES["gemma3"]().train()
    windows = [layer.self_attn.sliding_window for layer in model.model.layers]
    check_support(model)
    assert model.config.sliding_window == 24 and all(module.training for module in model.modules())
    assert [layer.self_attn.sliding_window for layer in model.model.layers] == windows == [24, None, 24]
    with short_windows(model):
        assert model.config.sliding_window == model.model.layers[0].self_attn.sliding_window == SHORT_WINDOW


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (StableLmConfig(**SIZE), "does not hand the engine's keyword arguments down to attention"),
        (FalconConfig(**ENDS, hidden_size=64, num_hidden_layers=2, num_attention_heads=4), "no exchangeable attention"),
        (NemotronConfig(**SIZE, head_dim=16), "does not hand the engine's keyword arguments down to attention"),
        (MptConfig(**ENDS, d_model=64, n_heads=4, n_layers=2, max_seq_len=128), "no exchangeable attention function"),
    ],
    ids=["stablelm", "falcon", "nemotron", "mpt"],
)  # fmt: skip
def test_a_model_without_exchangeable_attention_is_refused_with_a_reason(config: PreTrainedConfig, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=rf"{config.model_type}.*{reason}.*`generate` back end") as refusal:
        check_support(model_of(config))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("backend", ["engine", "vllm"])
@pytest.mark.parametrize(
    ("adapter", "kind"),
    [
        (PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "PROMPT_TUNING"),
        (PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "PREFIX_TUNING"),
        (PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=3), "P_TUNING"),
        (LoraConfig(task_type="CAUSAL_LM", r=2, alora_invocation_tokens=[5, 6]), "activated LoRA"),
        (AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=3, adapter_layers=2), "ADAPTION_PROMPT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_adapters_that_change_the_sequence_are_refused_by_name(adapter: PeftConfig, kind: str, backend: str) -> None:
    adapted = get_peft_model(scratch_llama(), adapter)
    with pytest.raises(UnsupportedModel, match=f"LlamaForCausalLM.*adapter 'default' is of kind {kind}"):
        check_support(adapted, backend)


@pytest.mark.parametrize("lengths", [(3, 3, 4), (4, 4, 4), (3, 2, 3)])
def test_a_layer_that_attends_with_other_tokens_than_the_pass_has_is_stopped(lengths: tuple[int, int, int]) -> None:
    check_sequence(*(torch.zeros(1, 2, 3, 8) for _ in lengths), tokens=3)
    with pytest.raises(ValueError, match=r"in a pass of 3 tokens: .* changes the sequence"):
        check_sequence(*(torch.zeros(1, 2, length, 8) for length in lengths), tokens=3)


def test_weights_that_are_not_finite_are_refused() -> None:
    model = scratch_llama()
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(UnsupportedModel, match=r"not finite.*load an earlier checkpoint.$"):
        check_support(model)


@pytest.mark.parametrize(
    ("changes", "longest"),
    [
        ({}, 512),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}}, 512),
        (
            {
                "max_position_embeddings": 2048,
                "rope_parameters": {
                    "rope_type": "longrope", "factor": 16.0, "rope_theta": 1e4, "original_max_position_embeddings": 128,
                    "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
                },
            },
            128,
        ),
    ],
    ids=["default", "dynamic", "longrope"],
)  # fmt: skip
def test_the_longest_sequence_ends_where_rotary_embeddings_would_change(
    changes: dict[str, object], longest: int
) -> None:
    model = scratch_llama(**changes)
    assert context_length(model) == longest
    with pytest.raises(ValueError, match=f"more than the model's context of {longest}"):
        RolloutEngine(model).generate([[5] * 100], 1, Sampling(longest - 99, ()))


def test_a_model_whose_own_forward_fails_is_refused_before_generate_samples_it() -> None:
    model = scratch_llama()
    check_support(model, "generate")
    model.model.layers[0].mlp.up_proj = torch.nn.Linear(7, 7)
    with pytest.raises(UnsupportedModel, match=r"`generate` cannot sample LlamaForCausalLM \(llama\): .*RuntimeError"):
        check_support(model, "generate")
