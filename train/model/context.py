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
) -> None:
    """Raise ValueError where the longest prompt and `new_tokens` more do not fit into `context` tokens.

    Every problem is looked at: one long row of a set would end a run after hours. `option` names the setting.
    """
    longest, worst = 0, problems[0]
    different = {(problem.task, problem.prompt): problem for problem in problems}
    for problem in tqdm(different.values(), "prompts", dynamic_ncols=True, delay=BAR_SECONDS):
        length = len(prompt_ids(tokenizer, messages(problem, system_prompt)))
        if length > longest:
            longest, worst = length, problem
    if longest + new_tokens > context:
        mend = f"ask for at most {context - longest}" if context > longest else "leave that one out"
        raise ValueError(
            f"{option} is {new_tokens} and prompts take up to {longest} tokens, more together than the model's context "
            f"of {context}; {mend}. The longest, of {worst.task}, begins: {worst.prompt[:80]!r}."
        )
