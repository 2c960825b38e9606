"""A small model from nothing: its tokenizer and its architecture, both plain transformers.

The tokenizer has a token for each number to 99 and each word of the tasks; longer numbers are spelled digit by digit.
A space belongs to the token that it precedes, so decoding is concatenation and gives back the text exactly.
"""

import re
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config

from data.response import CLOSE, OPEN
from data.tasks import TASKS
from train.model.scratch_sizes import check_scratch

SPECIAL = ("<|pad|>", "<|unknown|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
SIGNS = ("+", "-", "*", "/", "=", "(", ")", ",", ":")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ARCHITECTURES = {"llama": LlamaConfig, "qwen3": Qwen3Config}


def build_tokenizer(extra_words: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer over the words of every built-in task and the extra ones, with its chat template.

    Raises ValueError for an extra word that it could not tell from others.
    """
    words = sorted({word for task in TASKS.values() for word in task.words}.union(extra_words))
    for word in words:
        if not re.fullmatch("[a-z]+", word):
            raise ValueError(f"{word!r} is among the WORDS of a task; a model from scratch knows words of a to z only.")
    pieces = [str(digit) for digit in range(10)] + [f" {number}" for number in range(100)]
    pieces += [space + word for word in (*SIGNS, *words) for space in ("", " ")]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, OPEN, CLOSE, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" [1-9]\d(?!\d)| ?\d| ?[a-z]+| ?[^\sa-z\d]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in (OPEN, CLOSE)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        unk_token="<|unknown|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_model(settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """A randomly initialised model in fp32. The caller seeds torch."""
    full = check_scratch(settings)
    config = ARCHITECTURES[full.pop("architecture")](
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        head_dim=full["hidden_size"] // full["num_attention_heads"],
        tie_word_embeddings=True,
        **full,
    )
    return AutoModelForCausalLM.from_config(config)
