"""Checks of answers that are moves: each must be a valid and possible move, and their number is bounded.

The scorers skip a move that a wall blocks, so one long random string solves many puzzles (50 letters solve 26 of 36
sokoban puzzles of the first level). A solution has no such move.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]

LONGER = 4  # moves for each move of the known solution
SLACK_PUSHES, SLACK_POURS, SLACK_TURNS = 20, 8, 100  # and this many more; beginners take over 100 for a cube
MOST_CAR_MOVES, MOST_BOX_MOVES = 200, 400
MOST_TURNS = 99  # of one side of the cube, written as R99; the scorer writes each out
STEPS = {"L": (0, -1), "R": (0, 1), "U": (-1, 0), "D": (1, 0)}


def push_moves(answer: str, entry: Entry) -> str:
    """Sokoban: letters of L, R, U and D, each of which moves the player."""
    most = LONGER * len(entry["answer"].strip()) + SLACK_PUSHES
    if set(answer) - set(STEPS):
        return "is not a string of L, R, U and D alone"
    if len(answer) > most:
        return f"has {len(answer)} moves; {most} are enough"
    rows = [line.split() for line in entry["metadata"]["gamestr"].strip().splitlines()]
    cells = {(row, column): cell for row, line in enumerate(rows) for column, cell in enumerate(line)}
    boxes = {place for place, cell in cells.items() if cell in "@$"}
    free = {place for place, cell in cells.items() if cell != "+"}
    player = next(place for place, cell in cells.items() if cell in "*%")
    for number, letter in enumerate(answer, 1):
        down, right = STEPS[letter]
        ahead = player[0] + down, player[1] + right
        if ahead in boxes:
            behind = ahead[0] + down, ahead[1] + right
            if behind in boxes or behind not in free:
                return f"pushes in vain at move {number}"
            boxes = boxes - {ahead} | {behind}
        elif ahead not in free:
            return f"runs into a wall at move {number}"
        player = ahead
    return ""


def car_moves(answer: str, entry: Entry) -> str:
    """Rush hour: moves such as `F+1 K-2`; every step of a move must move the car."""
    from reasoning_gym.games.rush_hour import Board

    moves = [re.fullmatch(r"([A-Z])([+-])([1-5])", move, re.ASCII) for move in answer.replace(",", " ").split()]
    if not all(moves) or len(moves) > MOST_CAR_MOVES:
        return f"is not a list of at most {MOST_CAR_MOVES} moves alone"
    board = Board(entry["metadata"]["board_config"])
    for move in filter(None, moves):
        for _ in range(int(move[3])):
            before = str(board)
            board.move(move[1], 1 if move[2] == "+" else -1)
            if str(board) == before:
                return f"has a move, {move[0]}, whose way is blocked"
    return ""


def box_moves(answer: str, entry: Entry) -> str:
    """Boxnet: a JSON list of steps; in each, agents make possible moves of boxes in their own square."""
    state = {place: list(things) for place, things in entry["metadata"]["initial_state"].items()}
    steps = json.loads(answer, object_pairs_hook=list)
    actions = [action for step in steps for action in step]
    if len(actions) > MOST_BOX_MOVES:
        return f"has more than {MOST_BOX_MOVES} actions"
    for agent, action in actions:
        at = re.fullmatch(r"Agent\[(\d+\.5), (\d+\.5)\]", agent, re.ASCII)
        move = re.fullmatch(r"move\((box_\w+), (?:square\[(\d+\.5), (\d+\.5)\]|(target_\w+))\)", action, re.ASCII)
        if not at or not move:
            return f"has an action, {agent}: {action}, of another form"[:120]
        here, there = f"{at[1]}_{at[2]}", f"{move[2]}_{move[3]}"
        things = state.get(here, [])
        if move[1] not in things:
            return f"moves {move[1]}, which is not at {here}"[:120]
        things.remove(move[1])
        if move[4]:
            if move[4][len("target_") :] != move[1][len("box_") :] or move[4] not in things:
                return f"moves {move[1]} to {move[4]}, which is not at {here}"[:120]
            things.remove(move[4])
        else:
            distance = abs(float(at[1]) - float(move[2])) + abs(float(at[2]) - float(move[3]))
            if distance != 1 or there not in state:
                return f"moves a box from {here} to {there}"[:120]
            state[there].append(move[1])
    return ""


def jug_moves(answer: str, entry: Entry) -> str:
    """Jugs: a JSON list of `fill A`, `empty A` and `pour A->B`; each must move water."""
    puzzle = entry["metadata"]["puzzle"]
    most = LONGER * puzzle["min_moves"] + SLACK_POURS
    moves = json.loads(answer)
    if len(moves) > most:
        return f"has {len(moves)} moves; {most} are enough"
    capacities: list[int] = puzzle["jug_capacities"]
    levels = [0] * len(capacities)
    for text in moves:
        move = re.fullmatch(r"(?:(fill|empty) ([A-Z])|pour ([A-Z])->([A-Z]))", text, re.ASCII)
        if not move:
            return f"has {text[:20]!r}, which is no move"
        before = list(levels)
        jug = ord(move[2] or move[3]) - ord("A")
        if move[1]:
            levels[jug] = capacities[jug] if move[1] == "fill" else 0
        else:
            other = ord(move[4]) - ord("A")
            amount = min(levels[jug], capacities[other] - levels[other]) if other != jug else 0
            levels[jug] -= amount
            levels[other] += amount
        if levels == before:
            return f"has a move, {text}, that moves no water"
    return ""


def turns(answer: str, entry: Entry) -> str:
    """Rubik's cube: a bounded number of turns, each written out."""
    often = any(len(times) > 4 or int(times) > MOST_TURNS for times in re.findall(r"\d+", answer, re.ASCII))
    if often:
        return f"turns a side more than {MOST_TURNS} times"
    most = LONGER * len(entry["metadata"]["scramble_moves"].split()) + SLACK_TURNS
    times = [re.findall(r"\d+", turn[1:], re.ASCII) for turn in answer.split()]
    count = sum(int(digits[-1]) if digits else 1 for digits in times)
    return f"has {count} turns; {most} are enough" if count > most else ""
