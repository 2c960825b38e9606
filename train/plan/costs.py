"""The costs of one step in bytes and work, on any device. Each trace is made once."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from train.config.run_config import RunConfig
from train.plan.counting import Work
from train.plan.loss import Batch, LossCost, loss_cost, parity_cost
from train.plan.modules import base_of, build, layers_of, read_config
from train.plan.rollouts import Forward, cache_layers, trace_forward
from train.plan.workload import Workload
from train.rollout.dense.pool import LayerShape
from train.rollout.limits import CHUNK_TOKENS, IDLE_CHUNK_TOKENS, MAX_ROWS, MAX_ROWS_ON_CUDA
from train.rollout_trainer import PARITY_ROLLOUTS

# NF4 keeps 4 bits a weight and, its scales quantised again, 0.127 bits of scales (Dettmers et al. 2023, section 3).
QUANTISED_BYTES = 4.127 / 8
BATCHES = (1, 8, 32, 128, 256, 512, 1024)  # rows of a decode step that are traced; others lie between
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a model as it is trained, on one process, and its numbers of weights."""

    total: int
    trained: int
    weights: float
    gradients: float
    moments: float
    packed: float  # a CPU's second copy of the linear weights, while rollouts are sampled
    saved_by_quantising: float  # what the trace counts too much of the weights
    largest: float  # of one weight, which QLoRA unpacks to multiply with
    layers: int  # the number of weights that are in the layers, not in the embeddings or the head


