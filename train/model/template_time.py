"""Refuses a chat template that never ends, by rendering it first in a worker that can be killed."""

from functools import cache

from transformers import PreTrainedTokenizerBase

from data.workers.pool import WorkerPool
from train.model.chat import BUILT_IN
from train.model.scratch import CHAT_TEMPLATE

SECONDS = 5.0  # of processor time for a few short conversations, which take a template milliseconds
MEMORY_MIB = 512
LONG = "A long question. " * 200
USER, ANSWER = {"role": "user", "content": LONG}, {"role": "assistant", "content": "An answer."}
CONVERSATIONS = ([USER], [{"role": "system", "content": "Instructions."}, USER], [USER, ANSWER], [USER, ANSWER, USER])
OURS = frozenset((CHAT_TEMPLATE, *BUILT_IN.values()))  # no strangers' programs


def check_time(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ValueError where the tokenizer's chat template takes too long, or too much memory, to be rendered."""
    template = tokenizer.chat_template
    if not isinstance(template, str) or template in OURS or template.removeprefix("{{ bos_token }}") in OURS:
        return
    if reason := _fault(template, tokenizer.bos_token or "", tokenizer.eos_token or ""):
        raise ValueError(
            f"the chat template does not render a short conversation: it {reason}, as nested loops can make it; take "
            "another with chat_template."
        )


@cache
def _fault(template: str, bos_token: str, eos_token: str) -> str | None:
    pool = WorkerPool("train.model.template_worker:render", seconds=SECONDS, memory_mib=MEMORY_MIB, workers=1)
    tokens = {"bos_token": bos_token, "eos_token": eos_token}
    try:
        return pool.ask({"template": template, "conversations": CONVERSATIONS, "tokens": tokens}).error
    finally:
        pool.close()
