"""Prepares a run for publishing: its weights, tokenizer, decoding and a model card, and nothing else.

A checkpoint holds optimiser moments and random states beside its weights, which an upload would publish too. RUN/model
holds none of that: `AutoModelForCausalLM` loads it, `huggingface_hub` uploads it, and its README.md says what it is.
"""

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import yaml

from data.paths import user_path
from train.files.atomic import write_text
from train.files.checkpoints import newest_whole, step_in, step_of
from train.files.untrusted import read_json, read_metrics, read_yaml

FOLDER = "model"
CARD = "README.md"
# Of a checkpoint: what describes a model. Optimiser, schedule, random states, progress and arguments stay behind.
PUBLIC = (
    *("config.json", "generation_config.json", "adapter_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "tokenizer.model"),
)
WEIGHTS = (".safetensors", ".safetensors.index.json")
LICENCES = {"scratch": "apache-2.0", "smollm2-135m": "apache-2.0"}  # of models that we know; a run's own says others'
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
CURVE_POINTS = 10  # rows of the card's training curve
CURVE = {  # its columns: of a logged step's values, what they are called and how they are written
    "accuracy": ("accuracy", "{:.1%}"),
    "eval_accuracy": ("on validation problems", "{:.1%}"),
    "thinking_tokens": ("thinking tokens", "{:.0f}"),
    "truncated": ("cut off", "{:.1%}"),
    "entropy": ("entropy, nats", "{:.2f}"),
}


def publish_finished(run: Path) -> str:
    """Make RUN/model at the end of a run; returns the line to say. A run is not lost over what it cannot publish."""
    try:
        return f"To publish: {publishable(run)} (weights, tokenizer, model card)."
    except (OSError, ValueError, KeyError, TypeError) as error:  # a record of the run may lack what the card says
        reason = " ".join(str(error).split()).rstrip(".")
        return f"{run / FOLDER} was not made: {reason}. Try again with: python scripts/publish.py {run}"


def refresh(run: Path) -> None:
    """Bring RUN/model up to date with a new evaluation, where there is one. Keeps the licence that its card names."""
    header = _header(run / FOLDER / CARD)
    if header is not None:
        publishable(run, str(header.get("license", "")))


def publishable(run: Path, licence: str = "") -> Path:
    """Make RUN/model of the run's newest whole checkpoint, or bring it up to date; returns its path.

    Where an evaluation of that checkpoint is there, its best decoding becomes the model's default. `licence` is an
    SPDX identifier. Raises ValueError where no checkpoint is whole.
    """
    checkpoint, passed_over = newest_whole(run / "checkpoints")
    if checkpoint is None:
        why = passed_over[0] if passed_over else f"{run / 'checkpoints'} holds none"
        raise ValueError(f"{run} has no whole checkpoint to publish: {why}")
    unfinished, model = run / f".{FOLDER}", run / FOLDER
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for file in checkpoint.iterdir():
        if file.name in PUBLIC:
            shutil.copyfile(file, unfinished / file.name)  # not linked: the best decoding is written into one
        elif file.name.endswith(WEIGHTS):
            _link(file, unfinished / file.name)
    evaluation = _evaluation(run)
    best = _row(evaluation, step_of(checkpoint))
    if best is not None:
        _set_decoding(unfinished / "generation_config.json", best["best_temperature"])
    write_text(unfinished / CARD, card(run, checkpoint, evaluation, licence))
    shutil.rmtree(model, ignore_errors=True)
    unfinished.rename(model)
    return model


def card(run: Path, checkpoint: Path, evaluation: dict[str, Any] | None, licence: str = "") -> str:
    """The model card, in Markdown with the YAML header that hubs read."""
    config, machine = read_yaml(run / "config.yaml"), read_json(run / "environment.json")
    assert isinstance(config, dict)
    base = SMOLLM2 if config["model"] == "smollm2-135m" else config["model"]
    header: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["reasoning", "reinforcement-learning", "trl", "rethink"],
        "license": licence or LICENCES.get(config["model"], "other"),
    }
    if base != "scratch" and not user_path(base).exists():
        header["base_model"] = base
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    lines = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {config['name']}",
        f"{_origin(base)} trained with Rethink to think between `<think>` and `</think>` before it answers, by "
        f"{'reinforcement' if config.get('method', 'grpo') == 'grpo' else 'rejection-sampling fine-tuning'} on "
        "problems whose answers are checked exactly.",
        "## Data",
        "\n".join(f"- `{name}`: {json.dumps(values or {})}" for name, values in config["tasks"].items()),
        "## Results",
        _results(evaluation),
        "## Training curve",
        _curve(run, step_of(checkpoint)),
        "## How it was made",
        f"Step {step_of(checkpoint)} of `{_command(machine['command'])}`, seed {machine['seed']}, on "
        f"{', '.join([machine['processor'], str(machine['cores']) + ' cores', *machine['gpus']])}"
        f". {versions}; Rethink at commit {machine['git_commit'] or 'unknown'}.",
        f"```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```",
        "## Limits",
        f"{_cut_off(config)}It was trained and measured on the tasks above alone. Its thinking shows how it came to an "
        "answer; that does not prove the answer right. On other problems, and in languages other than its "
        "training's, nothing is known of it.",
    ]
    return "\n\n".join(lines) + "\n"


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


