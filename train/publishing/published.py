"""Prepares a run for publishing: its weights, tokenizer, decoding and a model card, and nothing else.

A checkpoint holds optimiser moments and random states beside its weights, which an upload would publish too. RUN/model
holds none of that: `AutoModelForCausalLM` loads it, `huggingface_hub` uploads it, and its README.md says what it is.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from train.files.atomic import write_text
from train.files.checkpoints import fault, newest_whole, numbered, step_in, step_of
from train.files.untrusted import read_json
from train.publishing.model_card import card

FOLDER = "model"
CARD = "README.md"
# The files of a checkpoint that describe a model. Optimiser, schedule, random states and progress stay behind.
PUBLIC = (
    "config.json", "generation_config.json", "adapter_config.json", "chat_template.jinja", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "tokenizer.model",
)  # fmt: skip
WEIGHTS = (".safetensors", ".safetensors.index.json")
GGUF_TYPES = ("auto", "f32", "f16", "bf16", "q8_0")  # weights of a GGUF file
UNPUBLISHABLE = (OSError, ValueError, KeyError, TypeError)  # a file of the run may lack what the card says


def publish_finished(run: Path) -> str:
    """Make RUN/model at the end of a run; returns the line to say. A run is not lost over what it cannot publish."""
    try:
        return f"To publish: {publishable(run)} (weights, tokenizer, model card)."
    except UNPUBLISHABLE as error:
        return _try_again(run, error)


def refresh(run: Path) -> str:
    """Bring RUN/model up to date with a new evaluation, where there is one. Keeps the licence that its card names.

    Returns the line to say where that fails, and nothing else: the evaluation is not lost over it.
    """
    try:
        header = _header(run / FOLDER / CARD)
        if header is not None:
            publishable(run, str(header.get("license", "")))
    except UNPUBLISHABLE as error:
        return _try_again(run, error) + "\n"
    return ""


def publishable(run: Path, licence: str = "") -> Path:
    """Make RUN/model of the checkpoint to publish (`choose`), or bring it up to date; returns its path.

    Where an evaluation of that checkpoint is there, its best decoding becomes the model's default. `licence` is an
    SPDX identifier. Raises ValueError where no checkpoint is whole.
    """
    evaluation = _evaluation(run)
    checkpoint = choose(run, evaluation)
    draft, model = run / f".{FOLDER}", run / FOLDER
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for file in checkpoint.iterdir():
        if file.name in PUBLIC:
            shutil.copyfile(file, draft / file.name)  # not linked: the best decoding is written into one
        elif file.name.endswith(WEIGHTS):
            _link(file, draft / file.name)
    best = _row(evaluation, step_of(checkpoint))
    if best is not None:
        _set_decoding(draft / "generation_config.json", best["best_temperature"])
    write_text(draft / CARD, card(run, checkpoint, evaluation, licence, _why(run, checkpoint)))
    shutil.rmtree(model, ignore_errors=True)
    draft.rename(model)
    return model


def choose(run: Path, evaluation: dict[str, Any] | None) -> Path:
    """The checkpoint to publish: the newest that is whole, or a better one where it was evaluated beside others.

    Better is a higher accuracy at the best decoding, on the problems on which that decoding was chosen: no checkpoint
    is chosen on the problems that the card reports, nor by the few that training validates on. The one that
    RL began with is no candidate. Raises ValueError where no checkpoint is whole.
    """
    newest, passed_over = newest_whole(run / "checkpoints")
    if newest is None:
        why = passed_over[0] if passed_over else f"{run / 'checkpoints'} holds none"
        raise ValueError(f"{run} has no whole checkpoint to publish: {why}")
    accuracies = {}
    for path in numbered(run / "checkpoints"):
        accuracy = _validated(_row(evaluation, step_of(path)))
        if accuracy is not None and fault(path) is None:
            accuracies[path] = accuracy
    if newest not in accuracies:  # the evaluation is an older one, or chose no decoding
        return newest
    return max(accuracies, key=lambda path: (accuracies[path], step_of(path)))


def not_made(run: Path, error: Exception) -> str:
    """Why there is no RUN/model, one of the `UNPUBLISHABLE` errors, in a sentence."""
    reason = " ".join(str(error).split()).rstrip(".")
    missing = isinstance(error, KeyError)
    return f"{run / FOLDER} was not made: {f'a file of the run has no {reason}' if missing else reason}."


def _try_again(run: Path, error: Exception) -> str:
    return f"{not_made(run, error)} Try again with: python scripts/publish.py {run}"


def _header(path: Path) -> dict[str, Any] | None:
    """The YAML that a card begins with; None where there is no such card."""
    if not path.is_file():
        return None
    _, _, rest = path.read_text(encoding="utf-8").partition("---\n")
    try:
        header = yaml.safe_load(rest.partition("---\n")[0])
    except yaml.YAMLError:  # edited by hand; the card is written anew
        return {}
    return header if isinstance(header, dict) else None


def _evaluation(run: Path) -> dict[str, Any] | None:
    """`results.json` of the run, where an evaluation has written one that names best decodings."""
    path = run / "evaluation" / "results.json"
    if not path.is_file():
        return None
    results = read_json(path)
    rows = results.get("checkpoints") if isinstance(results, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is not what an evaluation writes; run scripts/evaluate.py again, or remove it.")
    return results if all("best_temperature" in row for row in rows) else None


def _row(evaluation: dict[str, Any] | None, step: int) -> dict[str, Any] | None:
    rows = evaluation["checkpoints"] if evaluation else []
    return next((row for row in rows if step_in(Path(row["checkpoint"]).name) == step), None)


def _validated(row: dict[str, Any] | None) -> float | None:
    """A checkpoint's accuracy on the problems that its best decoding was chosen on; None where there were none."""
    for decoding in row.get("decodings", []) if row else []:
        if decoding["temperature"] == row["best_temperature"] and decoding["validation"]:  # type: ignore[index]
            return float(decoding["validation"]["value"])
    return None


def _why(run: Path, checkpoint: Path) -> str:
    """The remark on a checkpoint that is not the run's last one."""
    last = max((step_of(path) for path in numbered(run / "checkpoints") if fault(path) is None), default=0)
    return f" (of {last}; the best on validation problems)" if step_of(checkpoint) < last else ""


def _set_decoding(path: Path, temperature: float) -> None:
    """Have `generate` decode as was best."""
    config = read_json(path) if path.is_file() else {}
    config |= {"do_sample": temperature > 0}
    if temperature > 0:
        config |= {"temperature": temperature, "top_p": 1.0, "top_k": 0}
    write_text(path, json.dumps(config, indent=2) + "\n")


def _link(source: Path, target: Path) -> None:
    """The same file under two names, or a copy where the disk cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
