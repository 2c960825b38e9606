"""The gradient of a batch is stock TRL's, for every loss that is accepted beside every option that shapes it."""

import copy

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl import GRPOConfig, GRPOTrainer

from train.config.trl_options import LOSSES
from train.loss.masks import masks_zero_advantages
from train.model.scratch import build_model
from train.rollout.interface import Thinking
from train.trainer import ReasoningTrainer

ACCUMULATED = 4
# What TRL reads from its trainer, and what from its arguments.
OF_TRAINER = {
    "plain": {},
    "high entropy alone": {"top_entropy_quantile": 0.2},
    "sequence level": {"importance_sampling_level": "sequence"},
    "entropy bonus": {"entropy_coef": 0.1, "_entropy_bonus_enabled": True},
    "adaptive entropy": {"entropy_coef": 0.1, "_entropy_bonus_enabled": True, "use_adaptive_entropy": True},
    "reference": {"beta": 0.1},
    "off-policy mask": {"off_policy_mask_threshold": 0.5},
    "truncated masked": {"mask_truncated_completions": True},
    "unscaled": {"scale_rewards": "none"},
    "scaled by batch": {"scale_rewards": "batch"},
    "two iterations": {"num_iterations": 2},
    "two-sided clipping": {"delta": 1.5},
    "stale": {"stale": True},
    "stale, two-sided clipping": {"stale": True, "delta": 1.5},
    "stale, sequence level": {"stale": True, "importance_sampling_level": "sequence"},
    "stale, clipped higher": {"stale": True, "epsilon_low": 0.1, "epsilon_high": 0.5},
    "stale, off-policy mask": {"stale": True, "off_policy_mask_threshold": 0.5},
    "stale, high entropy alone": {"stale": True, "top_entropy_quantile": 0.2},
    "stale, reference": {"stale": True, "beta": 0.1},
    "stale, bias-corrected reference": {"stale": True, "beta": 0.1, "use_bias_correction_kl": True},
    "stale, truncated masked": {"stale": True, "mask_truncated_completions": True},
    "stale, other slopes": {
        "stale": True,
        "sapo_temperature_neg": 2.0,
        "sapo_temperature_pos": 0.5,
        "vespo_k_pos": 3.0,
        "vespo_lambda_neg": 1.0,
    },
    "sharper sampling": {"temperature": 0.7},
    "stale, sharper sampling": {"stale": True, "temperature": 0.7},
    "experts of high entropy alone": {"router_aux_loss_coef": 0.1, "top_entropy_quantile": 0.2},
    "experts": {"router_aux_loss_coef": 0.1},
    "experts unbalanced": {"router_aux_loss_coef": 0.0, "aux_loss_enabled": False},
}
OF_ARGUMENTS = {"delta", "use_bias_correction_kl"}
OF_ARGUMENTS |= {"sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_neg"}
MOE = [name for name in OF_TRAINER if name.startswith("experts")]


class Fixed(ReasoningTrainer):
    """Rollouts that do not depend on the model: every other one is cut off.

    Where they are `stale` they come from another policy, so that ratios are not 1, and clipping is at work.
    """

    stale = False

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(2, 12, (len(prompt_ids),), generator=generator).tolist()
        ids = [torch.randint(8, 100, (length,), generator=generator).tolist() for length in lengths]
        ids = [[*row, self.eos_token_ids[0] if i % 3 else 9] for i, row in enumerate(ids)]
        logprobs = [(-4.8 + torch.randn(len(row), generator=generator)).tolist() for row in ids]
        return ids, logprobs if self.stale else None


class Stock(Fixed):
    """The same rollouts with TRL's own batching and loss."""

    _prepare_inputs = GRPOTrainer._prepare_inputs
    _compute_loss = GRPOTrainer._compute_loss


def reward(completion_ids, **_):
    """Of four groups the first is all right, and the second all wrong: no variance, no advantage."""
    return [1.0 if i < 4 else 0.0 if i < 8 else float(len(ids) % 2) for i, ids in enumerate(completion_ids)]


def mixture_of_experts(tokenizer) -> PreTrainedModel:
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, moe_intermediate_size=16, head_dim=16,
            num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, num_experts=4, num_experts_per_tok=2,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def trainers(tokenizer, tmp_path_factory) -> dict[tuple[type, bool], ReasoningTrainer]:
    """A stock trainer and ours of a dense model, and of one with experts: one for the whole table."""
    made = {}
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": f"compute {n} + 1"}]} for n in range(4)])
    for kind in (Stock, Fixed):
        for moe in (False, True):
            torch.manual_seed(0)
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
            model = mixture_of_experts(tokenizer) if moe else build_model(sizes | {"intermediate_size": 64}, tokenizer)
            arguments = GRPOConfig(
                output_dir=str(tmp_path_factory.mktemp("trainer")), per_device_train_batch_size=4,
                gradient_accumulation_steps=ACCUMULATED, num_generations=4, max_completion_length=16, beta=0.0,
                max_steps=1, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no",
            )  # fmt: skip
            trainer = kind(model, reward, arguments, prompts, processing_class=tokenizer)
            trainer.ref_model = copy.deepcopy(model).eval()  # TRL would load it by the name that the model has
            # One step away from the reference, so that the term that holds them together has a gradient.
            for parameter in trainer.model.parameters():
                parameter.data.mul_(1.1)
            trainer.aux_loss_enabled = moe
            made[kind, moe] = trainer
    return made


