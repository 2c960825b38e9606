"""Countdown: use every number once, with + - * /, to make the target.

A thinking text is a search: `try 2 + 6 = 8 , 8 - 6 = 2 vs 14 no or 8 + 6 = 14 vs 14 yes`. `try` starts afresh, `or`
keeps every step of the attempt but the last, `wait` redoes the last step, or with `try` the whole attempt, or hesitates
before another, `vs` compares the result with the target. The answer is the expression: `( 2 + 6 ) + 6`.
"""

from data.tasks.countdown.demonstration import demonstrate
from data.tasks.countdown.problem import NAME, Settings, generate, recognise, verify
from data.tasks.countdown.trace import parse_trace

WORDS = ("numbers", "target", "try", "or", "wait", "vs", "yes", "no", "none")
JUDGEMENTS = ("yes", "no")  # the words in which a thinking judges itself
DOUBTS = ("wait",)  # the words that carry a thinking on past its end

QUESTION = "Make the target from the numbers, each used exactly once, with + - * / and parentheses."
INSTRUCTIONS = (
    f"{QUESTION} Think between <think> and </think>, then write the expression alone. Example: <think> try 2 + 6 = 8 , "
    "8 - 6 = 2 vs 14 no or 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
)

__all__ = ["NAME", "Settings", "demonstrate", "generate", "parse_trace", "recognise", "verify"]
