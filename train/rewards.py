"""The reward: 1 where the answer is correct, gated on format, else 0. And the record of every rollout behind it."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NotRequired

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase, TrainerState

from data.curriculum import in_band
from data.mixture import side_by_side
from data.problem import Problem
from train.files.atomic import PARTIAL, replacing
from train.model import judged
from train.model.judged_row import JudgedRow
from train.model.prompts import opens_thinking

EPSILON = 1e-4  # a smaller spread of rewards is rounding

COLUMNS = pa.schema(
    [
        ("step", pa.int64()),
        ("split", pa.string()),
        *judged.COLUMNS,
        ("completion_ids", pa.list_(pa.int32())),
        ("reward", pa.float32()),
        ("left_out", pa.bool_()),  # by dynamic sampling: sampled, judged, and not trained on
    ]
)


class RolloutRow(JudgedRow):
    """A rollout with its verdict and reward, as `rollouts.parquet` stores it."""

    completion_ids: list[int]
    reward: float
    step: NotRequired[int]  # this and the following two are added where the row is written down
    split: NotRequired[str]
    left_out: NotRequired[bool]


class RolloutLog:
    """Writes each batch of rollouts as one part of `rollouts.parquet`, whole or not at all."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.rank = rank
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, rows: list[RolloutRow], step: int, split: str, *, left_out: bool = False) -> None:
        """Write the rows of one step; a part of the same step and split is replaced, as when a step is run again."""
        rows = [{**row, "step": step, "split": split, "left_out": left_out} for row in rows]
        batch = int(left_out)  # beside the part that is trained on
        while split != "train" and (self.folder / self._name(step, split, batch)).exists():
            batch += 1  # an evaluation comes in several batches
        path = self.folder / self._name(step, split, batch)
        with replacing(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), partial)

    def forget_after(self, step: int) -> None:
        """Remove the parts of steps later than `step`, and unfinished ones: a resumed run will make them anew."""
        for path in self.folder.glob(f".*{PARTIAL}"):
            path.unlink()
        for path in self.folder.glob("*.parquet"):
            if path.name.startswith(".") or int(path.name.split("-")[1]) > step:
                path.unlink()

    def _name(self, step: int, split: str, batch: int) -> str:
        return f"{split}-{step:06d}-rank{self.rank}-{batch:03d}.parquet"


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
        """What is written down of completions, one of each of `problems`, verdicts included."""
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
        counted = [row["reward"] - mean for row in group if not (row["truncated"] and self.mask_truncated)]
        return math.sqrt(sum(advantage**2 for advantage in counted) / len(group))


def repetition(ids: list[int], n: int = 4) -> float:
    """The share of a completion's n-grams that stood in it before."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
