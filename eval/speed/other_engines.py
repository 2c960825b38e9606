"""Engines that are not ours, for comparison: transformers' continuous batching, and vLLM in processes of its own."""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from eval.speed.timed_call import measure, peak_memory, tree
from train.model.loading import resolve
from train.rollout.backends.vllm import VLLMBackend
from train.rollout.interface import Rollout, Sampling
from train.rollout.memory import memory_budget


class ContinuousBatching:
    """transformers' own continuous batching behind the same call, for this comparison only.

    Its cache gets the engine's memory: by itself it takes 80% of the machine's, whatever else runs there.
    """

    def __init__(self, model: Any, cache_gib: float | None) -> None:
        self.model = model
        device = next(model.parameters()).device
        on_cuda = device.type == "cuda"
        total = torch.cuda.mem_get_info(device)[1] if on_cuda else psutil.virtual_memory().total
        self.config = ContinuousBatchingConfig(max_memory_percent=memory_budget(cache_gib, device) / total)

    def generate(self, prompts: list[list[int]], samples_per_prompt: int, sampling: Sampling) -> list[Rollout]:
        """See `RolloutBackend.generate`; without log-probabilities."""
        rows = [prompt for prompt in prompts for _ in range(samples_per_prompt)]
        config = GenerationConfig(
            do_sample=True,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=list(sampling.stop_ids),
            pad_token_id=0,
            top_k=0,
        )
        outputs = self.model.generate_batch(rows, generation_config=config, continuous_batching_config=self.config)
        return [Rollout(list(output.generated_tokens), "length") for output in outputs.values()]


@dataclass(frozen=True, slots=True)
class VLLMLaunch:
    """The options of vLLM. `threads` are those of the processor; `cache_gib` None leaves the size to vLLM."""

    threads: int
    cache_gib: float | None
    max_rows: int


def measure_vllm(
    name: str, model: Any, prompts: list[list[int]], samples: int, sampling: Sampling, launch: VLLMLaunch
) -> tuple[dict[str, Any], list[Rollout]]:
    """`measure` of vLLM on the model called `name`, in processes that hold nothing else and end afterwards."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=spawn) as pool:
        if name == "scratch":
            model.save_pretrained(folder)
        source = folder if name == "scratch" else resolve(name)  # vLLM finds again what it has compiled for a path
        return pool.submit(_measure_here, source, prompts, samples, sampling, launch).result()


def _measure_here(
    source: str, prompts: list[list[int]], samples: int, sampling: Sampling, launch: VLLMLaunch
) -> tuple[dict[str, Any], list[Rollout]]:
    os.environ["OMP_NUM_THREADS"] = str(launch.threads)
    with VLLMBackend(source, cache_gib=launch.cache_gib, max_rows=launch.max_rows) as backend:
        row, rollouts = measure("vllm", backend, prompts, samples, sampling)
        return row | {"peak_memory_bytes": sum(peak_memory(process) for process in tree())}, rollouts
