"""Compile what the launchers launch, for GPUs that are not here; prints a JSON line a kernel: registers and spills.

Run as a program of its own, without Triton's interpreter. A launcher is called with tensors on the CPU, and what would
have been launched is compiled instead.

    python tests/train/rollout/triton_kernels/compile_ahead.py 80 90
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from train.rollout.interface import Thinking
from train.rollout.paged.state import RolloutState, make_rules
from train.rollout.triton_kernels.advance import advance
from train.rollout.triton_kernels.decode_attention import decode_attention
from train.rollout.triton_kernels.gated import gated
from train.rollout.triton_kernels.norm import residual_norm
from train.rollout.triton_kernels.prefill_attention import prefill_attention
from train.rollout.triton_kernels.prepare import prepare
from train.rollout.triton_kernels.product import invariant_linear
from train.rollout.triton_kernels.rope import rope_write
from train.rollout.triton_kernels.sampling import draw_on_device

TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}
BF16, FP32 = torch.bfloat16, torch.float32
CPU = torch.device("cpu")


class Recorder:
    """Stands in for `JITFunction.run`."""

    def __init__(self) -> None:
        self.launches: dict[str, tuple[JITFunction, list[Any], dict[str, Any]]] = {}
        self.label = ""

    def __call__(self, kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        self.launches[f"{kernel.fn.__name__} {self.label}"] = (kernel, list(args), options)


def source_of(kernel: JITFunction, args: list[Any], options: dict[str, Any]) -> tuple[ASTSource, dict[str, Any]]:
    """What to compile, and with which options, as Triton's own launcher would specialise it."""
    values = dict(zip(kernel.arg_names, args, strict=False)) | {
        k: v for k, v in options.items() if k in kernel.arg_names
    }
    signature, constants, attributes = {}, {}, {}
    for number, name in enumerate(kernel.arg_names):
        value = values[name]
        if kernel.params[number].is_constexpr:
            signature[name], constants[name] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
            attributes[(number,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(number,)] = [["tt.divisibility", 16]]
    rest = {name: value for name, value in options.items() if name not in kernel.arg_names}
    return ASTSource(kernel, signature, constants, attributes), rest


def registers(ptx: str, arch: int) -> tuple[int, int]:
    """Registers a thread and bytes spilled, as ptxas says."""
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        name = f"sm_{arch}a" if arch == 90 else f"sm_{arch}"
        command = [knobs.nvidia.ptxas.path, "-v", f"--gpu-name={name}", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spilled = sum(map(int, re.findall(r"(\d+) bytes spill", said)))
    return int(re.findall(r"Used (\d+) registers", said)[0]), spilled


def attention(heads: int, key_heads: int, dim: int, dtype: torch.dtype, **options: Any) -> None:
    """Decode, in splits, and prefill."""
    pool = torch.empty(8, 16, key_heads, dim, dtype=dtype)
    queries, table = torch.empty(2, heads, dim, dtype=dtype), torch.zeros(2, 256, dtype=torch.int32)
    decode_attention(queries, pool, pool, table, torch.ones(2, dtype=torch.int32), 0.1, **options)
    prefill_attention(queries, pool, pool, table, torch.zeros(2, 4, dtype=torch.int32), 0.1, **options)


def layer(hidden: int, heads: int, key_heads: int, dim: int, dtype: torch.dtype, *, norms: bool, post: bool) -> None:
    """Norms, rotary embeddings, activation."""
    stream, weight = torch.empty(2, hidden, dtype=dtype), torch.empty(hidden, dtype=dtype)
    residual_norm(stream, stream, weight, 1e-5, dtype, post_weight=weight if post else None)
    pool, small = torch.empty(8, 16, key_heads, dim, dtype=dtype), torch.empty(dim, dtype=dtype)
    rope_write(
        torch.empty(2, (heads + 2 * key_heads) * dim, dtype=dtype),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.int64),
        pool,
        pool,
        heads,
        table=(torch.empty(64, dim), torch.empty(64, dim)),
        norms=(small, small) if norms else None,
    )
    gated(torch.empty(2, 4 * hidden, dtype=dtype), gelu=post)


def around(vocab: int, hidden: int, dtype: torch.dtype) -> None:
    """The start and the end of a step."""
    rollouts, thinking = (
        torch.zeros(2, dtype=torch.int64),
        Thinking(3, 4, 5, (4,), minimum=2, wait_ids=(7,), extensions=1),
    )
    state, logits = RolloutState(4, CPU), torch.empty(2, vocab, dtype=dtype)
    table = torch.zeros(2, 256, dtype=torch.int32)
    prepare(rollouts, state.ended, state.cached, state.last, table, torch.empty(9, hidden, dtype=dtype), 16, 0)
    drawn = draw_on_device(logits, rollouts, state.keys, state.drawn, temperature=0.7)
    outputs, rules = torch.zeros(2, 4, dtype=torch.int32), make_rules((1, 2), thinking, CPU)
    advance(state, rules, rollouts, logits, drawn, outputs, temperature=0.7, decodes=True)


def product() -> None:
    """The product that knows no batch."""
    invariant_linear(torch.empty(9, 1536, dtype=BF16), torch.empty(64, 1536, dtype=BF16), None)


CASES: dict[str, Callable[[], None]] = {
    "smollm2": lambda: attention(9, 3, 64, BF16),
    "qwen 1.5b": lambda: attention(12, 2, 128, BF16),
    "qwen 1.5b fp32": lambda: attention(12, 2, 128, FP32),
    "wide": lambda: attention(8, 4, 256, BF16, window=512, softcap=50.0, sinks=torch.empty(8)),
    "layer qwen3": lambda: layer(4096, 32, 8, 128, BF16, norms=True, post=False),
    "layer gemma": lambda: layer(2304, 8, 4, 256, FP32, norms=True, post=True),
    "step": lambda: around(151936, 1536, BF16),
    "product": product,
}


def main() -> None:
    """Compile every case for the architectures on the command line."""
    recorder = Recorder()
    JITFunction.run = lambda kernel, *args, **options: recorder(kernel, *args, **options)  # type: ignore[method-assign]
    for recorder.label, case in CASES.items():
        case()
    for name, launch in recorder.launches.items():
        for arch in map(int, sys.argv[1:]):
            source, options = source_of(*launch)
            compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
            used, spilled = registers(compiled.asm["ptx"], arch)
            line = {
                "kernel": name,
                "arch": arch,
                "registers": used,
                "spilled": spilled,
                "shared": compiled.metadata.shared,
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
