"""A decode step in 9 or 10 launches a layer and 6 beside: fused layers over shadow weights, sampling in kernels."""

from typing import Any

import torch
from torch.nn import functional

from train.rollout.interface import Sampling
from train.rollout.paged.attention import Sequences
from train.rollout.paged.fingerprint import structure
from train.rollout.paged.fused.layers import FusedLayer, Norm, Stream, Tokens, read_layer, run_layer
from train.rollout.paged.fused.shadow import NotFusable, Shadow
from train.rollout.paged.fused.trial import (
    COUNT,
    WHOLE,
    Decoder,
    Seen,
    hidden_of,
    look,
    offsets,
    read_decoder,
    trial_pages,
    trial_prompt,
    trial_tokens,
    try_layers,
)
from train.rollout.paged.pool import SCRATCH_PAGE, PagedPool
from train.rollout.paged.state import RolloutState, Rules
from train.rollout.paged.step import Batch, draw
from train.rollout.triton_kernels.advance import advance
from train.rollout.triton_kernels.prepare import prepare
from train.rollout.triton_kernels.product import invariant_linear
from train.rollout.triton_kernels.sampling import draw_on_device

_POSITION_DEPENDENT_ROPE = ("dynamic", "longrope")  # whose frequencies change with the length
# Largest share of the logits' spread by which the head alone may differ: its rounding.
_HEAD = {torch.float32: 1e-3, torch.float16: 5e-3, torch.bfloat16: 2e-2}


