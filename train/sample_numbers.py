"""Numbers samples, so that no two samples of a prompt in one step draw the same, whichever process draws them.

The engine's random numbers depend on (seed, step, prompt, sample number). A training set may hold a problem twice, and
dynamic sampling asks for more of a prompt later in the step, so numbering needs to know what all processes draw.
"""

from collections import Counter
from collections.abc import Sequence

from accelerate import PartialState
from accelerate.utils import gather_object

from train.rollout.counter import problem_key


class SampleNumbers:
    """Counts the samples of each prompt over the calls of one step, on all processes, in the order of their ranks.

    So two processes give the numbers that one would give to the same rows.
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()  # by prompt, on all processes

    def take(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """A number for each row, given its prompt. All processes must call this together."""
        keys = [problem_key(prompt) for prompt in prompts]
        counts: list[Counter[int]] = gather_object([Counter(keys)])  # by rank
        next_numbers = Counter(self._counts)
        for earlier in counts[: PartialState().process_index]:
            next_numbers.update(earlier)
        numbers = []
        for key in keys:
            numbers.append(next_numbers[key])
            next_numbers[key] += 1
        for count in counts:
            self._counts.update(count)
        return numbers
