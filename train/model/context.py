"""Whether prompts and completions fit into a model's context."""

from collections.abc import Sequence

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from data.mixture import BAR_SECONDS
from data.problem import Problem
from train.model.prompts import messages, prompt_ids


def check_context(
    context: int,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    system_prompt: str,
    new_tokens: int,
    option: str = "max_completion_length",
) -> list[int]:
    """The longest prompt's token ids. Raises ValueError where they and `new_tokens` more are over `context` tokens.

    Every problem is looked at: one long row of a set would end a run after hours. `option` names the setting.
    """
    longest: list[int] = []
    worst = problems[0]
    different = {(problem.task, problem.prompt): problem for problem in problems}
    for problem in tqdm(different.values(), "prompts", dynamic_ncols=True, delay=BAR_SECONDS):
        ids = prompt_ids(tokenizer, messages(problem, system_prompt))
        if len(ids) > len(longest):
            longest, worst = ids, problem
    length = len(longest)
    if length + new_tokens > context:
        mend = f"ask for at most {context - length}" if context > length else "leave that one out"
        raise ValueError(
            f"{option} is {new_tokens} and prompts take up to {length} tokens, more together than the model's context "
            f"of {context}; {mend}. The longest, of {worst.task}, begins: {worst.prompt[:80]!r}."
        )
    return longest