def gradient(trainer: ReasoningTrainer, changes: dict[str, object], monkeypatch) -> dict[str, torch.Tensor]:
    """The gradient of one optimiser step under `changes`."""
    with monkeypatch.context() as patch:
        for name, value in changes.items():
            patch.setattr(trainer.args if name in OF_ARGUMENTS else trainer, name, value)
        patch.setattr(trainer, "_last_world_entropy", 0.0)
        patch.setattr(trainer, "_entropy_window_stats", None)
        patch.setattr(trainer, "current_gradient_accumulation_steps", ACCUMULATED, raising=False)
        trainer._step, trainer._buffered_inputs = 0, None
        trainer.model.train()
        trainer.model.zero_grad()
        torch.manual_seed(0)
        batch = [trainer.train_dataset[number] for number in range(4) for _ in range(4)]
        for _ in range(ACCUMULATED):
            inputs = trainer._prepare_inputs(batch)
            trainer._compute_loss(trainer.model, inputs).backward()
            trainer._step += 1
    return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("option", OF_TRAINER)
@pytest.mark.parametrize("loss_type", LOSSES)
def test_the_gradient_is_that_of_stock_trl(trainers, monkeypatch, loss_type, option):
    changes, moe = {"loss_type": loss_type} | OF_TRAINER[option], option in MOE
    stock, ours = (gradient(trainers[kind, moe], changes, monkeypatch) for kind in (Stock, Fixed))
    assert stock.keys() == ours.keys()
    assert max(part.abs().max() for part in stock.values()) > 1e-5
    for name, part in stock.items():
        torch.testing.assert_close(ours[name], part, atol=1e-6, rtol=1e-3)
    # The options alone tell which rows it masked: a run's compute is charged by them.
    parts = trainers[Fixed, moe]._buffered_inputs
    kept = torch.cat([part["completion_mask"][part["advantages"] == 0].flatten() for part in parts])
    balanced = moe and "aux_loss_enabled" not in changes
    masks = masks_zero_advantages({"gradient_accumulation_steps": ACCUMULATED} | changes) and not balanced
    assert bool(kept.any()) is not masks


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.2},
        {"generation_kwargs": {"num_beams": 2}},
        {"cache_implementation": "static"},
        {"use_transformers_continuous_batching": True},
        {"model_init_kwargs": {"dtype": "bfloat16"}},
        {"trust_remote_code": True},
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(options, tiny_model, tokenizer, tmp_path):
    arguments = GRPOConfig(output_dir=str(tmp_path), report_to="none", bf16=False, use_cpu=True, **options)
    prompts = Dataset.from_list([{"prompt": "1 + 1"}] * 8)
    with pytest.raises(ValueError, match=f"^{next(iter(options))} is .*no effect"):
        ReasoningTrainer(tiny_model, reward, arguments, prompts, processing_class=tokenizer)


def test_tools_beside_a_thinking_budget_and_images_are_refused(tiny_model, tokenizer, tmp_path):
    arguments = GRPOConfig(output_dir=str(tmp_path), report_to="none", bf16=False, use_cpu=True)
    prompts = Dataset.from_list([{"prompt": "1 + 1"}] * 8)
    thinking = Thinking(6, 7, budget=3, closing_ids=(7,))
    with pytest.raises(ValueError, match=r"^tools is set beside a thinking budget"):
        ReasoningTrainer(
            tiny_model, reward, arguments, prompts, processing_class=tokenizer, tools=[len], thinking=thinking
        )
    seen = prompts.add_column("image", ["a picture"] * 8)
    with pytest.raises(ValueError, match=r"^train_dataset has a column 'image'"):
        ReasoningTrainer(tiny_model, reward, arguments, seen, processing_class=tokenizer)
    with pytest.raises(ValueError, match=r"^eval_dataset has a column 'image'"):
        ReasoningTrainer(tiny_model, reward, arguments, prompts, {"a": prompts, "b": seen}, tokenizer)


@pytest.mark.parametrize(
    ("options", "ours", "message"),
    [
        ({}, {"rollout_func": print}, "^rollout_func is set, but rollouts come from the back end"),
        ({}, {"backend": "vlm"}, "^backend is 'vlm'; expected one of: engine, generate, vllm"),
        ({}, {"backend": "vllm"}, "^backend is vllm, but use_vllm is not set"),
        ({}, {"rollout_correction": "foo"}, "^rollout_correction is 'foo'; expected one of"),
        ({}, {"backend": "generate", "cache_gib": 1.0}, "^cache_gib is set, but backend is generate"),
        ({}, {"backend": "generate", "thinking": Thinking(6, 7)}, "^thinking is set, but backend is generate"),
        ({}, {"cache_gib": -1.0}, "^cache_gib is -1.0"),
        ({}, {"max_rows": 0}, "^max_rows is 0"),
        ({"top_k": -1}, {}, "^top_k is -1"),
        ({"top_p": 1.5}, {}, "^top_p is 1.5"),
        ({"max_completion_length": None}, {}, "^max_completion_length is None"),
        ({"transformers_continuous_batching_config": {"x": 1}}, {}, "^transformers_continuous_batching_config is"),
    ],
)
def test_what_rollouts_cannot_do_or_would_ignore_is_refused_at_once(
    options, ours, message, tiny_model, tokenizer, tmp_path
):
    arguments = GRPOConfig(output_dir=str(tmp_path), report_to="none", bf16=False, use_cpu=True, **options)
    prompts = Dataset.from_list([{"prompt": "1 + 1"}] * 8)
    with pytest.raises(ValueError, match=message):
        ReasoningTrainer(tiny_model, reward, arguments, prompts, processing_class=tokenizer, **ours)
