"""The reward: 1 where the answer is correct, gated on format, else 0. And the record of every rollout behind it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase, TrainerState

from data.problem import Problem
from train import judged
from train.prompts import opens_thinking

COLUMNS = pa.schema(
    [
        ("step", pa.int64()),
        ("split", pa.string()),
        *judged.COLUMNS,
        ("completion_ids", pa.list_(pa.int32())),
        ("reward", pa.float32()),
    ]
)


class RolloutLog:
    """Writes each batch of rollouts as one part of `rollouts.parquet`, whole or not at all."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder = folder
        self.rank = rank
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, rows: list[dict[str, Any]], step: int, split: str) -> None:
        """Write the rows of one step; a part of the same step and split is replaced, as when a step is run again."""
        batch = 0
        while split != "train" and (self.folder / self._name(step, split, batch)).exists():
            batch += 1  # an evaluation comes in several batches
        path = self.folder / self._name(step, split, batch)
        partial = path.with_name(f".{path.name}")  # readers pass over names that begin with a dot
        pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), partial)
        partial.replace(path)

    def forget_after(self, step: int) -> None:
        """Remove the parts of steps later than `step`, and unfinished ones: a resumed run will make them anew."""
        for path in self.folder.glob("*.parquet"):
            if path.name.startswith(".") or int(path.name.split("-")[1]) > step:
                path.unlink()

    def _name(self, step: int, split: str, batch: int) -> str:
        return f"{split}-{step:06d}-rank{self.rank}-{batch:03d}.parquet"


class CorrectnessReward:
    """A reward function as TRL calls it. Nothing but the task's exact verifier decides."""

    __name__ = "correct"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: tuple[int, ...], log: RolloutLog) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.log = log
        self.opened = opens_thinking(tokenizer)

    def __call__(
        self,
        *,
        completion_ids: list[list[int]],
        problem: list[str],
        split: list[str],
        trainer_state: TrainerState,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        """Rewards of a batch, one for each completion; its rollouts are written down and its rates logged."""
        rows = self._rows(completion_ids, [Problem.from_json(line) for line in problem])
        step = trainer_state.global_step + (split[0] == "train")  # rewards are asked for before the step is counted
        for row in rows:
            row |= {"step": step, "split": split[0]}
        self.log.write(rows, step, split[0])
        for row in rows:  # one value a rollout: TRL averages over all of them, on every process
            log_metric("accuracy", float(row["correct"]))
            log_metric(f"accuracy/{row['task']}", float(row["correct"]))
            log_metric("format", float(row["format"]))
            log_metric("truncated", float(row["truncated"]))
            log_metric("thinking_tokens", float(row["thinking_tokens"]))
            log_metric("verifier_errors", float(row["error"] is not None))
            log_metric("repetition", repetition(row["completion_ids"]))
        return [row["reward"] for row in rows]

    def _rows(self, completions: list[list[int]], problems: list[Problem]) -> list[dict[str, Any]]:
        truncated = [ids[-1] not in self.stop_ids for ids in completions]
        found = judged.judged(problems, completions, self.tokenizer, self.opened, truncated)
        return [
            row | {"completion_ids": ids, "reward": float(row["correct"])}
            for (row, _), ids in zip(found, completions, strict=True)
        ]


def repetition(ids: list[int], n: int = 4) -> float:
    """The share of a completion's n-grams that stood in it before."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
