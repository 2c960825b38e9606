"""A subject that says what a test tells it to, so that what is put before the model, and what is made of it, shows."""

from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data.problem import Problem
from eval.sampling.subject import Completion, Subject
from train.rollout.interface import Rollout, Sampling

FOURTEEN = Problem("countdown", "numbers 2 6 6 target 14", "countdown 2 6 6 = 14", {"numbers": [2, 6, 6], "target": 14})
FIFTEEN = Problem("countdown", "numbers 3 5 7 target 15", "countdown 3 5 7 = 15", {"numbers": [3, 5, 7], "target": 15})
SUM = Problem("arithmetic", "compute 25 + 17", "arithmetic 17 25 = 42", {"expression": "25 + 17", "target": 42})


class Scripted:
    """A back end whose replies a function of the prompt's text decides. `prompts` keeps what it was asked, in ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, reply: Callable[[str], str]) -> None:
        self.tokenizer = tokenizer
        self.reply = reply
        self.prompts: list[list[int]] = []

    def generate(self, prompts, samples_per_prompt, sampling, on_finished=None):
        """See `RolloutBackend.generate`."""
        rollouts = []
        for prompt in prompts:
            self.prompts.append(list(prompt))
            reply = self.reply(self.tokenizer.decode(prompt))
            ids = [*self.tokenizer.encode(reply, add_special_tokens=False), self.tokenizer.eos_token_id]
            rollouts += [Rollout(ids, "stop") for _ in range(samples_per_prompt)]
        return rollouts


def scripted(tokenizer: PreTrainedTokenizerFast, reply: Callable[[str], str] = lambda prompt: "") -> Subject:
    return Subject(Scripted(tokenizer, reply), tokenizer, Sampling(64, (tokenizer.eos_token_id,)))


def completion(subject: Subject, problem: Problem, text: str) -> Completion:
    """A completion that ended with `text`."""
    return subject.read(problem, [*subject.encode(text), subject.tokenizer.eos_token_id], ended=True)


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of bytes with a chat template of many turns: it spells any text, one token a byte."""
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate([*special, *alphabet])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
        chat_template="{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
