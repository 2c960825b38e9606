"""The log-probabilities that a model gives to completions which are there already, by a plain forward pass."""

from collections.abc import Sequence

import numpy as np
import torch

from train.model.loading import load_model

Ids = Sequence[int]


@torch.inference_mode()
def completion_logprobs(name: str, pairs: Sequence[tuple[Ids, Ids]]) -> list[np.ndarray]:
    """Log-probabilities at temperature 1, (tokens,) of each (prompt ids, completion ids), by the model called `name`.

    One row at a time, so that nothing is padded. Raises ModelError where there is no such model.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(name).to(device)
    results = []
    for prompt, completion in pairs:
        ids = torch.tensor([[*prompt, *completion]], device=device)  # (1, tokens)
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()  # (completion tokens, vocabulary)
        targets = ids[0, len(prompt) :, None]
        results.append(logits.log_softmax(-1).gather(-1, targets)[:, 0].double().cpu().numpy())
    return results