class FusedForward:
    """Fused layers over a shadow of `model`'s weights; see `Forward`.

    `context` is the longest sequence, `dtype` that of the products (autocast's, where it is on). `merges` allows
    adapters to be merged into the shadow, `invariant` asks for results that do not depend on the batch. Raises
    NotFusable where a trial differs from the module, or something stands where the fused layers have nothing.
    """

    gathers = False
    as_is = False

    def __init__(
        self, model: Any, context: int, dtype: torch.dtype, *, merges: bool = True, invariant: bool = False
    ) -> None:
        self.model = model
        self.context = context
        self.merges = merges
        self.invariant = invariant
        self.dtype = dtype
        self.structure = structure(model)
        decoder = read_decoder(model)
        self._embedding = decoder.embedding
        self.device = decoder.embedding.weight.device
        self.stream_dtype = decoder.embedding.weight.dtype
        self.width = decoder.embedding.embedding_dim
        seen = look(model, decoder)
        rotary = try_layers(model, decoder, seen, merges)
        config = decoder.causal.config.get_text_config(decoder=True)
        self.softcap: float | None = getattr(config, "final_logit_softcapping", None)
        self.shadow = Shadow(dtype, self.device, merges=merges)
        offset_of = offsets()
        self.layers: list[FusedLayer] = [
            read_layer(layer, self.shadow, seen.attention[number], offset_of, rotary=rotary[number])
            for number, layer in enumerate(decoder.layers)
        ]
        self.norm = Norm(
            self.shadow.vector(decoder.norm), self.layers[0].input_norm.epsilon, self.layers[0].input_norm.offset
        )
        self.head = self.shadow.side_by_side([decoder.head])
        self.shares_embedding = (
            getattr(decoder.head, "weight", None) is decoder.embedding.weight and dtype == self.stream_dtype
        )
        self.tables = _tables(decoder, seen, context, self.stream_dtype)
        self.bytes = self.shadow.bytes + sum(part.numel() * 4 for table in self.tables for part in table)
        self.embedding_scale = _embedding_scale(decoder, seen)
        self.refresh()
        self._try_whole(decoder, seen)
        self.name = "fused layers" + (", independent of the batch" if invariant else "")

    def fits(self, model: Any, context: int, dtype: torch.dtype) -> bool:
        """Whether this was made for `model` as it stands now."""
        return (
            self.model is model
            and self.context >= context
            and self.dtype == dtype
            and self.stream_dtype == self._embedding.weight.dtype
            and self.structure == structure(model)
        )

    def refresh(self) -> None:
        """Copy the live weights into the shadow."""
        self.shadow.refresh()

    def fingerprint(self) -> Any:
        """The embedding alone is read where it lives."""
        return id(self), None if self.shares_embedding else self._embedding.weight.data_ptr()

    def why_not_capturable(self) -> str | None:
        """Nothing in a fused step waits for the host."""
        return None

    def decode(self, pool: PagedPool, state: RolloutState, batch: Batch, sampling: Sampling, rules: Rules) -> None:
        """See `Forward`."""
        positions, slots, lengths, hidden = prepare(
            batch.rollouts,
            state.ended,
            state.cached,
            state.last,
            batch.table,
            self._embedded(),
            pool.page_tokens,
            SCRATCH_PAGE,
            scale=self.embedding_scale,
        )
        sequences = Sequences(batch.table, lengths, batch.query_starts, batch.key_starts)
        stream = self._run(pool, hidden, Tokens(positions, slots, sequences))
        logits = self.logits(stream.normed(self.norm, self.dtype))
        if sampling.truncates:
            state.cached[batch.rollouts] = positions + ~state.ended[batch.rollouts]
            batch.outputs.copy_(draw(state, batch.rollouts, self._capped(logits), sampling, rules))
            return
        self._draw(state, batch.rollouts, logits, sampling, rules, batch.outputs, decodes=True)

    def prefill(
        self,
        pool: PagedPool,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        sequences: Sequences,
        last: torch.Tensor,
    ) -> torch.Tensor:
        """See `Forward`. Logits that a family caps are not capped yet."""
        return self.logits(self.states(pool, tokens, positions, slots, sequences, last))

    def states(
        self,
        pool: PagedPool,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        sequences: Sequences,
        last: torch.Tensor,
    ) -> torch.Tensor:
        """See `SplitForward` (prefill.py)."""
        hidden = functional.embedding(tokens, self._embedded())
        if self.embedding_scale != 1:
            hidden = hidden * self.embedding_scale
        stream = self._run(pool, hidden, Tokens(positions, slots, sequences))
        return stream.normed(self.norm, self.dtype)[last]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """See `SplitForward`."""
        return (invariant_linear if self.invariant else functional.linear)(states, *self.head)

    def draw(
        self, state: RolloutState, rollouts: torch.Tensor, logits: torch.Tensor, sampling: Sampling, rules: Rules
    ) -> torch.Tensor:
        """See `Forward`."""
        if sampling.truncates:
            return draw(state, rollouts, self._capped(logits), sampling, rules)
        outputs = torch.empty(len(rollouts), 4, dtype=torch.int32, device=self.device)
        self._draw(state, rollouts, logits, sampling, rules, outputs, decodes=False)
        return outputs

    def _draw(
        self,
        state: RolloutState,
        rollouts: torch.Tensor,
        logits: torch.Tensor,
        sampling: Sampling,
        rules: Rules,
        outputs: torch.Tensor,
        *,
        decodes: bool,
    ) -> None:
        how: dict[str, Any] = {"temperature": sampling.temperature, "softcap": self.softcap}
        drawn = draw_on_device(logits, rollouts, state.keys, state.drawn, **how)
        advance(state, rules, rollouts, logits, drawn, outputs, **how, decodes=decodes)

    def _embedded(self) -> torch.Tensor:
        """(vocab, width) what tokens are looked up in."""
        return self.head[0] if self.shares_embedding else self._embedding.weight.detach()

    def _run(self, pool: PagedPool, hidden: torch.Tensor, tokens: Tokens) -> Stream:
        stream = Stream(hidden)
        for number, layer in enumerate(self.layers):
            keys, values = pool.keys[number], pool.values[number]
            run_layer(layer, stream, tokens, keys, values, self.tables, invariant=self.invariant)
        return stream

    def _capped(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self.softcap is None else self.softcap * (logits.float() / self.softcap).tanh()

    @torch.no_grad()
    def _try_whole(self, decoder: Decoder, seen: Seen) -> None:
        """Raise NotFusable where the head, or the whole, gives other logits than the module."""
        assert seen.normed is not None and seen.logits is not None
        pages = [trial_pages(layer, self.device) for layer in self.layers]
        hidden = functional.embedding(trial_tokens(decoder.embedding.num_embeddings, self.device)[0], self._embedded())
        stream = Stream((hidden * self.embedding_scale).to(self.stream_dtype))
        with torch.autocast(self.device.type, enabled=False):
            for layer, (keys, values) in zip(self.layers, pages, strict=True):
                run_layer(layer, stream, trial_prompt(self.device), keys, values, self.tables)
            whole = self._capped(self.logits(stream.normed(self.norm, self.dtype)))
            head = self._capped(self.logits(seen.normed.to(self.dtype)))
        spread = float(seen.logits.float().std())
        for what, logits, tolerance in (("head", head, _HEAD), ("forward", whole, WHOLE)):
            gap = float((logits.float() - seen.logits.float()).pow(2).mean().sqrt()) / max(spread, 1e-12)
            if not gap <= tolerance[self.dtype]:
                raise NotFusable(f"the logits of its {what} differ by {gap:.1e} of their spread from the fused ones")


def _tables(decoder: Decoder, seen: Seen, context: int, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Cosines and sines (context, dim) of every kind of rotary embedding, rounded as the module rounds them."""
    config = decoder.causal.config.get_text_config(decoder=True)
    rope = str(getattr(config, "rope_parameters", None) or {})
    if any(kind in rope for kind in _POSITION_DEPENDENT_ROPE):
        raise NotFusable("its rotary embedding depends on the length")
    device = decoder.embedding.weight.device
    positions = torch.arange(max(context, COUNT), device=device).unsqueeze(0)
    tables = []
    with torch.no_grad():
        for _, args, kwargs in seen.rotary:
            rest = dict(kwargs)
            named = "position_ids" in rest
            rest.pop("position_ids", None)
            rest.pop("x", None)
            like = torch.zeros(1, 1, decoder.embedding.embedding_dim, dtype=dtype, device=device)
            further = [value for value in args if not isinstance(value, torch.Tensor)]
            cos, sin = (
                decoder.rotary(like, *further, position_ids=positions, **rest)
                if named
                else decoder.rotary(like, positions, *further, **rest)
            )
            tables.append((cos[0].float().contiguous(), sin[0].float().contiguous()))
    for layer in decoder.layers:
        attention: Any = layer.self_attn
        if tables and tables[0][0].shape[1] != attention.head_dim:
            raise NotFusable("its rotary embedding turns a part of each head alone")
    return tables


def _embedding_scale(decoder: Decoder, seen: Seen) -> float:
    """What tokens' embeddings are multiplied by before the first layer. Raises NotFusable for anything else."""
    weight = decoder.embedding.weight.detach()
    own = functional.embedding(trial_tokens(decoder.embedding.num_embeddings, weight.device)[0], weight)
    hidden = hidden_of(seen.calls[0])
    root = float(torch.tensor(decoder.embedding.embedding_dim**0.5, dtype=weight.dtype))
    for scale in (1.0, root):
        tolerance = 4 * torch.finfo(weight.dtype).eps
        if torch.allclose((own * scale).float(), hidden.float(), rtol=tolerance, atol=tolerance):
            return scale
    raise NotFusable("its first layer does not read the embedding, plain or scaled")
