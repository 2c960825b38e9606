"""`rollouts.parquet`: the record of every rollout with its verdict and reward, written step by step."""

from pathlib import Path
from typing import NotRequired

import pyarrow as pa
import pyarrow.parquet as pq

from train.files.atomic import PARTIAL, replacing
from train.model import judged
from train.model.judged_row import JudgedRow

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
