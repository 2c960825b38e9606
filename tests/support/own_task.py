"""A task of one's own, named in a config as `tests/support/own_task.py`: is a number prime?"""

from data.problem import Problem, Verdict

WORDS = ("is", "prime", "yes", "no")  # only a model from scratch needs to be told


def generate(rng, settings):
    number = rng.randint(2, 999)
    return Problem("own", f"is {number} prime", f"prime {number}", {"number": number})


def verify(problem, answer):
    number = problem.facts["number"]
    right = "yes" if all(number % divisor for divisor in range(2, number)) else "no"
    return Verdict(correct=answer == right, format=answer in ("yes", "no"), reason=f"{number} is prime: {right}")
