"""Draws one token a row from logits: exact inverse-CDF sampling, two levels deep.

`torch.multinomial` draws an exponential for every token of the vocabulary (75 ms for 64 rows of 49,152 on one core).
One uniform number a row is enough: sum the unnormalised probabilities in blocks of 256, find the block that the number
falls in, then the token inside that block. Only the sums of blocks and one block a row are ever accumulated, in
float64, so there is no drift along a cumulative sum of 50k to 250k terms.
"""

from dataclasses import dataclass

import torch

from train.rollout.interface import Sampling

_WIDTH = 256  # tokens a block: near the square root of common vocabularies
_SLICE = 1 << 20  # numbers worked on at once: with fewer the calls cost more, with more memory (two threads of a Xeon)


class NonFiniteLogits(ValueError):
    """Logits that are NaN or infinite; `rows` says in which rows of the batch."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"logits are not finite in rows {rows}")
        self.rows = rows


@dataclass(slots=True)
class Draw:
    """Tokens drawn from one batch of logits, with what any token's log-probability needs."""

    tokens: torch.Tensor  # (rows,) int64
    logits: torch.Tensor  # (rows, vocab) temperature-scaled
    log_total: torch.Tensor  # (rows,) log of the sum of exp(logits)
    finite: torch.Tensor  # (rows,) bool: False for logits with a NaN or no finite maximum, whose token is meaningless

    def logprobs(self, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (rows,) of `tokens` (rows,) under the whole temperature-scaled distribution."""
        return self.logits.gather(1, tokens.unsqueeze(1)).squeeze(1) - self.log_total


class Sampler:
    """Draws tokens, some rows at a time; keeps one buffer for them, as fresh pages cost more than the exponentials."""

    def __init__(self) -> None:
        self._buffer: torch.Tensor | None = None

    def draw(self, logits: torch.Tensor, sampling: Sampling, uniforms: torch.Tensor) -> Draw:
        """`draw_tokens`, but raises NonFiniteLogits where a row has no finite maximum or holds a NaN."""
        logits = logits.float()
        rows = max(1, _SLICE // logits.shape[1])
        draws = [
            draw_tokens(part, sampling, numbers, self._workspace(part))
            for part, numbers in zip(logits.split(rows), uniforms.split(rows), strict=True)
        ]
        finite = torch.cat([draw.finite for draw in draws])
        if not bool(finite.all()):
            raise NonFiniteLogits((~finite).nonzero().flatten().tolist())
        tokens = torch.cat([draw.tokens for draw in draws])
        return Draw(tokens, logits, torch.cat([draw.log_total for draw in draws]), finite)

    def release(self) -> None:
        """Free the buffer."""
        self._buffer = None

    def _workspace(self, logits: torch.Tensor) -> torch.Tensor:
        """The first rows of the buffer, one for each of `logits`."""
        rows, vocab = logits.shape
        if self._buffer is None or self._buffer.shape[0] < rows or self._buffer.shape[1] != _padded(vocab):
            self._buffer = workspace(logits)
        return self._buffer[:rows]


def workspace(logits: torch.Tensor) -> torch.Tensor:
    """The work space of `draw_tokens`: (rows, vocab padded to whole blocks), zero in the padding."""
    rows, vocab = logits.shape
    buffer = torch.empty(rows, _padded(vocab), device=logits.device)
    buffer[:, vocab:] = 0
    return buffer


def draw_tokens(logits: torch.Tensor, sampling: Sampling, uniforms: torch.Tensor, weights: torch.Tensor) -> Draw:
    """Draw a token a row from `logits` (rows, vocab), which may be overwritten, by `uniforms` (rows,) in [0, 1).

    `weights` is a `workspace`. The host never waits here for the device: a CUDA graph can capture it.
    """
    logits = logits.float()
    if sampling.temperature not in (0.0, 1.0):
        logits.div_(sampling.temperature)
    rows, vocab = logits.shape
    top = logits.amax(-1, keepdim=True)
    torch.sub(logits, top, out=weights[:, :vocab]).exp_()
    sums = weights.view(rows, -1, _WIDTH).sum(-1)  # (rows, blocks)
    totals = sums.sum(-1, dtype=torch.float64)
    log_total = (totals.log() + top.squeeze(1)).float()
    finite = totals.isfinite()
    if sampling.temperature == 0:
        return Draw(logits.argmax(-1), logits, log_total, finite)
    if sampling.truncates:
        _truncate(weights[:, :vocab], sampling)
        sums = weights.view(rows, -1, _WIDTH).sum(-1)
    return Draw(_invert(weights, sums, uniforms).clamp_(max=vocab - 1), logits, log_total, finite)


def _padded(vocab: int) -> int:
    return -(-vocab // _WIDTH) * _WIDTH


def _invert(weights: torch.Tensor, sums: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The tokens (rows,) at which the cumulative weights (rows, padded) first pass `uniforms` of their total.

    Where weights are NaN nothing passes, and the places are clamped so that at least nothing is read out of bounds.
    """
    rows = torch.arange(len(weights), device=weights.device)
    edges = sums.double().cumsum(-1)  # (rows, blocks)
    total = edges[:, -1]
    target = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    block = torch.searchsorted(edges, target.unsqueeze(1), right=True).squeeze(1).clamp_(max=edges.shape[1] - 1)
    mass = sums[rows, block].double()
    fraction = ((target - (edges[rows, block] - mass)) / mass).clamp_(0, 1 - 2.0**-40)
    inner = weights.view(len(weights), -1, _WIDTH)[rows, block].double().cumsum(-1)  # (rows, _WIDTH)
    offset = torch.searchsorted(inner, (fraction * inner[:, -1]).unsqueeze(1), right=True).squeeze(1)
    return block * _WIDTH + offset


def _truncate(weights: torch.Tensor, sampling: Sampling) -> None:
    """Zero in place the weights (rows, vocab) that top-k, top-p and min-p exclude, in transformers' order.

    The largest weight of a row is 1, so min-p compares with the weights themselves.
    """
    if 0 < sampling.top_k < weights.shape[1]:
        threshold = weights.topk(sampling.top_k, dim=-1).values[:, -1:]
        weights.mul_(weights >= threshold)
    if sampling.top_p < 1:
        sorted_weights, order = weights.sort(dim=-1, descending=True)
        before = sorted_weights.double().cumsum(-1) - sorted_weights  # probability mass of the tokens ahead
        keep = before < sampling.top_p * sorted_weights.sum(-1, keepdim=True, dtype=torch.float64)
        weights.mul_(torch.zeros_like(keep).scatter_(1, order, keep))
    if sampling.min_p > 0:
        weights.mul_(weights >= sampling.min_p)
