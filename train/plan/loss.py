"""The loss of a micro-batch: the memory, products and bytes moved of its forward and backward.

As in TRL: the backbone, then its fused head, which projects in tiles and never holds all logits.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import nn
from transformers import PreTrainedConfig
from trl.kernels import ChunkedLogProbFunction
from trl.kernels import chunked_logprob as kernels
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE as VOCABULARY_TILE

from train.config.run_config import RunConfig
from train.plan.counting import Section, Trace, Work
from train.plan.modules import TRACED_LAYERS, autocast, base_of, build, faked, layers_of
from train.plan.rollouts import Forward, deepened


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch: `rows` sequences of `prompt` and `completion` tokens, padded to these."""

    rows: int
    prompt: int
    completion: int

    @property
    def width(self) -> int:
        """Tokens of a row."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class LossCost:
    """Bytes at the worst moment, weights and gradients included, and the work, of one micro-batch.

    `saved` is what the layers keep for their backward, part of `peak`; `rest` what stands beside it at that moment:
    the head's tiles, or what a layer's backward needs for itself.
    """

    peak: int
    saved: int
    rest: int
    work: Work


def loss_cost(
    config: PreTrainedConfig,
    run: RunConfig,
    batch: Batch,
    *,
    bf16: bool,
    checkpointing: bool,
    accumulates: bool,
    gpu: bool,
) -> LossCost:
    """Trace a micro-batch. `accumulates` says that gradients of an earlier one are there already."""
    model = build(config, run, TRACED_LAYERS)
    with faked(model):
        model.train()
        if checkpointing:
            base_of(model).gradient_checkpointing_enable({"use_reentrant": False})
            if run.lora_rank:
                base_of(model).enable_input_require_grads()
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        if accumulates:
            for weight in trained:
                weight.grad = torch.empty_like(weight)
        trace = Trace()
        trace.hold(model.parameters())
        trace.hold(weight.grad for weight in trained if weight.grad is not None)
        with _sections(model, trace), trace:
            _step(base_of(model), batch, trace, bf16, gpu)
        layer = layers_of(model)[0]
    own = sum(weight.numel() * weight.element_size() for weight in layer.parameters())
    grads = sum(weight.numel() * weight.element_size() for weight in layer.parameters() if weight.requires_grad)
    # autocast keeps what it has rounded until the forward ends; only without checkpoints does the backward need it too.
    rounded = [weight.numel() * 2 for weight in layer.parameters() if weight.requires_grad and weight.dim() == 2]
    released = sum(rounded) if bf16 and checkpointing and run.dtype == torch.float32 else 0
    return _deepen(trace, config.get_text_config().num_hidden_layers, own + grads * accumulates, released)


def parity_cost(config: PreTrainedConfig, run: RunConfig, batch: Batch, *, bf16: bool, gpu: bool) -> Forward:
    """Trace the loss's forward alone, without gradients, as the parity gate asks for it (`train.loss.logprobs`)."""
    model = build(config, run, TRACED_LAYERS)
    with faked(model):
        trace = Trace()
        trace.hold(model.parameters())
        memory = trace.alive
        with _sections(model, trace), trace, torch.no_grad():
            _step(base_of(model), batch, trace, bf16, gpu)
    return deepened(trace, config, batch.rows * batch.width, memory)


def _step(model: Any, batch: Batch, trace: Trace, bf16: bool, gpu: bool) -> None:
    """Forward, loss and, where gradients are wanted, backward of `batch`, as TRL computes them."""
    ids = torch.zeros(batch.rows, batch.width, dtype=torch.int64)
    with _gpu_kernels(trace) if gpu else nullcontext():
        with autocast(bf16):
            hidden = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)[0]
            # On a GPU the completion alone is projected, elsewhere every position.
            states = hidden[:, -batch.completion - 1 : -1] if gpu else hidden[:, :-1]
            states = states.reshape(-1, states.shape[-1])
            head = model.get_output_embeddings()
            # A tile wider than the vocabulary is allocated, but only on a GPU does that take memory.
            tile = VOCABULARY_TILE if gpu else min(VOCABULARY_TILE, head.weight.shape[0])
            targets = torch.zeros(len(states), dtype=torch.int64)
            outputs = ("log_probs", "entropy")
            logprobs, *_ = ChunkedLogProbFunction.apply(
                states, head.weight, head.bias, targets, 1.0, tile, None, 1.0, outputs
            )
        if torch.is_grad_enabled():
            trace.begin("back")
            logprobs.sum().backward()


