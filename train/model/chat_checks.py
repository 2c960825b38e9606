"""Checks before any work that a chat template and its tokenizer do what training needs.

Harmless, and so not refused: a template that opens `<think>` at the end of the prompt (`prompts.opens_thinking`); one
that strips the thinking from earlier turns, since no completion is ever rendered or encoded anew; a padding token that
is the end-of-sequence token, since every mask comes from lengths.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.problem import Problem
from data.response import CLOSE, OPEN
from data.terminal import first_line
from train.model.chat import adds_bos
from train.model.prompts import QUESTION, SYSTEM, is_open, messages, opens_thinking, prompt_ids, stop_ids

ANSWER = "(the answer)"


class ChatError(ValueError):
    """A chat template or tokenizer that would spoil a run; the message is one line that says how to mend it."""


def check_chat(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, system: bool) -> None:
    """Raise ChatError unless prompts and ends of turns are as they should be. `system`: there is a system message."""
    check_vocabulary(model, tokenizer)
    check_template(tokenizer, stop_ids(model, tokenizer), system=system)


def check_template(tokenizer: PreTrainedTokenizerBase, stops: Sequence[int], *, system: bool) -> None:
    """Raise ChatError unless prompts and ends of turns are as they should be, where a completion stops at `stops`."""
    conversation = [{"role": "system", "content": SYSTEM}] * system + [{"role": "user", "content": QUESTION}]
    prompt = _prompt(tokenizer, conversation)
    _check_prompt(tokenizer, conversation, prompt)
    whole = _render(tokenizer, [*conversation, {"role": "assistant", "content": ANSWER}])
    if ANSWER not in whole:
        raise ChatError("the chat template leaves out what the assistant says; take another with chat_template.")
    before, _, behind = whole.rpartition(ANSWER)
    _check_generation_prompt(tokenizer, conversation, prompt, before)
    _check_end_of_turn(tokenizer, stops, behind)


def check_prompts(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], system_prompt: str) -> None:
    """Raise ChatError where the template treats a task's prompt differently; one problem of each task is rendered.

    What a system prompt or a question says may switch a template's thinking off (`/no_think`), or on.
    """
    opened = opens_thinking(tokenizer)
    for problem in {problem.task: problem for problem in problems}.values():
        text = _render(tokenizer, messages(problem, system_prompt), add_generation_prompt=True)
        question = problem.prompt.strip()
        if question not in text:
            raise ChatError(
                f"the chat template changes the question of {problem.task} that begins {question[:80]!r}; take another "
                "with chat_template."
            )
        tail = text.rpartition(question)[2]
        if CLOSE in tail:
            raise ChatError(_cannot_think(f", for {problem.task} with this system_prompt,"))
        if is_open(tail) != opened:
            raise ChatError(
                f"the chat template opens the thinking ({OPEN}) {'elsewhere' if opened else 'here'}, but "
                f"{'not here' if opened else 'not elsewhere'}: for {problem.task} with this system_prompt. Take "
                "another template with chat_template, or another system_prompt."
            )


def _cannot_think(where: str = "") -> str:
    return (
        f"the chat template{where} writes an empty thinking ({OPEN}, then {CLOSE}) into the prompt, so that the model "
        "cannot think; take its thinking mode, or another template, with chat_template."
    )


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for, and stop tokens that it cannot draw."""
    rows = model.get_input_embeddings().weight.shape[0]
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)
    if beyond:
        number, token = beyond[0]
        raise ChatError(
            f"the tokenizer has {len(beyond)} tokens beyond the model's {rows} embeddings, the first is {token!r} "
            f"({number}): it is another model's, or was given tokens that the model was not. Take the model's own."
        )
    for number in stop_ids(model, tokenizer):
        if number >= rows:
            raise ChatError(
                f"stop token {number} is beyond the model's {rows} embeddings; mend eos_token_id in its "
                "generation_config.json."
            )


