"""Runs in a worker process for `data.tasks.gym`: draws an entry from reasoning-gym, and scores an answer.

An entry becomes plain JSON here, with only the metadata that its scorer reads.
"""

import json
import random
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np

from data.response import MAX_ANSWER_CHARACTERS
from data.settings import read_settings
from data.tasks import gym
from data.tasks.gym_forms import GUARDS, bounds, fault
from data.tasks.gym_judges import JUDGES
from data.tasks.gym_logic import restating_wins, right_conclusion

# The metadata that scorers and our judges read; all others compare with the answer alone.
READS: dict[str, tuple[str, ...]] = {
    "advanced_geometry": ("task_type", "ortho", "incircle_radius_exact"),
    "arc_agi": ("output",),
    "boxnet": ("initial_state",),
    "calendar_arithmetic": ("task",),
    "complex_arithmetic": ("result",),
    "countdown": ("numbers", "target"),
    "cryptarithm": ("words_letters", "result_letters", "allow_leading_zero"),
    "fraction_simplification": ("numerator", "denominator", "simplified_numerator", "simplified_denominator"),
    "futoshiki": ("solution",),
    "graph_color": ("puzzle",),
    "group_anagrams": ("solution",),
    "intermediate_integration": ("variable", "integrand"),
    "jugs": ("puzzle",),
    "kakurasu": ("row_sums", "col_sums", "n_rows", "n_cols"),
    "knight_swap": ("is_possible", "board", "pieces", "start_turn", "solution"),
    "mini_sudoku": ("solution",),
    "n_queens": ("valid_answers",),
    "number_format": ("solution",),
    "palindrome_generation": ("letters",),
    "palindrome_partitioning": ("solution",),
    "propositional_logic": ("variables", "premises"),
    "puzzle24": ("numbers",),
    "quantum_lock": ("buttons", "initial_state", "initial_value", "target_value"),
    "rearc": ("output",),
    "rubiks_cube": ("cube_size", "scramble_moves"),
    "rush_hour": ("board_config",),
    "shortest_path": ("matrix",),
    "simple_integration": ("variable", "integrand"),
    "sokoban": ("gamestr",),
    "sudoku": ("solution",),
    "survo": ("board_size", "solution"),
    "time_intervals": ("task_type",),
    "tower_of_hanoi": ("num_disks", "num_pegs", "start_peg", "target_peg", "solution_length"),
    "word_ladder": ("start_word", "end_word"),
    "word_sorting": ("sorted_words",),
}
TUPLES = ("arc_agi", "rearc")  # their scorers compare the grid with a tuple of tuples


gym.datasets()  # a worker imports everything when it starts, not while its first request waits


def act(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request of `data.tasks.gym`: `draw` or `score`."""
    name, settings = request["name"], json.dumps(request.get("settings", {}), sort_keys=True)
    if request["do"] == "draw":
        return draw(name, settings, request["seed"])
    return score(name, settings, request["entry"], request["answer"])


def draw(name: str, settings: str, seed: int) -> dict[str, Any]:
    """The entry of a seed: its question, its canonical content, and what its scorer needs.

    Or, in `unusable`, why no completion could answer it: the generator fails for this seed, or the right answer is
    blank, too long, or does not itself score 1 (some integrals of intermediate_integration are ones that sympy did not
    solve). Five tasks state no right answer; their scorers accept any that solves the problem.
    """
    dataset = _dataset(name, settings)
    random.seed(seed)  # some generators draw from here, and ignore their own seed
    np.random.seed(seed)
    dataset.seed = dataset.config.seed = seed
    try:
        item = dataset[seed % dataset.size]
    except Exception as error:
        return {"unusable": f"{type(error).__name__}: {error}"[:200]}
    metadata = {key: item["metadata"][key] for key in READS.get(name, ()) if key in item["metadata"]}
    entry = json.loads(json.dumps({"answer": item["answer"], "metadata": metadata}))
    if entry["answer"] is not None:
        gold = entry["answer"].strip()
        if not 0 < len(gold) <= MAX_ANSWER_CHARACTERS:
            return {"unusable": f"its answer has {len(gold)} characters"}
        if score(name, settings, entry, gold).get("score") != 1:
            return {"unusable": f"its own answer, {gold[:80]}, does not score 1"}
    if name == "propositional_logic":
        only_variables = dataset.config.max_complexity == 1  # no problem can ask for more than all premises then
        if not right_conclusion(entry) or (restating_wins(entry) and not only_variables):
            return {"unusable": "no conclusion can be drawn from its premises"}
    return {"question": item["question"], "canonical": canonical(name, item), "entry": entry}


def canonical(name: str, item: dict[str, Any]) -> str:
    """The content of the question, whatever its wording."""
    if name not in gym.CONTENT:
        return f"{gym.FAMILY}:{name} {' '.join(item['question'].split())}"
    values = {key: item["metadata"][key] for key in gym.CONTENT[name]}
    return f"{gym.FAMILY}:{name} " + json.dumps(
        {key: sorted(value) if key in gym.UNORDERED else value for key, value in values.items()}
    )


def score(name: str, settings: str, entry: dict[str, Any], answer: str) -> dict[str, Any]:
    """The score of an answer, from 0 to 1, and 1 only for a right one; or why it has none. Entries do not change.

    The reason is in `unreadable`, or in `refused` where the scorer accepted an answer that is wrong.
    """
    try:
        if too_long := bounds(answer, entry):
            return {"refused": too_long}
        if any(sign.isdecimal() and not sign.isascii() for sign in answer) and (entry["answer"] or "").isascii():
            return {"refused": "has digits of another script"}
        if name in JUDGES:
            return {"score": float(JUDGES[name](answer, entry))}
        if name in GUARDS and (reason := GUARDS[name](answer, entry)):
            return {"refused": reason}
        graded = min(1.0, max(0.0, scorers_own(name, settings, entry, answer)))  # max passes over nan
        if graded == 1 and (reason := fault(name, answer, entry)):
            return {"refused": reason}
        return {"score": graded}
    except MemoryError:
        raise
    except Exception as error:  # scorers raise anything while they parse an odd answer
        return {"unreadable": f"{type(error).__name__}: {error}"[:200]}


def scorers_own(name: str, settings: str, entry: dict[str, Any], answer: str) -> float:
    """The score by reasoning-gym's own scorer."""
    entry = deepcopy(entry)  # one scorer writes into it
    if name in TUPLES:
        entry["metadata"]["output"] = tuple(map(tuple, entry["metadata"]["output"]))
    return float(_dataset(name, settings).score_answer(answer, entry))


@cache
def _dataset(name: str, settings: str) -> Any:
    kind, config = gym.datasets()[name]
    values = read_settings(f"tasks.{gym.FAMILY}:{name}", gym.settings_of(name), json.loads(settings))
    return kind(gym.config_of(config, values))
