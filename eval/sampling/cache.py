"""A cache of samples, so that none is ever drawn twice, nor lost when an evaluation is cut off.

A sample is named by a hash of the weights, the prompt's token ids, how it was drawn, and its number. Parts are parquet,
written every second, each whole or not at all. Any evaluation that asks for the same samples finds them: with more
samples, at other budgets, of another split, only what is missing is drawn. Delete the folder to forget them.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from train.files.atomic import replacing
from train.files.untrusted import read_parquet
from train.rollout.interface import Rollout, Sampling

Prompts = Sequence[Sequence[int]]  # token ids
OnRollout = Callable[[int, Rollout], None]  # called with each rollout as it ends, and its place
Draw = Callable[[Prompts, Sequence[int], Sampling, OnRollout], None]  # of each prompt, the sample of that number

SECONDS = 1.0  # between two parts: what a killed evaluation loses at most
COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("prompt_ids", pa.list_(pa.int32())),
        ("sample", pa.int32()),
        ("sampling", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("finish_reason", pa.string()),
        ("thinking_tokens", pa.int32()),
        ("forced", pa.list_(pa.bool_())),
    ]
)
NAMES = ("_name_or_path", "transformers_version", "base_model_name_or_path", "inference_mode")  # say where, not what


class SampleCache:
    """A rollout back end that draws only the samples that its folder lacks. `weights` tells models apart."""

    def __init__(self, draw: Draw, folder: Path, weights: str) -> None:
        self.draw = draw
        self.folder = folder
        self.weights = weights
        self._records: dict[str, Rollout] | None = None

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        samples_per_prompt: int,
        sampling: Sampling,
        on_finished: Callable[[int], None] | None = None,
    ) -> list[Rollout]:
        """See `RolloutBackend.generate`. Samples that are there count as finished at once. Keeps no log-probabilities.

        Raises ValueError where a part of the folder cannot be read.
        """
        if self._records is None:
            self._records = self._read()
        records, how = self._records, json.dumps(asdict(sampling), sort_keys=True)
        counts: dict[tuple[int, ...], int] = {}  # a repeated prompt continues with new samples
        requests: list[tuple[str, Sequence[int], int]] = []
        for prompt in prompts:
            first = counts.get(tuple(prompt), 0)
            counts[tuple(prompt)] = first + samples_per_prompt
            requests += [(self._key(prompt, how, n), prompt, n) for n in range(first, first + samples_per_prompt)]
        missing = [one for one in requests if one[0] not in records]
        if on_finished is not None and len(missing) < len(requests):
            on_finished(len(requests) - len(missing))
        fresh: list[dict[str, Any]] = []
        parts: list[Path] = []
        last_write = time.monotonic()

        def finished(place: int, rollout: Rollout) -> None:
            nonlocal last_write
            key, prompt, number = missing[place]
            records[key] = replace(rollout, logprobs=None)
            fresh.append(_row(key, prompt, number, how, rollout))
            if time.monotonic() - last_write > SECONDS:
                parts.append(self._write(fresh))
                fresh.clear()
                last_write = time.monotonic()
            if on_finished is not None:
                on_finished(1)

        if missing:
            try:
                self.draw([prompt for _, prompt, _ in missing], [n for _, _, n in missing], sampling, finished)
            finally:  # whatever ends the drawing, an error or Ctrl-C, what was drawn is kept
                if fresh:
                    parts.append(self._write(fresh))
                self._merge(parts)
        return [records[key] for key, _, _ in requests]

    def _key(self, prompt: Sequence[int], how: str, number: int) -> str:
        content = f"{self.weights}|{','.join(map(str, prompt))}|{how}|{number}"
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    def _read(self) -> dict[str, Rollout]:
        records: dict[str, Rollout] = {}
        for path in sorted(self.folder.glob(f"{self.weights}-*.parquet")):
            try:
                rows = read_parquet(path, tuple(COLUMNS.names)).cast(COLUMNS).to_pylist()
            except (ValueError, pa.ArrowException) as error:
                raise ValueError(
                    f"The samples kept in {path} cannot be read ({str(error).splitlines()[0]}); delete that file, and "
                    "its samples alone will be drawn again."
                ) from None
            for row in rows:
                records[row["key"]] = Rollout(
                    row["token_ids"], row["finish_reason"], None, row["thinking_tokens"], row["forced"]
                )
        return records

    def _write(self, rows: list[dict[str, Any]]) -> Path:
        """Write the rows as one part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.weights}-{rows[0]['key']}.parquet"
        with replacing(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), partial)
        return path

    def _merge(self, parts: list[Path]) -> None:
        """Make one part of several, so that a long evaluation does not leave thousands."""
        if len(parts) > 1:
            whole = [row for path in parts for row in read_parquet(path, tuple(COLUMNS.names)).to_pylist()]
            target = self._write(whole)  # takes the name of the first
            for path in parts:
                if path != target:
                    path.unlink()


def _row(key: str, prompt: Sequence[int], number: int, how: str, rollout: Rollout) -> dict[str, Any]:
    return {
        "key": key,
        "prompt_ids": list(prompt),
        "sample": number,
        "sampling": how,
        "token_ids": rollout.token_ids,
        "finish_reason": rollout.finish_reason,
        "thinking_tokens": rollout.thinking_tokens,
        "forced": rollout.forced,
    }


def fingerprint(model: PreTrainedModel) -> str:
    """A name for what `model` computes: its configuration, adapters and weights, wherever they were loaded from."""
    digest = hashlib.blake2b(digest_size=16)
    settings = [model.config, *getattr(model, "peft_config", {}).values()]
    for config in settings:
        values = {key: value for key, value in config.to_dict().items() if key not in NAMES}
        digest.update(json.dumps(values, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
