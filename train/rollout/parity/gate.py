"""The parity gate: the engine's log-probabilities against the trainer's own forward on the same tokens.

A rollout engine that differs from the trainer does not crash: it trains on a slightly different policy, and the run
decays. So a few rollouts are checked at the start and every N steps, and above a limit the run stops with the cause
that `causes.py` can find.
"""

from collections.abc import Sequence

import torch

from train.rollout.interface import Rollout
from train.rollout.parity.causes import LogprobFunction, find_cause, forward_logprobs, rescored
from train.rollout.parity.comparison import ParityReport, choose, compare

# fp32 engine and forward differ by rounding alone, 1e-5 at most over the families tested. In bfloat16 one rounding of
# a logit near 16 is 0.06, and the two paths round in different places.
LIMITS = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}


class ParityError(RuntimeError):
    """The engine's log-probabilities are not the trainer's."""


def check(
    model: torch.nn.Module,
    prompts: Sequence[Sequence[int]],
    rollouts: Sequence[Rollout],
    *,
    temperature: float = 1.0,
    logprobs_of: LogprobFunction | None = None,
    bos_id: int | None = None,
    pad_id: int | None = None,
    limit: float | None = None,
    most: int = 8,
) -> ParityReport:
    """Compare as `compare` does and raise ParityError, naming the likely cause, where the largest gap is over `limit`.

    `logprobs_of` is how the trainer computes log-probabilities, called once with all that is checked, and more often
    only where the gap is over the limit; by default it is `forward_logprobs` of `model`. `bos_id`
    and `pad_id`, where given, let a wrong BOS token and unmasked padding be recognised. `limit` is 1e-3 in fp32.
    """
    samples = len(rollouts) // len(prompts)
    places = choose(len(rollouts), most)
    sample_prompts = [prompts[place // samples] for place in places]
    sample_rollouts = [rollouts[place] for place in places]
    plain = forward_logprobs(model, temperature)
    trainer = logprobs_of or plain
    report = compare(sample_prompts, sample_rollouts, trainer, most=most)
    weight = next(model.parameters())
    autocast = torch.is_autocast_enabled(weight.device.type)
    dtype = torch.get_autocast_dtype(weight.device.type) if autocast else weight.dtype
    bound = LIMITS[dtype] if limit is None else limit
    if report.largest <= bound:
        return report
    if compare(sample_prompts, sample_rollouts, plain, most=most).largest <= bound:
        # The engine agrees with a plain forward, so it is the trainer's own that is off: find what it computes.
        culprit, suspect = "the trainer's forward", rescored(sample_rollouts, sample_prompts, trainer)
    else:
        culprit, suspect = "the rollouts", sample_rollouts
    cause = find_cause(model, sample_prompts, suspect, trainer, temperature, bos_id, pad_id, report.mean)
    place, token = report.worst
    raise ParityError(
        f"the engine's log-probabilities differ from the trainer's by up to {report.largest:.3g} (mean "
        f"{report.mean:.3g}, limit {bound:.3g}) over {report.tokens} tokens; the largest gap is at token {token} of "
        f"rollout {places[place]}. Likely cause: {cause.format(culprit=culprit)}."
    )
