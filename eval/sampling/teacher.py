"""Teachers, who answer problems for others to learn from: a server that speaks OpenAI's chat, or a checkpoint."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.fixed_sets.reasoning_traces import NoTrace, with_thinking
from data.problem import Problem
from eval.sampling.candidate import Candidate
from eval.sampling.json_api import JsonApi, ServerError, at_once
from train.model.prompts import completion_text, messages, opens_thinking, prompt_ids
from train.rollout.counter import row_key
from train.rollout.interface import Rollout, Sampling

HINT = " --teacher takes the URL of a server that speaks OpenAI's chat, such as http://localhost:8000, or a checkpoint."


@dataclass(frozen=True, slots=True)
class Answer:
    """A teacher's reply: a completion in our form, or None with the reason why there is none."""

    completion: str | None
    fault: str = ""


Request = tuple[Problem, int]  # a problem, and the number of the sample
OnAnswer = Callable[[Request, Answer], None]


class ChatTeacher:
    """A model behind `/v1/chat/completions`. The key, where one is needed, is the environment's OPENAI_API_KEY."""

    def __init__(
        self,
        url: str,
        sampling: Sampling,
        system_prompt: str = "",
        *,
        model: str = "",
        requests: int = 16,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self.sampling, self.system_prompt = sampling, system_prompt
        self.requests = requests
        key = os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._api = JsonApi(self.url, connections=requests, headers=headers, proxies=True, hint=HINT, pause=pause)
        self.model = model or self._first_model()
        self.name = f"{self.url}#{self.model}"

    def ask(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        """Ask everything, several at once, and hand each answer over. Raises ServerError once the rest has come in."""
        for place, answer in at_once(self._answer, requests, self.requests):
            on_answer(requests[place], answer)

    def _answer(self, problem: Problem, sample: int) -> Answer:
        body = {
            "model": self.model,
            "messages": messages(problem, self.system_prompt),
            "max_tokens": self.sampling.max_new_tokens,
            "temperature": self.sampling.temperature,
            "seed": row_key(self.sampling.seed, 0, hash_of(problem), sample) % 2**31,
        }
        reply = self._api.call("POST", "chat/completions", body)
        try:
            choice = reply["choices"][0]
            content = choice["message"].get("content") or ""
            thinking = choice["message"].get("reasoning_content") or choice["message"].get("reasoning") or ""
            if not isinstance(content, str) or not isinstance(thinking, str):
                raise TypeError
        except (KeyError, IndexError, TypeError, AttributeError):
            raise self._api.odd("chat/completions", reply, "choices with a message") from None
        if choice.get("finish_reason") == "length":
            return Answer(None, "cut off")
        try:
            return Answer(with_thinking(content, thinking))
        except NoTrace as reason:
            return Answer(None, str(reason))

    def _first_model(self) -> str:
        reply = self._api.call("GET", "models")
        try:
            return str(reply["data"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise ServerError(f"{self.url}/models names no model; give one with --teacher-model.") from None


class CheckpointTeacher:
    """A checkpoint, sampled by the engine."""

    def __init__(self, candidate: Candidate, sampling: Sampling, system_prompt: str = "") -> None:
        self.candidate, self.sampling, self.system_prompt = candidate, sampling, system_prompt
        self.name = candidate.name
        self.opened = opens_thinking(candidate.tokenizer)

    def ask(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        """Sample every problem and hand each answer over as it ends."""
        tokenizer = self.candidate.tokenizer
        prompts = [prompt_ids(tokenizer, messages(problem, self.system_prompt)) for problem, _ in requests]

        def finished(place: int, rollout: Rollout) -> None:
            if rollout.finish_reason == "length":
                on_answer(requests[place], Answer(None, "cut off"))
                return
            text = completion_text(tokenizer, rollout.token_ids)
            try:
                on_answer(requests[place], Answer(with_thinking(text)))
            except NoTrace as reason:
                on_answer(requests[place], Answer(None, str(reason)))

        self.candidate.backend.draw(prompts, [sample for _, sample in requests], self.sampling, finished)


def hash_of(problem: Problem) -> int:
    """A number for a problem, the same on every machine."""
    return int.from_bytes(problem.canonical.encode()) % 2**61
