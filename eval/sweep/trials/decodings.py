"""Samples a finished run on its validation problems at several temperatures, so that a sweep can judge it at its best.

    python -m eval.sweep.trials.decodings RUN 0 0.3 0.6 1

A sweep whose spec has `temperatures` does this after each run, on the run's share of the machine.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from eval.evaluate import Problems, sample
from eval.sampling.candidate import Candidates
from eval.sampling.samples import COLUMNS
from eval.sampling.source import checkpoints_of, held_out, read_source
from eval.settings import Settings
from eval.sweep.ranking.measure import DECODINGS
from train.files.recorded_config import read_run_config

SAMPLES = 4  # of each problem at each temperature above 0


def sample_run(run: Path, temperatures: Sequence[float]) -> None:
    """Sample the run's last checkpoint at each temperature and write DECODINGS, a row per sample.

    Samples are kept in RUN/evaluation/cache, so a second call draws only the rest. Raises ValueError for what cannot
    be read or sampled.
    """
    source = read_source(run / "config.yaml", own_tasks=True)  # the sweep has run this configuration itself
    problems = held_out(source, read_run_config(run / "config.yaml")["validation_problems"], "validation")
    cache = run / "evaluation" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    candidate = Candidates(cache, chat=source.chat, system_prompt=source.system_prompt).load(checkpoints_of(run)[-1])
    settings = Settings(
        samples=SAMPLES,
        temperature=temperatures[0],
        max_new_tokens=source.max_new_tokens,
        temperatures=tuple(temperatures),
    )
    table = sample(candidate, Problems(problems, []), source, settings)
    rows = [row | {"temperature": at} for at in temperatures for row in table.rows[at]]
    schema = COLUMNS.append(pa.field("temperature", pa.float64()))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), run / DECODINGS)


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        sample_run(Path(sys.argv[1]), [float(word) for word in sys.argv[2:]])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
