"""What the trainer relies on in TRL 1.16. A failure here says which seam moved when the pin is raised."""

import inspect

import pytest
import torch
import trl
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from train.trainer import ReasoningTrainer


def test_the_pinned_version_is_installed():
    assert trl.__version__.startswith("1.16.")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (
            "_generate_single_turn",
            ["self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"],
        ),
        ("_generate", ["self", "prompts"]),
        ("_prepare_inputs", ["self", "generation_batch"]),
        ("_generate_and_score_completions", ["self", "inputs"]),
        ("_compute_loss", ["self", "model", "inputs"]),
    ],
)
def test_overridden_methods_have_the_signature_that_we_override(method, parameters):
    assert list(inspect.signature(getattr(GRPOTrainer, method)).parameters) == parameters


READ = (
    "_buffered_inputs", "_entropy_bonus_enabled", "_get_per_token_logps_and_entropies", "_metrics", "_step",
    "_tokenize_prompts", "aux_loss_enabled", "beta", "eos_token_ids", "is_deepspeed_enabled", "is_fsdp_enabled",
    "loss_type", "max_completion_length", "min_p", "num_generations", "num_iterations", "temperature",
    "top_entropy_quantile", "top_k", "top_p", "use_vllm",
)  # fmt: skip


class Fixed(ReasoningTrainer):
    """The trainer with rollouts that are given, so that two of them can be compared."""

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(2, 12, (len(prompt_ids),), generator=generator).tolist()
        ids = [torch.randint(8, 100, (length,), generator=generator).tolist() for length in lengths]
        return [[*row, self.eos_token_ids[0]] for row in ids], None


class Stock(Fixed):
    """The same rollouts with TRL's own batching and loss."""

    _prepare_inputs = GRPOTrainer._prepare_inputs
    _compute_loss = GRPOTrainer._compute_loss


def made(kind, model, tokenizer, folder, reward, **options):
    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=4, gradient_accumulation_steps=4, num_generations=4,
        max_completion_length=16, scale_rewards="none", beta=0.0, max_steps=1, report_to="none", bf16=False,
        use_cpu=True, disable_tqdm=True, learning_rate=0.0, save_strategy="no", shuffle_dataset=False, **options,
    )  # fmt: skip
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": f"compute {n} + 1"}]} for n in range(4)])
    return kind(model=model, reward_funcs=reward, args=arguments, train_dataset=prompts, processing_class=tokenizer)


def test_a_trainer_of_trl_has_the_attributes_that_ours_reads(tiny_model, tokenizer, tmp_path):
    trainer = made(
        GRPOTrainer, tiny_model, tokenizer, tmp_path, lambda completion_ids, **_: [0.0] * len(completion_ids)
    )
    assert not [name for name in READ if not hasattr(trainer, name)]


def gradients_of(kind, model, tokenizer, folder, loss_type):
    """Gradients of the first optimiser step, by parameter name."""
    found = {}

    class Catch(kind):
        def create_optimizer(self, *args, **kwargs):
            optimizer = super().create_optimizer(*args, **kwargs)
            for name, parameter in self.model.named_parameters():
                parameter.register_post_accumulate_grad_hook(
                    lambda p, name=name: found.__setitem__(name, p.grad.clone())
                )
            return optimizer

    def reward(completion_ids, **_):
        # The first group is all right: no variance, no advantage.
        return [1.0 if i < 4 else float(len(ids) % 2) for i, ids in enumerate(completion_ids)]

    trainer = made(Catch, model, tokenizer, folder, reward, loss_type=loss_type)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return found


@pytest.mark.parametrize("loss_type", ["dr_grpo", "dapo", "grpo"])
def test_the_gradient_is_that_of_stock_trl(tiny_model, tokenizer, tmp_path, loss_type):
    weights = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    stock = gradients_of(Stock, tiny_model, tokenizer, tmp_path / "stock", loss_type)
    tiny_model.load_state_dict(weights)
    ours = gradients_of(Fixed, tiny_model, tokenizer, tmp_path / "ours", loss_type)
    assert stock.keys() == ours.keys()
    assert max(gradient.abs().max() for gradient in stock.values()) > 1e-4
    for name, gradient in stock.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-6, rtol=1e-4)
