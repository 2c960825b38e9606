"""Finds why log-probabilities differ: forwards with one deliberate error each, to see which reproduces the numbers."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from train.rollout.interface import Rollout
from train.rollout.module_state import evaluation_mode, is_peft
from train.rollout.parity.comparison import LogprobFunction, Tokens, compare

_EXPLAINED = 0.25  # a cause is named only where it leaves less than this share of the mean gap


def forward_logprobs(
    model: torch.nn.Module,
    temperature: float = 1.0,
    *,
    before: Sequence[int] = (),
    drop_first: int | None = None,
    pad_to: int = 0,
    pad_id: int = 0,
    positions: str = "count",
    bfloat16: bool = False,
    without_adapter: bool = False,
) -> LogprobFunction:
    """One plain forward for each prompt and completion in evaluation mode, with deliberate errors.

    `before` is put in front of the prompt; a first token `drop_first` is taken off it; it is padded on the left with
    `pad_id` to `pad_to` tokens without a mask; `positions` are "count" (right), "zero" or "restart" (the completion
    counts from 0 again); the forward runs under bfloat16 autocast, or with the adapter off.
    """

    def of_one(prompt: Tokens, completion: Tokens) -> torch.Tensor:
        head = [*before, *(prompt[1:] if prompt[0] == drop_first and len(prompt) > 1 else prompt)]
        head = [pad_id] * (pad_to - len(head)) + head
        device = next(model.parameters()).device
        ids = torch.tensor([[*head, *completion]], device=device)
        place = torch.arange(ids.shape[1], device=device)
        if positions == "zero":
            place = torch.zeros_like(place)
        elif positions == "restart":
            place = torch.cat([place[: len(head)], place[: len(completion)]])
        lowered = bfloat16 or torch.is_autocast_enabled(device.type)
        dtype = torch.bfloat16 if bfloat16 else torch.get_autocast_dtype(device.type)  # fp16 is compared with fp16
        autocast = torch.autocast(device.type, dtype, enabled=lowered)
        with evaluation_mode(model), autocast:
            # Without a mask, transformers would take restarting positions for packed sequences.
            inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": place.unsqueeze(0)}
            if without_adapter and is_peft(model):
                with model.disable_adapter():
                    output = model(**inputs, use_cache=False, logits_to_keep=len(completion) + 1)
            else:
                output = model(**inputs, use_cache=False, logits_to_keep=len(completion) + 1)
        scaled = output.logits[0, :-1].float() / (temperature or 1.0)
        return scaled.log_softmax(-1).gather(1, ids[0, len(head) :, None]).squeeze(1).cpu()

    def of_all(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[torch.Tensor]:
        return [of_one(*row) for row in zip(prompts, completions, strict=True)]

    return of_all


def find_cause(
    model: torch.nn.Module,
    prompts: Sequence[Tokens],
    rollouts: Sequence[Rollout],
    trainer: LogprobFunction,
    temperature: float,
    bos_id: int | None,
    pad_id: int | None,
    mean_gap: float,
) -> str:
    """The wrong forward that comes nearest to the rollouts' log-probabilities.

    `prompts` has one for each of `rollouts`; `{culprit}` in the text names their side.
    """
    plain, lowered = forward_logprobs(model, temperature), forward_logprobs(model, temperature, bfloat16=True)
    if _varies(trainer, prompts, rollouts):
        return (
            "dropout - the trainer's forward gives another result each time, so it runs in train mode (mend it with "
            "disable_dropout: true)"
        )
    candidates = _wrong_forwards(model, prompts, temperature, bos_id, pad_id)
    gaps = {
        cause: compare(prompts, rollouts, forward, most=len(rollouts)).mean for cause, forward in candidates.items()
    }
    nearest = min(gaps, key=gaps.__getitem__)
    if gaps[nearest] <= _EXPLAINED * mean_gap:
        return nearest
    # Two bfloat16 forwards round in different places, so neither gives the other's numbers: the gap's size decides.
    rounding = compare(prompts, rescored(rollouts, prompts, plain), lowered, most=len(rollouts)).mean
    if 0.5 * rounding <= mean_gap <= 2 * rounding:
        return "precision - the gap is what bfloat16 arithmetic makes, so {culprit} came from bfloat16"
    return "none of mask, position, BOS, dropout, precision, adapter, temperature; have the weights changed since?"


def rescored(rollouts: Sequence[Rollout], prompts: Sequence[Tokens], logprobs_of: LogprobFunction) -> list[Rollout]:
    """The same tokens with `logprobs_of`'s log-probabilities; `prompts` has one for each rollout."""
    rows = logprobs_of(prompts, [rollout.token_ids for rollout in rollouts])
    return [replace(rollout, logprobs=row.tolist()) for rollout, row in zip(rollouts, rows, strict=True)]


def _varies(trainer: LogprobFunction, prompts: Sequence[Tokens], rollouts: Sequence[Rollout]) -> bool:
    completions = [rollout.token_ids for rollout in rollouts]
    twice = zip(trainer(prompts, completions), trainer(prompts, completions), strict=True)
    return any(not one.equal(other) for one, other in twice)


def _wrong_forwards(
    model: torch.nn.Module,
    prompts: Sequence[Tokens],
    temperature: float,
    bos_id: int | None,
    pad_id: int | None,
) -> dict[str, LogprobFunction]:
    wrong: dict[str, LogprobFunction] = {
        "position - {culprit} gave every token position 0": forward_logprobs(model, temperature, positions="zero"),
        "position - {culprit} counted the completion's positions from 0 again": forward_logprobs(
            model, temperature, positions="restart"
        ),
    }
    for other in (0.6, 0.7, 0.8, 0.9, 1.0, 1.2):
        if other != temperature:
            text = f"temperature - {{culprit}} used {other:g} in place of {temperature:g}"
            wrong[text] = forward_logprobs(model, other)
    if is_peft(model):
        text = "adapter - {culprit} came from the base model, without the adapter"
        wrong[text] = forward_logprobs(model, temperature, without_adapter=True)
    if bos_id is not None:
        text = f"BOS - {{culprit}} had one more token {bos_id} in front of the prompt"
        wrong[text] = forward_logprobs(model, temperature, before=[bos_id])
        text = f"BOS - {{culprit}} lacked the token {bos_id} in front of the prompt"
        wrong[text] = forward_logprobs(model, temperature, drop_first=bos_id)
    if pad_id is not None:
        longest = max(len(prompt) for prompt in prompts)
        text = "mask - {culprit} attended to the padding in front of the prompt"
        wrong[text] = forward_logprobs(model, temperature, pad_to=longest, pad_id=pad_id)
    return wrong
