"""From problems to token ids: the one place where the chat template is applied."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.problem import Problem
from data.response import CLOSE, OPEN
from data.tasks import get_task
from train.rollout.interface import Thinking

# Messages whose text is looked for in a rendered conversation: long, and with signs that a template may escape.
SYSTEM = "(the instructions)"
QUESTION = "(the question: is 2 < 3 & 'x' > \"y\"?\n" + "A word more. " * 80 + "That is all.)"


def messages(problem: Problem, system_prompt: str = "") -> list[dict[str, str]]:
    """The conversation that asks the problem. The system prompt `task` means the task's own instructions."""
    system = get_task(problem.task).instructions if system_prompt == "task" else system_prompt
    question = {"role": "user", "content": problem.prompt}
    return [{"role": "system", "content": system}, question] if system else [question]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, conversation: list[dict[str, str]]) -> list[int]:
    """The prompt's token ids, ready for the assistant to speak."""
    return list(tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=False))


def opens_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template itself writes `<think>` behind the question, so that a completion begins inside it."""
    question = {"role": "user", "content": QUESTION}
    options = {"add_generation_prompt": True, "tokenize": False}
    try:
        text = tokenizer.apply_chat_template([question], **options)
    except Exception:  # a template is a program, and some want a system message
        text = tokenizer.apply_chat_template([{"role": "system", "content": SYSTEM}, question], **options)
    return is_open(str(text).rpartition(QUESTION)[2])


def is_open(text: str) -> bool:
    """Whether `text` opens the thinking and does not close it."""
    return OPEN in text and CLOSE not in text.rpartition(OPEN)[2]


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
    """Every id that ends a completion, as TRL counts them: the tokenizer's, and those that the model declares.

    Raises ValueError where the model declares something else than ids.
    """
    eos = model.generation_config.eos_token_id
    extra = [] if eos is None else list(eos) if isinstance(eos, list | tuple) else [eos]
    if wrong := [number for number in extra if type(number) is not int or number < 0]:
        raise ValueError(
            f"eos_token_id in the model's generation_config.json holds {wrong[0]!r}; expected a token's number, or a "
            "list of them."
        )
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
    text = tokenizer.decode(ids)
    if tag not in text:
        return None
    tag_id = tokenizer.get_added_vocab().get(tag)
    if tag_id in ids and tag not in tokenizer.decode(ids[: ids.index(tag_id)]):
        return ids.index(tag_id), ids.index(tag_id) + 1
    start = text.index(tag)  # in pieces, as a model may write a tag that it has as a token too

    def written(count: int) -> int:
        return len(tokenizer.decode(ids[:count]))

    # The decoded text only grows with the prefix, so halving finds both places.
    before = bisect_right(range(1, len(ids) + 1), start, key=written)
    through = bisect_left(range(1, len(ids) + 1), start + len(tag), key=written) + 1
    return before, through
