"""The model card: what a published model was made from, what it was measured to do, and what is not known of it."""

import json
import shlex
from pathlib import Path
from typing import Any

import yaml

from data.paths import user_path
from train.files.checkpoints import step_of
from train.files.recorded_config import read_run_config
from train.files.untrusted import read_json, read_metrics

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


def card(run: Path, checkpoint: Path, evaluation: dict[str, Any] | None, licence: str = "", why: str = "") -> str:
    """The model card, in Markdown with the YAML header that hubs read; `why` stands behind the checkpoint's step."""
    config, machine = read_run_config(run / "config.yaml"), read_json(run / "environment.json")
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
    origin = "A model from scratch," if base == "scratch" else f"[{base}](https://huggingface.co/{base}),"
    longest = config.get("max_completion_length")
    lengths = f"Its completions were at most {longest} tokens long in training. " if longest else ""
    lines = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {config['name']}",
        f"{origin} trained with Rethink to think between `<think>` and `</think>` before it answers, by "
        f"{'RL' if config.get('method', 'grpo') == 'grpo' else 'rejection-sampling fine-tuning'} on "
        "problems whose answers are checked exactly.",
        "## Data",
        "\n".join(f"- `{name}`: {json.dumps(values or {})}" for name, values in config["tasks"].items()),
        "## Results",
        _results(evaluation),
        "## Training curve",
        _curve(run, step_of(checkpoint)),
        "## How it was made",
        f"Step {step_of(checkpoint)}{why} of `{_command(machine['command'])}`, seed {machine['seed']}, on "
        f"{', '.join([machine['processor'], str(machine['cores']) + ' cores', *machine['gpus']])}"
        f". {versions}; Rethink at commit {machine['git_commit'] or 'unknown'}.",
        f"```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```",
        "## Limits",
        f"{lengths}It was trained and measured on the tasks above alone. Its thinking shows how it came to an "
        "answer; that does not prove the answer right. On other problems, and in languages other than its "
        "training's, nothing is known of it.",
    ]
    return "\n\n".join(lines) + "\n"


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
    points = [step for step in steps if "eval_accuracy" in by_step[step]] or steps
    spread = {points[round(i * (len(points) - 1) / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)}
    names = [name for name in CURVE if any(name in by_step[step] for step in spread)]
    lines = [" | ".join(["| step", *(CURVE[name][0] for name in names)]) + " |", "|---" * (len(names) + 1) + "|"]
    for step in sorted(spread):
        values = [CURVE[name][1].format(by_step[step][name]) if name in by_step[step] else "" for name in names]
        lines.append(f"| {step} | " + " | ".join(values) + " |")
    return "\n".join([*lines, "", "Accuracy is that of each step's own rollouts, at the temperature of training."])


def _command(words: list[str]) -> str:
    """The command as it was typed, after the launcher; the file that Python ran stands for the module `train`."""
    return shlex.join(["accelerate", "launch", "-m", "train", *words[1:]])