def _prompt(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> str:
    try:
        return _render(tokenizer, conversation, add_generation_prompt=True)
    except ChatError:
        if len(conversation) == 1:
            if _renders(tokenizer, [{"role": "system", "content": SYSTEM}, *conversation]):
                raise ChatError(
                    "the chat template wants a system message; set system_prompt, or take another with chat_template."
                ) from None
            raise
        _render(tokenizer, conversation[1:], add_generation_prompt=True)  # says so if it is not the system message
        raise ChatError(
            "the chat template refuses a system message; leave system_prompt out, or take a template that has one with "
            "chat_template."
        ) from None


def _renders(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> bool:
    try:
        _render(tokenizer, conversation, add_generation_prompt=True)
    except ChatError:
        return False
    return True


def _check_prompt(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]], prompt: str) -> None:
    for message in conversation:
        if message["content"] not in prompt:
            mend = "leave system_prompt out, or " * (message["role"] == "system")
            raise ChatError(
                f"the chat template drops or changes the {message['role']} message; {mend}take another with "
                "chat_template."
            )
    tail = prompt.rpartition(QUESTION)[2]
    if CLOSE in tail:
        raise ChatError(_cannot_think())
    if prompt != _prompt(tokenizer, conversation):
        raise ChatError(
            "the chat template renders the same conversation in two ways, by chance or by the time, so a run could not "
            "be repeated; take another with chat_template."
        )
    bos = tokenizer.bos_token_id
    ids = prompt_ids(tokenizer, conversation)
    if bos is not None and ids[:2] == [bos, bos]:
        raise ChatError(
            f"prompts would begin with two BOS tokens, {tokenizer.bos_token} twice; take one out of the chat template."
        )
    if adds_bos(tokenizer) and ids[0] != bos:
        raise ChatError(
            f"prompts would begin without the BOS token, {tokenizer.bos_token}, that the tokenizer puts before every "
            "text; begin the chat template with {{ bos_token }}."
        )


def _check_generation_prompt(
    tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]], prompt: str, before: str
) -> None:
    """Where `add_generation_prompt` changes nothing, nothing may be missing between the question and the answer."""
    missing = before.removeprefix(prompt.rstrip()).replace(OPEN, "").replace(CLOSE, "").strip()
    if prompt == _render(tokenizer, conversation) and missing:
        raise ChatError(
            f"the chat template has no generation prompt: before an answer it writes {missing!r}, which the model "
            "would have to write itself. Add {% if add_generation_prompt %}...{% endif %} at its end, or take another "
            "with chat_template."
        )


def _check_end_of_turn(tokenizer: PreTrainedTokenizerBase, stops: Sequence[int], behind: str) -> None:
    behind = behind.lstrip()
    names = [name for name in tokenizer.convert_ids_to_tokens(list(stops)) if name]
    if any(behind.startswith(name) for name in names):
        return
    tokens = ", ".join(map(repr, names))
    if not behind:
        raise ChatError(
            f"the chat template writes no end-of-sequence token behind an answer (expected one of {tokens}), so turns "
            "would run into each other; write {{ eos_token }} there, or take another template with chat_template."
        )
    special = [token for token in tokenizer.get_added_vocab() if token and behind.startswith(token)]
    if special:
        longest = max(special, key=len)
        raise ChatError(
            f"the chat template ends a turn with {longest!r}, but a completion stops at {tokens} alone: the model "
            f"would run on. Set eos_token: {longest!r}."
        )
    raise ChatError(
        f"the chat template ends a turn with {behind[:20]!r}, which is none of the tokens that a completion stops at "
        f"({tokens}); write {{{{ eos_token }}}} there, or take another template with chat_template."
    )


def _render(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]], **options: Any) -> str:
    try:
        return str(tokenizer.apply_chat_template(conversation, tokenize=False, **options))
    except Exception as error:  # a template is a program
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ChatError(f"the chat template cannot be rendered ({reason}); take another with chat_template.") from error
