"""The loss over packed rows: the tokens of a micro-batch side by side, no padding, each row attending to itself alone.

Padded, a micro-batch computes as many tokens as its longest row has, times its rows, and attention reads a mask.
Packed, attention runs over rows of their own lengths: by `varlen_attn` on a GPU in half precision, row by row
elsewhere. Neighbouring rows of one prompt share it: all but its last token is computed once, and its keys and values
serve them all. TRL's loss is left as it is: a stand-in for the model takes the padded batch and gives back padded
log-probabilities.
"""

from typing import Any

import torch
from torch import nn

from train.loss.packed_attention import Span, packed_attention_in, packing_of

# The largest difference to the padded forward in float32, and the mean one in half precision, which rounds logits.
CLOSE = 1e-4
CLOSE_IN_HALF = 0.1


class PackedModel:
    """The stand-in for `model` where TRL wants log-probabilities of a padded batch."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **inputs: Any
    ) -> Any:
        """The outputs of `model`: `log_probs` and `entropy` (rows, width - 1) as for a padded batch, 0 where masked.

        `input_ids`, `attention_mask` and `labels` are (rows, width).
        """
        present, spans = attention_mask.bool(), None
        if not inputs.get("output_router_logits"):  # experts are balanced over every token of every row
            present, spans = shared_prompts(input_ids, present, labels)
        if spans is None:
            ends = present.sum(1).cumsum(0).tolist()
            spans = [Span(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        positions = attention_mask.cumsum(1) - 1
        own_labels = labels[present].unsqueeze(0)  # (1, tokens)
        with packed_attention_in(self.model):
            outputs = self.model(
                input_ids=input_ids[present].unsqueeze(0),
                attention_mask=None,
                position_ids=positions[present].unsqueeze(0),
                labels=own_labels,
                packing=packing_of(spans, input_ids.device),
                **inputs,
            )
        scored, packed = labels[:, 1:] != -100, own_labels[:, 1:] != -100
        for name in ("log_probs", "entropy"):
            value = getattr(outputs, name)
            if value is not None:
                padded = value.new_zeros(scored.shape)
                setattr(outputs, name, padded.masked_scatter(scored, value[packed]))
        return outputs


def shared_prompts(
    input_ids: torch.Tensor, present: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, list[Span] | None]:
    """Which tokens (rows, width) are computed, and the spans of the rows that are left; None where all are.

    A row that follows another of its prompt keeps the prompt's last token, whose successor is its own. Rows without
    a label are left out, unless there is no other.
    """
    scored = labels != -100
    prompt_width = int(scored.any(0).int().argmax())
    if not prompt_width:
        return present, None  # nothing is scored
    ids, mask = input_ids[:, :prompt_width], present[:, :prompt_width]
    same = ((ids == ids.roll(1, 0)) & mask | ~mask).all(1) & (mask == mask.roll(1, 0)).all(1)
    columns = torch.stack([same.long(), scored.any(1).long(), mask.sum(1), present.sum(1)], 1).tolist()
    present = present & scored.any(1, keepdim=True)
    spans: list[Span] = []
    leader: Span | None = None
    at, followers = 0, []
    for row, (is_same, is_scored, prompt, length) in enumerate(columns):
        leader = leader if is_same and row else None
        if not is_scored:
            continue
        if leader is None or prompt == 1:
            leader = Span(at, at + length)
            spans.append(leader)
        else:
            spans.append(Span(at, at + length - prompt + 1, leader.start, leader.start + prompt - 1))
            followers.append(row)
        at = spans[-1].end
    present[followers, : prompt_width - 1] = False
    return present, spans


def check_packing(model: nn.Module) -> None:
    """Raise ValueError where packed rows would give other log-probabilities than padded ones.

    `model` has TRL's fused head. Three short rows of other lengths are tried, two of them of one prompt; windows are
    compared by the tests of the families that have some.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    device = next(model.parameters()).device
    width = 24
    ids = (torch.arange(3 * width, device=device) * 31 + 7).view(3, width) % vocabulary
    ids[2, :12] = ids[1, :12]
    mask = torch.ones_like(ids)
    mask[0, :5], mask[1, -9:] = 0, 0  # padding before a prompt, and behind a completion
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :12] = -100
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels, "fused_lm_head": True}
    name = type(model).__name__
    training = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            padded, packed = model(**batch).log_probs, PackedModel(model)(**batch).log_probs
    except (NotImplementedError, TypeError) as error:
        raise ValueError(f"packed_loss is set, which {name} does not do: {error}. Leave it out.") from error
    finally:
        for module, mode in training:
            module.training = mode
    gaps = (padded - packed).abs()[labels[:, 1:] != -100].float()
    in_half = padded.dtype != torch.float32 or torch.is_autocast_enabled(device.type)
    gap, tolerance = (float(gaps.mean()), CLOSE_IN_HALF) if in_half else (float(gaps.max()), CLOSE)
    if not gap <= tolerance:
        raise ValueError(
            f"packed_loss is set, but packed rows of {name} give other log-probabilities than padded ones, by "
            f"{gap:.1e}; leave it out."
        )
