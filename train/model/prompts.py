"""From problems to token ids: the one place where the chat template is applied."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.problem import Problem
from data.response import CLOSE, OPEN
from data.tasks import get_task
from train.rollout.interface import Thinking


def messages(problem: Problem, system_prompt: str = "") -> list[dict[str, str]]:
    """The conversation that asks the problem. The system prompt `task` means the task's own instructions."""
    system = get_task(problem.task).instructions if system_prompt == "task" else system_prompt
    question = {"role": "user", "content": problem.prompt}
    return [{"role": "system", "content": system}, question] if system else [question]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> list[int]:
    """The prompt's token ids, ready for the assistant to speak."""
    return list(tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False))


def opens_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template itself writes `<think>` at the end of the prompt."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": "?"}], add_generation_prompt=True, tokenize=False)
    return text.rstrip().endswith(OPEN)


def thinking_within(tokenizer: PreTrainedTokenizerBase, budget: int) -> Thinking:
    """Thinking held to `budget` tokens, by the ids of the tags. Raises ValueError where a tag is not one token."""
    ids = {tag: tokenizer.encode(tag, add_special_tokens=False) for tag in (OPEN, CLOSE)}
    for tag, tag_ids in ids.items():
        if len(tag_ids) != 1:
            raise ValueError(
                f"thinking_budget is {budget}, but the tokenizer writes {tag} as {len(tag_ids)} tokens, and the engine "
                "counts thinking by one token that opens it and one that closes it; leave thinking_budget out, or take "
                "a model that has the tags as tokens (scratch has)."
            )
    (opening,), (close,) = ids[OPEN], ids[CLOSE]
    return Thinking(opening, close, budget=budget, closing_ids=(close,))


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that ends a completion, as TRL counts them: the tokenizer's, and those that the model declares."""
    eos = model.generation_config.eos_token_id
    extra = [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
    return tuple(dict.fromkeys([tokenizer.eos_token_id, *extra]))


def completion_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of `ids` without special tokens, but with the thinking tags, which some tokenizers count among these."""
    return str(tokenizer.decode(_without_special(tokenizer, ids)))


def hidden_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The special tokens, which are no text of a completion; the thinking tags are, in every tokenizer."""
    added_tokens = tokenizer.added_tokens_decoder
    special = {number for number, token in added_tokens.items() if token.special} | set(tokenizer.all_special_ids)
    return special - {number for number, token in added_tokens.items() if token.content in (OPEN, CLOSE)}


def _without_special(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """`ids` without the special tokens, as `decode(skip_special_tokens=True)` leaves them out; tags stay."""
    hidden = hidden_ids(tokenizer)
    return [token for token in ids if token not in hidden]


def token_counts(tokenizer: PreTrainedTokenizerBase, completion_ids: Sequence[int], opened: bool) -> tuple[int, int]:
    """The numbers of a completion's tokens that are thinking and answer; tags and special tokens are neither.

    Counted on the sampled ids, never on text encoded anew. `opened` says that the prompt ended with `<think>`. A
    completion that does not think is all answer, one that never closes its thinking all thinking.
    """
    ids = _without_special(tokenizer, completion_ids)
    begin = (0, 0) if opened else _place(tokenizer, ids, OPEN)
    if begin is None:
        return 0, len(ids)
    end = _place(tokenizer, ids, CLOSE) or (len(ids), len(ids))
    return max(0, end[0] - begin[1]), len(ids) - end[1]


def _place(tokenizer: PreTrainedTokenizerBase, ids: list[int], tag: str) -> tuple[int, int] | None:
    """How many ids are wholly before `tag`, and how many it takes until it is written; None where it never is."""
    if tag in tokenizer.get_added_vocab():
        tag_id = tokenizer.convert_tokens_to_ids(tag)
        return (ids.index(tag_id), ids.index(tag_id) + 1) if tag_id in ids else None
    text = tokenizer.decode(ids)
    if tag not in text:
        return None
    start = text.index(tag)

    def written(count: int) -> int:
        return len(tokenizer.decode(ids[:count]))

    # The decoded text only grows with the prefix, so halving finds both places.
    before = bisect_right(range(1, len(ids) + 1), start, key=written)
    through = bisect_left(range(1, len(ids) + 1), start + len(tag), key=written) + 1
    return before, through
