"""Three steps of `ReasoningTrainer` through TRL's colocated vLLM, on a CPU; prints TRL's log as JSON.

    python tests/support/vllm_training.py FOLDER

FOLDER holds a model and its tokenizer. vLLM packs the weights of a CPU model into another layout and then takes no new
ones, which is why `backend: vllm` is refused there; here the packing is left out, so that the path that runs on a GPU
runs on a CPU too.
"""

import json
import sys
from pathlib import Path

import torch
import vllm.model_executor.layers.utils
from datasets import Dataset
from trl import GRPOConfig

sys.path.insert(0, str(Path(__file__).parents[2]))

from train.model.loading import load_model, load_tokenizer
from train.trainer import ReasoningTrainer


def keep_weights(layer: torch.nn.Module, remove_weight: bool) -> None:
    """Multiply with the layer's own weight, where vLLM would replace it by a packed copy."""
    layer.cpu_linear = torch.nn.functional.linear


def variety(completion_ids: list[list[int]], **_: object) -> list[float]:
    """A reward that differs within a group."""
    return [float(len(set(ids))) for ids in completion_ids]


def main() -> None:
    """Train and print."""
    vllm.model_executor.layers.utils.dispatch_cpu_unquantized_gemm = keep_weights
    folder = sys.argv[1]
    arguments = GRPOConfig(
        output_dir=f"{folder}/run", per_device_train_batch_size=8, gradient_accumulation_steps=2, num_generations=8,
        max_completion_length=16, loss_type="dr_grpo", scale_rewards="none", beta=0.0, max_steps=3, logging_steps=1,
        learning_rate=0.1, save_strategy="no", report_to="none", bf16=False, use_cpu=True, disable_tqdm=True,
        use_vllm=True, vllm_importance_sampling_mode="token_truncate", vllm_gpu_memory_utilization=0.05,
        vllm_max_model_length=256,
    )  # fmt: skip
    problems = [{"prompt": [{"role": "user", "content": f"compute {n} + 1"}]} for n in range(8)]
    trainer = ReasoningTrainer(
        model=load_model(folder, is_trainable=True),
        reward_funcs=variety,
        args=arguments,
        train_dataset=Dataset.from_list(problems),
        processing_class=load_tokenizer(folder),
    )
    trainer.train()
    print(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main()
