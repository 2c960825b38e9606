"""How a model is spoken to: the chat template of a run, and the token that ends a turn.

A template is the tokenizer's own, one of those below by name, or a Jinja file. Base models often have none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from data.paths import user_path
from data.response import OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
)
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
)


def _asking(text: str) -> str:
    return "{% if add_generation_prompt %}{{ '" + text + "' }}{% endif %}"


# `plain` needs no token that a base model has never seen. The `-think` ones open the thinking for the model, which
# then need not find the tag by chance before it can be rewarded at all.
BUILT_IN = {
    "plain": _PLAIN + _asking("Assistant:"),
    "plain-think": _PLAIN + _asking(f"Assistant: {OPEN}\n"),
    "chatml": _CHATML + _asking("<|im_start|>assistant\n"),
    "chatml-think": _CHATML + _asking(f"<|im_start|>assistant\n{OPEN}\n"),
}
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")

# A prompt that holds today's date differs tomorrow: a resumed run would see other prompts, and an evaluation too. The
# date is the one that Llama's own templates fall back to.
_FROZEN_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}\n"


@dataclass(frozen=True, slots=True)
class Chat:
    """A run's chat settings. `template` is a name in `BUILT_IN` or a template's text; empty keeps the tokenizer's.

    `eos_token` is the token that ends a turn, where the tokenizer's own end-of-sequence token does not. `variables`
    are set for the template, as `enable_thinking` of Qwen3's (TRL's `chat_template_kwargs`).
    """

    template: str = ""
    eos_token: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)


TOKENIZERS_OWN = Chat()


def read_template(choice: str) -> str:
    """The template that a configuration chose: a built-in's name stays, the path of a file becomes its content.

    So a saved configuration holds the whole of it. Raises ValueError.
    """
    if not choice or choice in BUILT_IN or "{{" in choice or "{%" in choice:
        return choice
    try:
        text = user_path(choice).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"chat_template is {choice!r}, which is neither one of {', '.join(BUILT_IN)} nor a readable file "
            f"({error}); give one of these names, or the path of a Jinja file."
        ) from None
    if "messages" not in text:
        raise ValueError(f"chat_template {choice} is not a chat template: it never mentions `messages`.")
    return text


def set_chat(tokenizer: "PreTrainedTokenizerBase", chat: Chat) -> None:
    """Give `tokenizer` the template and the end token of `chat`. Raises ValueError where it cannot have them.

    Of several templates it keeps the one called `default`, by which all is rendered.
    """
    if isinstance(tokenizer.chat_template, dict) and "default" in tokenizer.chat_template:
        tokenizer.chat_template = tokenizer.chat_template["default"]
    vocabulary = tokenizer.get_vocab()
    if chat.eos_token:
        if chat.eos_token not in vocabulary:
            raise ValueError(
                f"eos_token is {chat.eos_token!r}, which is not a token of this tokenizer; choose one of its."
            )
        tokenizer.eos_token = chat.eos_token
    if chat.template in BUILT_IN:
        missing = [token for token in CHATML_TOKENS if token in BUILT_IN[chat.template] and token not in vocabulary]
        if missing:
            raise ValueError(
                f"chat_template is {chat.template}, but {missing[0]} is not a token of this tokenizer; choose "
                f"{chat.template.replace('chatml', 'plain')}, which needs no special tokens."
            )
        tokenizer.chat_template = "{{ bos_token }}" * adds_bos(tokenizer) + BUILT_IN[chat.template]
    elif chat.template:
        tokenizer.chat_template = chat.template
    template = tokenizer.chat_template
    if isinstance(template, str) and "strftime_now" in template and not template.startswith(_FROZEN_DATE):
        tokenizer.chat_template = _FROZEN_DATE + template
    if chat.variables:
        _set_variables(tokenizer, chat.variables)


def _set_variables(tokenizer: "PreTrainedTokenizerBase", variables: Mapping[str, Any]) -> None:
    """Put `variables` into the template itself, so that every rendering sets them. Raises ValueError."""
    for name, value in variables.items():
        if not name.isidentifier() or iskeyword(name) or name in ("messages", "add_generation_prompt"):
            raise ValueError(f"chat_template_kwargs sets {name!r}, which is not a variable that a template takes.")
        if not isinstance(value, bool | int | float | str | None):
            raise ValueError(
                f"chat_template_kwargs sets {name} to {value!r}; expected a number, a text, true or false."
            )
    if not isinstance(tokenizer.chat_template, str):
        raise ValueError("chat_template_kwargs is set, but the tokenizer has no chat template; set chat_template.")
    settings = "".join(f"{{%- set {name} = {value!r} -%}}\n" for name, value in variables.items())
    tokenizer.chat_template = settings + tokenizer.chat_template


def adds_bos(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether `tokenizer` puts its BOS token before a text, as its model saw all texts in pre-training."""
    return tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]


def suggestion(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Which built-in template to choose for a base model with this tokenizer."""
    knows_chatml = all(token in tokenizer.get_vocab() for token in CHATML_TOKENS)
    other = " (it also has the tokens of chatml-think)" if knows_chatml else ""
    return f"chat_template: plain-think{other}, or the path of a Jinja file"
