"""Arithmetic that takes several steps: long multiplication, and chains of mixed operations.

A thinking text breaks it down: `for 47 + 15 : 47 + 10 = 57 vs 57 yes 57 + 5 = 62 vs 62 yes`. A long multiplication goes
digit by digit with its carries, and may state the digits that are settled: `for 36 * 4 : 6 * 4 = 24 vs 24 yes so 4
3 * 4 = 12 vs 12 yes 12 + 2 = 14 vs 14 yes so 144`. A hasty one states the value at once: `so 62`. After each step the
value is calculated a second time, `vs 57`: `yes` where both agree, `no` where they differ, and then the step is redone.
A slip that is not corrected costs the answer. `wait` redoes the last step, or the columns that it ends, or restarts the
whole.
"""

from data.tasks.arithmetic.demonstration import demonstrate
from data.tasks.arithmetic.problem import NAME, Settings, generate, recognise, verify
from data.tasks.arithmetic.trace import parse_trace

WORDS = ("compute", "for", "so", "vs", "yes", "no", "wait")
JUDGEMENTS = ("yes", "no")  # the words in which a thinking judges itself
DOUBTS = ("wait",)  # the words that carry a thinking on past its end

QUESTION = "Compute the value."
INSTRUCTIONS = (
    f"{QUESTION} Think between <think> and </think> in small steps; check each by working it out again, redo it "
    "where the two differ, then write the number alone. Example: <think> for 36 * 4 : 6 * 4 = 24 vs 24 yes "
    "3 * 4 = 13 vs 12 no 3 * 4 = 12 vs 12 yes 12 + 2 = 14 vs 14 yes so 144</think> 144"
)

__all__ = ["NAME", "Settings", "demonstrate", "generate", "parse_trace", "recognise", "verify"]