class Costs:
    """The costs of `run` under `work`, on a GPU or on a CPU. Traces are made on first use."""

    def __init__(self, run: RunConfig, work: Workload, *, gpu: bool, config: PreTrainedConfig | None = None) -> None:
        self.run = run
        self.work = work
        self.gpu = gpu
        self.config = config or read_config(run)
        self._traces: dict[Hashable, Any] = {}

    def altered(self, work: Workload | None = None, **settings: object) -> "Costs":
        """The same with another workload, or with other settings of the run, `gradient_checkpointing` among them."""
        work = work or self.work
        if "gradient_checkpointing" in settings:
            work = replace(work, checkpointing=bool(settings.pop("gradient_checkpointing")))
        run = replace(self.run, **settings) if settings else self.run  # type: ignore[arg-type]
        other = Costs(run, work, gpu=self.gpu, config=self.config)
        other._traces = self._traces
        return other

    def _traced(self, key: Hashable, trace: Callable[[], T]) -> T:
        """The result of `trace`, made once for these costs and all that `altered` makes of them.

        A trace of the same model depends on its key, the types of numbers and the adapters, and on nothing else.
        """
        key = (key, self.run.dtype, self.run.lora_rank, self.work.bf16)
        if key not in self._traces:
            self._traces[key] = trace()
        return self._traces[key]

    @cached_property
    def sizes(self) -> Sizes:
        """Bytes of the weights, their gradients and the optimizer's state."""
        return self._traced(("sizes", self.run.load_in_4bit, self.work.eight_bit_optimiser), self._sizes)

    def _sizes(self) -> Sizes:
        model = build(self.config, self.run)
        weights = list(model.parameters())
        trained = [weight for weight in weights if weight.requires_grad]
        total = sum(weight.numel() for weight in weights)
        size = float(sum(weight.numel() * weight.element_size() for weight in weights))
        gradients = float(sum(weight.numel() * weight.element_size() for weight in trained))
        linear = [
            module.weight
            for module in base_of(model).modules()
            if isinstance(module, nn.Linear) and not module.weight.requires_grad
        ]
        head = base_of(model).get_output_embeddings().weight
        count = sum(weight.numel() for weight in linear if weight is not head) if self.run.load_in_4bit else 0
        savings = count * (self.run.dtype.itemsize - QUANTISED_BYTES)
        packed = sum(w.numel() * 4 for w in _packable(model)) if not self.gpu and not self.work.bf16 else 0
        return Sizes(
            total=total,
            trained=sum(weight.numel() for weight in trained),
            weights=size - savings,
            gradients=gradients,
            moments=2.0 * sum(w.numel() for w in trained) if self.work.eight_bit_optimiser else 2 * gradients,
            packed=float(packed),
            saved_by_quantising=savings,
            largest=max((w.numel() * w.element_size() for w in linear), default=0) * self.run.load_in_4bit,
            layers=sum(weight.numel() for weight in layers_of(model).parameters()),
        )

    @property
    def depth(self) -> int:
        """The number of layers."""
        return self.config.get_text_config().num_hidden_layers

    def loss(self, rows: int | None = None) -> LossCost:
        """The cost of a micro-batch of `rows` rows; the run's own number by default."""
        work = self.work if rows is None else self.work.with_rows(rows)
        return self._loss(Batch(work.rows, work.prompt, work.most), accumulates=work.micro_batches > 1)

    @cached_property
    def losses(self) -> list[tuple[int, Work]]:
        """Micro-batches of a few widths, by width; the others of a step are between them."""
        widths = self.work.widths
        sample_widths = sorted({int(width) for width in np.quantile(widths, (0, 0.5, 1), method="nearest")})
        batches = {width: Batch(self.work.rows, self.work.prompt, width) for width in sample_widths}
        return [(width, self._loss(batch, accumulates=True).work) for width, batch in batches.items()]

    def _loss(self, batch: Batch, *, accumulates: bool) -> LossCost:
        checkpointing = self.work.checkpointing
        return self._traced(
            ("loss", batch, accumulates, checkpointing),
            lambda: loss_cost(
                self.config,
                self.run,
                batch,
                bf16=self.work.bf16,
                checkpointing=checkpointing,
                accumulates=accumulates,
                gpu=self.gpu,
            ),
        )

    @cached_property
    def layers(self) -> list[LayerShape]:
        """The shape that each layer keeps of a token; on a GPU the pages hold keys in the type of the values."""
        layers = self._traced("layers", lambda: cache_layers(self.config, self.run, bf16=self.work.bf16, gpu=self.gpu))
        return [replace(layer, key_dtype=layer.value_dtype) for layer in layers] if self.gpu else layers

    @property
    def token_bytes(self) -> int:
        """Bytes of one token in the cache."""
        return sum(layer.bytes_per_token for layer in self.layers)

    @property
    def most_rows(self) -> int:
        """The most rollouts that the engine would run at once, were there memory for all."""
        most = self.run.max_rows or (MAX_ROWS_ON_CUDA if self.gpu else MAX_ROWS)
        return min(most, self.work.rollouts)

    @cached_property
    def shadow(self) -> float:
        """Bytes of the weights laid out for decoding on a GPU, in the type of its products.

        Counted for every family, though those whose layers are not fused do without.
        """
        fuses = self.gpu and not self.run.load_in_4bit
        return float(self.sizes.total * self.layers[0].value_dtype.itemsize) if fuses else 0.0

    @cached_property
    def decodes(self) -> list[Forward]:
        """Decode steps of more and more rows, up to as many as a step can have."""
        most = self.most_rows
        sizes = sorted({size for size in BATCHES if size < most} | {most})
        return [self._forward(size, size) for size in sizes]

    @cached_property
    def prefill(self) -> Forward:
        """One chunk of prompts."""
        most = IDLE_CHUNK_TOKENS if self.gpu else CHUNK_TOKENS
        return self._forward(min(most, max(1, self.work.prompts * self.work.prompt)), 1)

    @cached_property
    def parity(self) -> Forward:
        """The loss's own forward of a few rollouts, which the engine is compared with."""
        batch = Batch(min(PARITY_ROLLOUTS, self.work.rows), self.work.prompt, self.work.most)
        return self._traced(
            ("parity", batch), lambda: parity_cost(self.config, self.run, batch, bf16=self.work.bf16, gpu=self.gpu)
        )

    @property
    def forward_peak(self) -> int:
        """The most bytes of a forward while rollouts are sampled, without weights and cache."""
        return max(forward.peak for forward in (self.prefill, self.parity, *self.decodes))

    def of_decodes(self, value: Callable[[Work], float], rows: np.ndarray) -> np.ndarray:
        """A value of the work of decode steps of `rows` rows, (steps,), from those that were traced."""
        traced = [value(forward.work) for forward in self.decodes]
        return np.interp(rows, [forward.tokens for forward in self.decodes], traced)

    def of_losses(self, value: Callable[[Work], float]) -> float:
        """A value of the work of all micro-batches of a step together, from those that were traced."""
        traced = [value(work) for _, work in self.losses]
        return float(np.interp(self.work.widths, [width for width, _ in self.losses], traced).sum())

    def _forward(self, tokens: int, draws: int) -> Forward:
        return self._traced(
            ("forward", tokens, draws),
            lambda: trace_forward(self.config, self.run, tokens, draws, bf16=self.work.bf16, gpu=self.gpu),
        )


def _packable(model: nn.Module) -> list[torch.Tensor]:
    """The weights that `train.rollout.dense.packed` copies, each once."""
    weights = {id(m.weight): m.weight for m in model.modules() if type(m) is nn.Linear and m.weight.numel() >= 1 << 16}
    return list(weights.values())
