"""Samples from a server that speaks OpenAI's completions with token ids: vLLM's (`vllm serve`), version 0.10.2 on.

Token ids go in and token ids come back (`return_token_ids`), so nothing is decoded and encoded anew on the way.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from eval.sampling.cache import OnRollout, Prompts
from eval.sampling.json_api import JsonApi, ServerError, at_once, quoted
from train.rollout.counter import problem_key, row_key
from train.rollout.interface import FinishReason, Rollout, Sampling

REQUESTS = 64  # under way at once; the server batches them


def is_url(name: str) -> bool:
    """Whether `name` is a server's address, not a model's name."""
    return name.startswith(("http://", "https://"))


class Server:
    """One model on a server at `url`, such as `http://localhost:8000`; with `#NAME` behind it, one of several.

    Its weights cannot be seen from here: `fingerprint` is the address and the name, so samples of a server whose
    weights were changed under the same name must be deleted by hand. Token ids that are not below `vocabulary` are
    refused. Failures that may pass are tried again (see `JsonApi`). Raises ServerError.
    """

    def __init__(
        self, url: str, vocabulary: int | None = None, *, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self.vocabulary = vocabulary
        address, _, name = url.partition("#")
        self.url = address.rstrip("/").removesuffix("/v1") + "/v1"
        self._api = JsonApi(self.url, connections=REQUESTS, pause=pause)
        models = self._served(self._api.call("GET", "models"))
        if not models or (name and name not in models):
            names = quoted(", ".join(models))
            raise ServerError(f"{self.url} does not serve {name or 'any model'}; it serves: {names or 'none'}.")
        self.model = name or next(iter(models))
        self.root = models[self.model]
        self.fingerprint = hashlib.blake2b(f"{self.url} {self.model}".encode(), digest_size=16).hexdigest()

    def draw(self, prompts: Prompts, numbers: Sequence[int], sampling: Sampling, on_rollout: OnRollout) -> None:
        """Ask for every sample (see `cache.Draw`). Raises ServerError when the samples under way have come in."""
        if sampling.thinking is not None:
            raise ServerError(f"{self.url} cannot be held to a thinking budget; evaluate the checkpoint itself.")
        count = 0
        ask = partial(self._complete, sampling=sampling)
        try:
            for place, rollout in at_once(ask, zip(prompts, numbers, strict=True), REQUESTS):
                on_rollout(place, rollout)
                count += 1
        except ServerError as error:
            raise ServerError(
                f"{error} {count} of {len(prompts)} samples had come and are kept: run the same command to go on."
            ) from None

    def _complete(self, prompt: Sequence[int], number: int, sampling: Sampling) -> Rollout:
        answer = self._api.call(
            "POST",
            "completions",
            {
                "model": self.model,
                "prompt": list(prompt),
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "min_p": sampling.min_p,
                "repetition_penalty": 1.0,  # what is left out is taken from the checkpoint's own generation_config
                "seed": row_key(sampling.seed, 0, problem_key(prompt), number) % 2**63,
                "stop_token_ids": list(sampling.stop_ids),
                "return_token_ids": True,
            },
        )
        ids, finish = self._read(answer, prompt, sampling)
        reason: FinishReason = "stop" if finish == "stop" else "length"
        if reason == "stop" and sampling.stop_ids and ids[-1] not in sampling.stop_ids:
            ids = [*ids, sampling.stop_ids[0]]
        return Rollout(ids, reason)

    def _served(self, models: Any) -> dict[str, str]:
        """The models in a reply, by name, and what each was loaded from. Raises ServerError."""
        entries = models.get("data") if isinstance(models, dict) else None
        cards = [card for card in entries if isinstance(card, dict)] if isinstance(entries, list) else []
        roots = {card["id"]: card.get("root") or card["id"] for card in cards if isinstance(card.get("id"), str)}
        if not isinstance(entries, list) or len(roots) != len(entries):
            raise self._api.odd("models", models, "a list of models, each with an id")
        return {name: str(root) for name, root in roots.items()}

    def _read(self, answer: Any, prompt: Sequence[int], sampling: Sampling) -> tuple[list[int], str]:
        """The token ids and the finish reason of a completion. Raises ServerError."""
        choices = answer.get("choices") if isinstance(answer, dict) else None
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        if not isinstance(choice, dict) or choice.get("index") not in (None, 0) or answer.get("error"):
            raise self._api.odd("completions", answer, "one choice and no error")
        ids, finish = choice.get("token_ids"), choice.get("finish_reason")
        if not ids:
            raise ServerError(
                f"{self.url} gave no token ids; expected vLLM 0.10.2 or newer, which has return_token_ids."
            )
        if not isinstance(ids, list) or not all(type(token) is int and token >= 0 for token in ids):
            raise self._api.odd("completions", ids, "token_ids as a list of whole numbers")
        if finish not in ("stop", "length"):
            raise self._api.odd("completions", finish, "finish_reason stop or length")
        if (read := choice.get("prompt_token_ids")) is not None and read != list(prompt):
            raise self._api.odd("completions", read, "prompt_token_ids to be those sent")
        if set(ids[:-1]) & set(sampling.stop_ids):
            raise self._api.odd("completions", ids, f"an end at the first of the stop_token_ids {sampling.stop_ids}")
        if len(ids) > sampling.max_new_tokens + (finish == "stop"):
            raise ServerError(
                f"{self.url}/completions gave {len(ids)} tokens where {sampling.max_new_tokens} were allowed."
            )
        if self.vocabulary is not None and max(ids) >= self.vocabulary:
            raise ServerError(
                f"{self.url}/completions gave token {max(ids)}, beyond the tokenizer's {self.vocabulary}: it serves "
                "another model. Give its own tokenizer with --tokenizer."
            )
        return ids, finish
