"""Samples from a server that speaks OpenAI's completions with token ids: vLLM's (`vllm serve`), version 0.10.2 on.

Token ids go in and token ids come back (`return_token_ids`), so nothing is decoded and encoded anew on the way.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import httpx

from train.rollout.counter import problem_key, row_key
from train.rollout.interface import FinishReason, Rollout, Sampling

REQUESTS = 64  # under way at once; the server batches them
TIMEOUT = httpx.Timeout(600.0, connect=10.0)  # seconds; a long completion comes back in one piece


class ServerError(ValueError):
    """The server could not be reached, or did not answer as it should; the message is one line."""


def is_url(name: str) -> bool:
    """Whether `name` is a server's address and no model's name."""
    return name.startswith(("http://", "https://"))


class Server:
    """One model on a server at `url`, such as `http://localhost:8000`; with `#NAME` behind it, one of several.

    Its weights cannot be seen from here: `fingerprint` is the address and the name, so samples of a server whose
    weights were changed under the same name must be deleted by hand. Raises ServerError.
    """

    def __init__(self, url: str) -> None:
        address, _, wanted = url.partition("#")
        self.url = address.rstrip("/").removesuffix("/v1") + "/v1"
        self.client = httpx.Client(timeout=TIMEOUT, limits=httpx.Limits(max_connections=REQUESTS), trust_env=False)
        served = {model["id"]: model.get("root") or model["id"] for model in self._call("GET", "models")["data"]}
        if not served or (wanted and wanted not in served):
            raise ServerError(f"{self.url} does not serve {wanted or 'any model'}; it serves: {', '.join(served)}.")
        self.model = wanted or next(iter(served))
        self.root = served[self.model]
        self.fingerprint = hashlib.blake2b(f"{self.url} {self.model}".encode(), digest_size=16).hexdigest()

    def draw(
        self,
        prompts: Sequence[Sequence[int]],
        numbers: Sequence[int],
        sampling: Sampling,
        finished: Callable[[int, Rollout], None],
    ) -> None:
        """Ask for every sample (see `cache.Draw`). Raises ServerError when the samples under way have come in."""
        if sampling.thinking is not None:
            raise ServerError(f"{self.url} cannot be held to a thinking budget; evaluate the checkpoint itself.")
        done = 0
        failed: list[ServerError] = []

        def ask(prompt: Sequence[int], number: int) -> Rollout | None:
            if failed:  # there is no use in asking on
                return None
            try:
                return self._complete(prompt, number, sampling)
            except ServerError as error:
                failed.append(error)
                return None

        with ThreadPoolExecutor(REQUESTS) as pool:
            asked = zip(prompts, numbers, strict=True)
            places = {pool.submit(ask, prompt, number): place for place, (prompt, number) in enumerate(asked)}
            for future in as_completed(places):
                if rollout := future.result():
                    finished(places[future], rollout)
                    done += 1
        if failed:
            raise ServerError(
                f"{failed[0]} {done} of {len(prompts)} samples had come and are kept: run the same command to go on."
            )

    def _complete(self, prompt: Sequence[int], number: int, sampling: Sampling) -> Rollout:
        answer = self._call(
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
                "seed": row_key(sampling.seed, 0, problem_key(prompt), number) % 2**63,
                "stop_token_ids": list(sampling.stop_ids),
                "return_token_ids": True,
            },
        )
        choice = answer["choices"][0]
        ids = choice.get("token_ids")
        if not ids:
            raise ServerError(
                f"{self.url} gave no token ids; expected vLLM 0.10.2 or newer, which has return_token_ids."
            )
        reason: FinishReason = "stop" if choice["finish_reason"] == "stop" else "length"
        if reason == "stop" and ids[-1] not in sampling.stop_ids:
            ids = [*ids, sampling.stop_ids[0]]
        return Rollout(ids, reason)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer as JSON. Raises ServerError."""
        try:
            response = self.client.request(method, f"{self.url}/{path}", json=body)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:
            said = " ".join(error.response.text.split())[:200]
            raise ServerError(f"{self.url}/{path} answered {error.response.status_code}: {said}.") from None
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(f"{self.url}/{path} did not answer ({type(error).__name__}: {error}).") from None