@contextmanager
def _gpu_kernels(trace: Trace) -> Iterator[None]:
    """TRL's work on a tile on a GPU: Triton folds it in place, and products sum in float32 by themselves."""

    def fold(tile: torch.Tensor, *_: Any, **__: Any) -> None:
        size = tile.numel() * tile.element_size()
        trace.work.moved[(size, False)] += size
        trace.work.calls += 1

    def add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        trace.work.products[(left.shape[0], left.shape[1], right.shape[1], left.dtype)] += 1
        trace.work.calls += 1

    with ExitStack() as stack:
        for name, stand_in in (("_forward_tile", fold), ("_backward_tile", fold), ("_addmm_fp32", add_product)):
            stack.enter_context(mock.patch.object(kernels, name, stand_in))
        yield


@contextmanager
def _sections(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Have `trace` begin a section at each layer, forward (f0, f1, ...) and backward (b0, ...), and at the head."""
    layers = layers_of(model)
    forward, handles = [True], []

    def before(number: int) -> Any:
        def hook(*_: Any) -> None:
            if forward[0]:  # and not when a checkpoint is worked out again
                trace.begin(f"f{number}")

        return hook

    def behind(number: int) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if not forward[0]:
                return
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.requires_grad:
                hidden.register_hook(lambda gradient: trace.begin(f"b{number}"))
            if number == len(layers) - 1:
                forward[0] = False
                trace.begin("head")

        return hook

    for number, layer in enumerate(layers):
        handles.append(layer.register_forward_pre_hook(before(number)))
        handles.append(layer.register_forward_hook(behind(number)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _deepen(trace: Trace, depth: int, layer_bytes: int, released: int) -> LossCost:
    """The cost with `depth` layers, from a trace of few: what its middle layer adds, added as often as it takes.

    Memory grows layer by layer in the forward and shrinks in the backward, so its worst moment is at an end of either,
    or in the head between them. `layer_bytes` are the weights and gradients that one layer holds throughout, `released`
    what it held in the forward alone.
    """
    sections = trace.sections
    traced = min(depth, TRACED_LAYERS)
    last, middle = traced - 1, min(1, traced - 1)
    more = depth - traced
    work = Work()
    for name, section in sections.items():
        work = work.plus(section.work, 1 + more * (name in (f"f{middle}", f"b{middle}")))
    if traced < TRACED_LAYERS:
        peak = max(section.peak for section in sections.values())
        saved = sections["head"].start - sections["f0"].start
        return LossCost(peak, saved, peak - sections["head"].start, work)
    growth = sections["f2"].start - sections["f1"].start
    start = sections["f0"].start + more * layer_bytes
    top = start + depth * growth
    head = sections["head"]
    back = top + sections["back"].start - head.start - more * released  # where the backward of the head begins
    turn = top + sections[f"b{last}"].start - head.start - more * released  # and that of the layers
    shrink = sections["b0"].start - sections["b1"].start

    def within(section: Section) -> int:
        return section.peak - section.start

    moments = [
        top - growth + within(sections["f1"]),
        top + within(head),
        back + within(sections["back"]),
        turn + within(sections["b1"]),
        turn + (depth - 2) * shrink + within(sections["b1"]),
        turn + (depth - 1) * shrink + within(sections["b0"]),
    ]
    return LossCost(max(moments), depth * growth, max(moments) - top, work)
