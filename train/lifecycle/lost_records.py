"""What a run that is resumed has lost of its records: lines of metrics.jsonl, and parts of rollouts.parquet."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from train.files.untrusted import read_json, read_metrics


def lost_records(folder: Path, checkpoint: Path, *, every_step: bool) -> Iterator[str]:
    """A line for each kind of record of which steps up to the checkpoint are missing; what was lost stays lost.

    The checkpoint's own log says which steps were logged. `every_step` says that each step samples rollouts of its own.
    """
    state = read_json(checkpoint / "trainer_state.json")
    logged = sorted({int(logs["step"]) for logs in state["log_history"] if "reward" in logs})
    rows = {row["step"] for row in read_metrics(folder / "metrics.jsonl") if row["phase"] == "rl" and "reward" in row}
    yield from _lost("metrics.jsonl", logged, rows)
    if every_step:
        parts = {int(part.name.split("-")[1]) for part in (folder / "rollouts.parquet").glob("train-*.parquet")}
        yield from _lost("rollouts.parquet", range(1, int(state["global_step"]) + 1), parts)


def _lost(name: str, steps: Sequence[int], kept: set[int]) -> Iterator[str]:
    lost = [step for step in steps if step not in kept]
    if lost:
        yield (
            f"{name} lacks {len(lost)} of the {len(steps)} steps before, the first is step {lost[0]}: curves and "
            "tables leave them out. The training itself goes on exactly."
        )
