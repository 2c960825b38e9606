"""Whole calls, from prompts to rollouts, and vLLM beside them wherever it is installed."""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import Any

import torch

from gpu_steps.clock import Clock
from gpu_steps.models import MODELS, build, precision
from gpu_steps.steps import engine_of
from train.rollout.interface import Sampling
from train.rollout.parity.causes import forward_logprobs
from train.rollout.parity.comparison import compare

PROMPT = 101  # tokens
COMPARED = 4  # rollouts compared with the module's own forward


def calls(on_card: bool) -> list[tuple[str, str, int, int, int]]:
    """Model, weights, prompts, samples of each and tokens of each sample."""
    if not on_card:
        return [("tiny", "float32", 1, 2, 2)]
    return [
        ("qwen2.5-1.5b", "bf16", 64, 16, 512),
        ("smollm2-135m", "bf16", 16, 16, 200),
        ("qwen2.5-1.5b", "autocast", 64, 16, 512),
        ("smollm2-135m", "bf16", 64, 16, 200),
        ("qwen2.5-1.5b", "bf16", 16, 16, 512),
    ]


def prompts_of(count: int) -> list[list[int]]:
    """Prompts of PROMPT tokens that differ in the first."""
    return [[3 + number, *range(105, 104 + PROMPT)] for number in range(count)]


def call(
    clock: Clock, name: str, weights: str, prompts: int, samples: int, tokens: int, path: str = "fused"
) -> dict[str, Any]:
    """A whole call, the second of two on a card, and the largest gap to the module's own forward."""
    model = build(name, weights, clock.device)
    prompt_ids, sampling = prompts_of(prompts), Sampling(tokens, ())
    if clock.on_card:
        torch.cuda.reset_peak_memory_stats()
    with precision(weights, clock.device):
        engine = engine_of(model, 1024 if clock.on_card else 8, path)
        for _ in range(2 if clock.on_card else 1):
            rollouts = engine.generate(prompt_ids, samples, sampling)
        stats, peak = engine.stats, torch.cuda.max_memory_allocated() if clock.on_card else 0
        assert engine.forward is not None
        path_name = engine.forward.name
        engine.release()
        gap = compare(prompt_ids, rollouts, forward_logprobs(model), most=COMPARED)
    return {
        "model": name,
        "weights": weights,
        "path": path,
        "forward": path_name,
        "rollouts": prompts * samples,
        "tokens": tokens,
        "seconds": stats.seconds,
        "tokens_per_second": stats.new_tokens / stats.seconds,
        "mean_gap": gap.mean,
        "largest_gap": gap.largest,
        "peak_bytes": peak,
    }


VLLM = """
import json, sys, time
from vllm import LLM, SamplingParams
folder, prompts, samples, tokens = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
llm = LLM(folder, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_num_seqs=1024,
          max_model_len=2048, gpu_memory_utilization=0.8)
how = SamplingParams(n=samples, max_tokens=tokens, ignore_eos=True, detokenize=False, logprobs=0, seed=0)
asked = [{"prompt_token_ids": prompt} for prompt in prompts]
for _ in range(2):
    started = time.perf_counter()
    done = llm.generate(asked, how, use_tqdm=False)
    spent = time.perf_counter() - started
count = sum(len(sample.token_ids) for request in done for sample in request.outputs)
print("RESULT", json.dumps({"seconds": spent, "tokens_per_second": count / spent}))
"""


def vllm_beside(name: str, prompts: int, samples: int, tokens: int, limit: float) -> dict[str, Any]:
    """The same call by vLLM, with random weights of the same shape, in a process of its own; `limit` seconds at most.

    It draws from another distribution, whose every rollout is `tokens` long too.
    """
    if find_spec("vllm") is None:
        return {"skipped": "vLLM is not installed"}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # vLLM wants its share of the card free
    with tempfile.TemporaryDirectory() as folder:
        with torch.device("meta"):
            config = MODELS[name]().config
        config.save_pretrained(folder)
        words = [sys.executable, "-c", VLLM, folder, json.dumps(prompts_of(prompts)), str(samples), str(tokens)]
        try:
            process = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return {"skipped": f"not done within {limit:.0f} seconds"}
    line = next((line for line in process.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        return {"error": (process.stderr.strip().splitlines() or ["it wrote nothing"])[-1][:300]}
    return {"model": name, "rollouts": prompts * samples, "tokens": tokens, **json.loads(line[7:])}
