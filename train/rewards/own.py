"""A user's reward function, `my/module.py:name`, held to its contract: one finite number for each completion."""

import ast
import asyncio
import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from data.own_module import FAILURES, import_own, in_words

Reward = Callable[..., list[float | None]]


class RewardError(Exception):
    """A reward function failed, or did not give one finite number for each completion."""


class OwnReward:
    """The function as TRL calls it. None says that the reward does not apply to a completion, as in TRL."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.function = load_reward(source)
        self.__name__ = source.rpartition(":")[2]  # what TRL logs it as

    def __call__(self, *, completion_ids: list[list[int]], **columns: Any) -> list[float | None]:
        """The function's rewards. Raises RewardError, naming the function."""
        try:
            values = self.function(completion_ids=completion_ids, **columns)
            if inspect.isawaitable(values):
                values = asyncio.run(_result(values))
        except FAILURES as error:  # whatever the user's function does wrong, the line says which, and what
            hint = "; end its arguments with **_" if "unexpected keyword argument" in str(error) else self._place(error)
            raise RewardError(f"The reward {self.source} failed: {in_words(error)}{hint}") from error
        return checked(self.source, values, len(completion_ids))

    def _place(self, error: BaseException) -> str:
        """The line of the function's file that raised `error`, or the last one on the way there."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        file = code.co_filename if code else None
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        return f", in line {lines[-1]}" if lines else ""


async def _result(values: Any) -> Any:
    return await values


def checked(source: str, values: Any, count: int) -> list[float | None]:
    """The rewards as plain numbers. Raises RewardError where they are not `count` finite numbers."""
    if isinstance(values, str | dict) or not hasattr(values, "__len__") or not hasattr(values, "__getitem__"):
        raise RewardError(f"The reward {source} gave {values!r:.80}; expected a list of {count} numbers.")
    if len(values) != count:
        raise RewardError(f"The reward {source} gave {len(values)} values; expected {count}, one for each completion.")
    return [_number(source, value, at) for at, value in enumerate(values)]


def _number(source: str, value: Any, at: int) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except Exception:  # a tensor of two numbers, a whole number beyond a float's: each has an error of its own
        number = math.nan
    if not math.isfinite(number):
        raise RewardError(f"The reward {source} gave {value!r:.80} for completion {at}; expected a finite number.")
    return number


def load_reward(source: str) -> Reward:
    """Import the function. Raises ValueError where it is not found, or its module imports from the evaluation."""
    name, _, function = source.rpartition(":")
    module = import_own(name, "reward module")
    if not callable(reward := vars(module).get(function)):
        there = ", ".join(key for key, value in vars(module).items() if inspect.isfunction(value)) or "none"
        raise ValueError(f"The reward module {name} has no function {function!r}; it has: {there}.")
    refuse_evaluation(module, source)
    return reward


def refuse_evaluation(module: ModuleType, source: str) -> None:
    """Raise ValueError where a reward's module imports from `eval`: a model trained on its monitor learns to hide."""
    if module.__file__ is None or not module.__file__.endswith(".py"):
        return
    module_names: list[str] = []
    for node in ast.walk(ast.parse(Path(module.__file__).read_bytes())):
        if isinstance(node, ast.Import):
            module_names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module_names.append(node.module or "")
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            module_names += [str(word.value) for word in node.args if isinstance(word, ast.Constant)]
    if wrong := next((name for name in module_names if f"{name}.".startswith("eval.")), None):
        raise ValueError(
            f"The reward {source} imports {wrong}; the evaluation's measures and its monitor are never rewards, for a "
            "model that is trained on them learns to hide from them. Leave that import out."
        )


def try_out(reward: OwnReward, examples: Sequence[dict[str, Any]], columns: dict[str, Any]) -> None:
    """Ask for the rewards of two short completions, to see a function's mistakes before any work. Raises ValueError.

    `examples` are two rows of the training set; `columns` are the arguments that are no columns of it.
    """
    answers = ["<think>?</think> 0", ""]
    try:
        reward(
            prompts=[row["prompt"] for row in examples],
            completions=[[{"role": "assistant", "content": text}] for text in answers],
            completion_ids=[[0], [0]],
            **{key: [row[key] for row in examples] for key in examples[0] if key != "prompt"},
            **columns,
        )
    except RewardError as error:
        raise ValueError(str(error)) from error