def _origin(base: str) -> str:
    return "A model from scratch," if base == "scratch" else f"[{base}](https://huggingface.co/{base}),"


def _results(evaluation: dict[str, Any] | None) -> str:
    """Each checkpoint at its best decoding, chosen on validation problems, with 95% intervals."""
    if evaluation is None:
        return "Not evaluated yet: `python scripts/evaluate.py` or `scripts/claims.py` measures it."
    rows = ["| checkpoint | best temperature | accuracy at it [95%] |", "|---|---|---|"]
    for row in evaluation["checkpoints"]:
        low, high = row["best_interval"]
        name = Path(row["checkpoint"]).name
        rows.append(f"| {name} | {row['best_temperature']:g} | {row['best_accuracy']:.1%} [{low:.1%}, {high:.1%}] |")
    return "\n".join([*rows, "", "The temperature was chosen for each checkpoint on other problems than these."])


def _curve(run: Path, last: int) -> str:
    """Some ten training steps up to the published one, evenly spaced, as a table. Validation is of the step itself."""
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["phase"] == "rl" and row["step"] <= last]
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        by_step.setdefault(row["step"], {}).update({name: row[name] for name in CURVE if row.get(name) is not None})
    steps = [step for step in sorted(by_step) if by_step[step]]
    if not steps:
        return "No step was logged."
    evaluated = [step for step in steps if "eval_accuracy" in by_step[step]] or steps
    spread = {evaluated[round(i * (len(evaluated) - 1) / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)}
    names = [name for name in CURVE if any(name in by_step[step] for step in spread)]
    lines = [" | ".join(["| step", *(CURVE[name][0] for name in names)]) + " |", "|---" * (len(names) + 1) + "|"]
    for step in sorted(spread):
        values = [CURVE[name][1].format(by_step[step][name]) if name in by_step[step] else "" for name in names]
        lines.append(f"| {step} | " + " | ".join(values) + " |")
    return "\n".join([*lines, "", "Accuracy is that of each step's own rollouts, at the temperature of training."])


def _command(words: list[str]) -> str:
    """What was typed, after the launcher; the file that Python ran stands for the module `train`."""
    return shlex.join(["accelerate", "launch", "-m", "train", *words[1:]])


def _cut_off(config: dict[str, Any]) -> str:
    longest = config.get("max_completion_length")
    return f"Its completions were at most {longest} tokens long in training. " if longest else ""


def _evaluation(run: Path) -> dict[str, Any] | None:
    """`results.json` of the run, where an evaluation has written one that names best decodings."""
    path = run / "evaluation" / "results.json"
    if not path.is_file():
        return None
    results = read_json(path)
    return results if all("best_temperature" in row for row in results.get("checkpoints", [])) else None


def _row(evaluation: dict[str, Any] | None, step: int) -> dict[str, Any] | None:
    rows = evaluation["checkpoints"] if evaluation else []
    return next((row for row in rows if step_in(Path(row["checkpoint"]).name) == step), None)


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
