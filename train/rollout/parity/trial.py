"""Decides by the result whether the engine samples a model right: a short packed step against a plain forward.

A model whose every layer calls the engine's attention may still come out wrong: attention in chunks, a state beside
attention, or keys that mix neighbouring tokens. So the trial samples two rows of unequal length, with windows short
enough that both rows cross them, and compares them with the model's own forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from train.rollout.interface import Rollout, RolloutBackend, Sampling
from train.rollout.module_state import attention_configs, evaluation_mode

TRIAL_CHUNK_TOKENS = 16  # of prefill in the trial: the longer prompt takes several passes, the first beside the shorter
PROMPT_TOKENS = (13, 30)  # the longer row crosses a block of 32 tokens while it is decoded
NEW_TOKENS = 5
SHORT_WINDOW = 6  # shorter than either prompt
# Names in configurations and layers for the number of tokens that attention looks back, or of a chunk.
WINDOWS = (
    "sliding_window", "sliding_window_size", "attention_chunk_size", "attention_window_size", "keep_window_size",
    "window_size", "local_attention",
)  # fmt: skip

# The largest gap in fp32: rounding makes 1e-5 at most over the families tested. It scales down with logits that hardly
# differ, as an untrained model's, whose every mistake is small. Half precision rounds each logit by up to 0.06, so
# there the mean gap counts.
_LARGEST = 1e-3
_MEAN = {torch.bfloat16: 0.2, torch.float16: 0.05}
_MEAN_OF_GENERATE = 0.05  # in fp32; models that see the padding, or tokens to come, are off by 0.3 and more


class TrialError(ValueError):
    """The engine's log-probabilities are not those of a plain forward; the message says by how much."""


def try_out(model: torch.nn.Module, backend: RolloutBackend, vocabulary: int) -> None:
    """Sample two short rows of `model` with `backend`; raise TrialError where the model's own forward disagrees.

    `vocabulary` is the number of its tokens. Logits that are not finite cannot be compared and raise TrialError too.
    """
    with short_windows(model):
        gap, spread = _measure(model, backend, vocabulary)
    dtype = _computed_in(model)
    right = float(gap.mean()) <= _MEAN[dtype] if dtype in _MEAN else float(gap.max()) <= _LARGEST * min(1.0, spread)
    if not right:  # a gap of NaN too
        raise TrialError(_differs(gap))


def try_generate(model: torch.nn.Module, backend: RolloutBackend, vocabulary: int) -> None:
    """The same for transformers' own `generate`, whose rows are padded on the left: some models see the padding.

    A model's own cached steps may round otherwise than its forward, so the mean gap counts in every precision.
    """
    gap, spread = _measure(model, backend, vocabulary)
    if not float(gap.mean()) <= _MEAN.get(_computed_in(model), _MEAN_OF_GENERATE) * min(1.0, spread):
        raise TrialError(_differs(gap))


def _measure(model: torch.nn.Module, backend: RolloutBackend, vocabulary: int) -> tuple[torch.Tensor, float]:
    """The gap at each token of two rows of unequal length, and the mean spread of log-probabilities there."""
    prompts = [_tokens(length, vocabulary) for length in PROMPT_TOKENS]
    rollouts = backend.generate(prompts, 1, Sampling(NEW_TOKENS, ()))
    gaps, spreads = zip(*map(lambda *row: _gaps(model, *row), prompts, rollouts), strict=True)
    return torch.cat(gaps), float(torch.cat(spreads).mean())


def _differs(gap: torch.Tensor) -> str:
    return (
        f"its rollouts differ from its own plain forward by {float(gap.max()):.2g} (mean {float(gap.mean()):.2g}) in "
        "log-probability"
    )


@contextmanager
def short_windows(model: torch.nn.Module) -> Iterator[None]:
    """Cut every window and attention chunk of `model` to SHORT_WINDOW tokens; restored on exit."""
    owners = [*attention_configs(model), *model.modules()]
    long = [
        (owner, name, value)
        for owner in owners
        for name in WINDOWS
        if type(value := owner.__dict__.get(name)) is int and value > SHORT_WINDOW
    ]
    try:
        for owner, name, _ in long:
            setattr(owner, name, SHORT_WINDOW)
        yield
    finally:
        for owner, name, value in long:
            setattr(owner, name, value)


def _gaps(model: torch.nn.Module, prompt: list[int], rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
    """The gap at each new token, and the spread of log-probabilities over the vocabulary there, (new tokens,) each."""
    device = next(model.parameters()).device
    ids = torch.tensor([[*prompt, *rollout.token_ids]], device=device)
    with evaluation_mode(model):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    logprobs = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)  # (new tokens, vocab)
    own = logprobs.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
    return (own - torch.tensor(rollout.logprobs, device=device)).abs(), logprobs.std(-1)


def _tokens(count: int, vocabulary: int) -> list[int]:
    """`count` varied tokens; not drawn, since that would advance a random generator and change later draws."""
    return [(7 + 31 * place * (place + count)) % vocabulary for place in range(count)]


def _computed_in(model: torch.nn.Module) -> torch.dtype:
    """The type that products are computed in, autocast included."""
    weight = next(model.parameters())
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
