"""The rollouts of one step: how many run at once, what a decode step costs, and how the batch thins out at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from train.config.run_config import RunConfig
from train.plan.counting import Trace, Work
from train.plan.modules import TRACED_LAYERS, autocast, build, faked, layers_of
from train.plan.workload import Workload
from train.rollout import native
from train.rollout.dense.pool import LayerShape
from train.rollout.interface import Sampling
from train.rollout.module_state import engine_mode
from train.rollout.native.layers import ROTARY, rotary_files
from train.rollout.sampler import draw_tokens, workspace
from train.rollout.support import probe

# Calls of torch in one layer's attention over the cache, which the trace leaves out: of the dense path on a CPU,
# counted with a profiler, and as much for scheduling as for a layer; on a GPU it is one kernel and two that write; the
# compiled kernels are two calls, and what stands around them.
DENSE_CALLS, PAGED_CALLS, NATIVE_CALLS = 30, 3, 4


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward over `tokens` tokens without gradients. `peak` is bytes beside the weights."""

    tokens: int
    work: Work
    peak: int


def cache_layers(config: PreTrainedConfig, run: RunConfig, *, bf16: bool, gpu: bool) -> list[LayerShape]:
    """The shape that each layer keeps for a token, found from the model itself as in the engine."""
    model = build(config, run, TRACED_LAYERS)
    with faked(model), autocast(bf16):
        shapes = probe(model, paged=gpu)
    depth = config.get_text_config().num_hidden_layers
    return [shapes[min(number, len(shapes) - 1)] for number in range(depth)]


def trace_forward(
    config: PreTrainedConfig, run: RunConfig, tokens: int, draws: int, *, bf16: bool, gpu: bool
) -> Forward:
    """Trace a forward of the engine over `tokens` tokens, and the draw of `draws` next ones; the cache is not in it."""
    model = build(config, run, TRACED_LAYERS)
    natively = not gpu and not bf16 and run.dtype == torch.float32 and native.available()
    files = rotary_files(model) if natively else []
    trace = Trace()
    with faked(model):
        trace.hold(model.parameters())
        memory = trace.alive
        handles = [
            layer.register_forward_pre_hook(lambda *_, number=number: trace.begin(f"f{number}"))
            for number, layer in enumerate(layers_of(model))
        ]
        handles.append(layers_of(model)[-1].register_forward_hook(lambda *_: trace.begin("head")))
        calls = PAGED_CALLS if gpu else NATIVE_CALLS if natively else DENSE_CALLS
        with engine_mode(model), as_kernels(model, files) if natively else nullcontext(), trace, autocast(bf16):
            _forward(model, tokens, draws, calls)
    return deepened(trace, config, tokens, memory)


@contextmanager
def as_kernels(model: nn.Module, files: Sequence[ModuleType]) -> Iterator[None]:
    """With one call in place of each norm and rotary embedding, as `train.rollout.native.layers` has them.

    `files` are those whose rotary embedding the kernel can stand in for.
    """
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    rotary = [(file, getattr(file, ROTARY)) for file in files]
    try:
        for module in norms:
            module.forward = torch.neg  # any call that reads and writes as much
        for file, _ in rotary:
            setattr(file, ROTARY, lambda query, key, *_, **__: (-query, -key))
        yield
    finally:
        for module in norms:
            module.__dict__.pop("forward", None)
        for file, own in rotary:
            setattr(file, ROTARY, own)


def deepened(trace: Trace, config: PreTrainedConfig, tokens: int, memory: int) -> Forward:
    """A forward with all layers of `config`, from a trace of few that began with `memory` bytes of weights.

    A layer frees its memory when it ends; autocast keeps its rounded copies to the end.
    """
    depth = config.get_text_config().num_hidden_layers
    more, middle = max(0, depth - TRACED_LAYERS), min(1, depth - 1)
    work = Work()
    for name, section in trace.sections.items():
        work = work.plus(section.work, 1 + more * (name == f"f{middle}"))
    later = more * (trace.sections["f2"].start - trace.sections["f1"].start) if more else 0
    last = max(trace.sections[name].peak for name in (f"f{middle}", "head"))
    first = max(section.peak for section in trace.sections.values())
    return Forward(tokens, work, max(first, last + later) - memory)


def _forward(model: Any, tokens: int, draws: int, calls: int) -> None:
    output = model(
        input_ids=torch.zeros(1, tokens, dtype=torch.int64),
        position_ids=torch.zeros(1, tokens, dtype=torch.int64),
        use_cache=False,
        logits_to_keep=torch.zeros(draws, dtype=torch.int64),
        rollout_pass=_NoCache(calls),
    )
    if draws:
        logits = output.logits[0]
        sampling = Sampling(max_new_tokens=1, stop_ids=(0,))
        draw_tokens(logits, sampling, torch.zeros(draws, dtype=torch.float64), workspace(logits))


class _NoCache:
    """A stand-in for attention: as many calls, the same output, and none of the work."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        options: dict[str, Any],
    ) -> torch.Tensor:
        """See `train.rollout.dense.attention.Attends`."""
        small = torch.zeros(1)
        for _ in range(self.calls - 1):
            small = small + 1
        return query.new_zeros(1, query.shape[2], query.shape[1], value.shape[3])


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a call runs: for each decode step the rows in it and the tokens that they have in the cache, together.

    `again` are the tokens of prompts beyond the first row of each group: in the cache once, but each row reads them.
    Running rows are taken to be of as few groups as can be, which at the end of a call they are not.
    """

    rows: np.ndarray  # (steps,)
    cached: np.ndarray  # (steps,)
    again: np.ndarray  # (steps,)

    @property
    def peak_cached(self) -> int:
        """The most tokens in the cache at once, each prompt counted once."""
        return int(self.cached.max(initial=0))


def schedule(work: Workload, most_rows: int) -> Schedule:
    """Start rollouts in order, `most_rows` at a time, each new one as another ends."""
    completions = work.completions
    free = np.zeros(min(most_rows, len(completions)), np.int64)  # when each place is free
    starts = np.zeros(len(completions), np.int64)
    for number, length in enumerate(completions):
        place = int(free.argmin())
        starts[number] = free[place]
        free[place] += length
    steps = int(free.max())
    rows, growth = np.zeros(steps + 1, np.int64), np.zeros(steps + 1, np.int64)
    ends = starts + completions
    np.add.at(rows, starts, 1)
    np.add.at(rows, ends, -1)
    np.add.at(growth, ends, -completions)
    rows = rows.cumsum()[:-1]
    own = (rows + growth[:-1]).cumsum()  # each running row has one token more than the step before
    prompts = np.ceil(rows / work.samples).astype(np.int64)
    return Schedule(rows, own + prompts * work.prompt, (rows - prompts) * work.prompt)
