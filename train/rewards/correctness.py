"""The reward: 1 where the answer is correct, gated on format, else 0."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from transformers import PreTrainedTokenizerBase, TrainerState

from data.curriculum import in_band
from data.mixture import side_by_side
from data.problem import Problem
from train.model import judged
from train.model.prompts import opens_thinking
from train.rewards.rollout_log import RolloutLog, RolloutRow

EPSILON = 1e-4  # a smaller spread of rewards is rounding


class CorrectnessReward:
    """A reward function as TRL calls it. Nothing but the task's exact verifier decides."""

    __name__ = "correct"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: tuple[int, ...],
        log: RolloutLog,
        *,
        mask_truncated: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.log = log
        self.mask_truncated = mask_truncated  # as the loss does
        self.opened = opens_thinking(tokenizer)
        self.rows: list[RolloutRow] = []  # of the batch judged last
        self.accepted: list[bool] = []  # which of these are right

    def __call__(
        self,
        *,
        completion_ids: list[list[int]],
        problem: list[str],
        split: list[str],
        trainer_state: TrainerState,
        log_metric: Callable[[str, float], None],
        judged_rows: list[RolloutRow] | None = None,
        **_: Any,
    ) -> list[float]:
        """Rewards of a batch, one for each completion; its rollouts are written down and its rates logged.

        `judged_rows` gives what `judge` said of each, where it has been asked already.
        """
        rows = judged_rows or self.judge([Problem.from_json(line) for line in problem], completion_ids)
        self.rows, self.accepted = rows, [row["correct"] for row in rows]
        step = trainer_state.global_step + (split[0] == "train")  # rewards are asked for before the step is counted
        self.log.write(rows, step, split[0])
        for row in rows:  # one value a rollout: TRL averages over all of them, on every process
            log_metric("accuracy", float(row["correct"]))
            log_metric(f"accuracy/{row['task']}", float(row["correct"]))
            log_metric("format", float(row["format"]))
            log_metric("truncated", float(row["truncated"]))
            log_metric("thinking_tokens", float(row["thinking_tokens"]))
            log_metric("verifier_errors", float(row["error"] is not None))
            log_metric("repetition", repetition(row["completion_ids"]))
        if split[0] == "train":
            for _, samples in groupby(rows, key=lambda row: row["problem"]):
                group = list(samples)
                log_metric("useful_groups", float(self.spread(group) > EPSILON))
                log_metric("groups_in_band", float(in_band(sum(row["correct"] for row in group) / len(group))))
        return [row["reward"] for row in rows]

    def judge(self, problems: Sequence[Problem], completions: Sequence[list[int]]) -> list[RolloutRow]:
        """The logged row of each completion, one for each of `problems`, with its verdict."""
        return side_by_side(self._row, completions, problems)

    def _row(self, ids: list[int], problem: Problem) -> RolloutRow:
        truncated = ids[-1] not in self.stop_ids
        row, _ = judged.judged(problem, ids, self.tokenizer, self.opened, truncated)
        return {**row, "completion_ids": ids, "reward": float(row["correct"])}

    def spread(self, group: Sequence[RolloutRow]) -> float:
        """How much a group's samples differ in what they teach: the root mean square of the advantages that count.

        Zero where all got the same reward, or where those that differ are cut off and therefore masked.
        """
        mean = sum(row["reward"] for row in group) / len(group)
        deviations = [row["reward"] - mean for row in group if not (row["truncated"] and self.mask_truncated)]
        return math.sqrt(sum(advantage**2 for advantage in deviations) / len(group))


def repetition(ids: list[int], n: int = 4) -> float:
    """The share of a completion's n-grams that are repeats."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
