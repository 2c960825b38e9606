"""Our held-out problems as tasks of EleutherAI's lm-evaluation-harness, judged there by the same verifiers.

`export` writes a folder to hand to the harness as --include_path: a group with a task for each of ours, their problems
as JSON lines, and a module through which the harness calls this one; so Rethink must be installed where it runs.
Problems are asked through the chat template (--apply_chat_template), greedily, with the same limit of new tokens.

The harness hands over text, not ids, and does not say whether a completion ended by itself; ours counts one that was
cut off as wrong. Here one is cut off whose text, encoded anew, takes all the tokens that it was allowed.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import yaml
from transformers import PreTrainedTokenizerBase

from data.mixture import judge
from data.problem import Problem
from data.task import Split
from eval.sampling.source import Source, held_out
from train.model.loading import load_tokenizer
from train.model.prompts import messages, opens_thinking

MODULE = '''"""How the harness reads these problems and judges the answers; it needs Rethink (pip install -e PATH)."""

from pathlib import Path

from eval.harness import judged as judged
from eval.harness import read


def problems(file, **model):
    return read(Path(__file__).parent / file, model)
'''


class _Dumper(yaml.SafeDumper):
    """Writes a `Function` as the harness reads it."""


class Function(str):
    """The name of a Python function in a task file: `module.function`."""


_Dumper.add_representer(Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def export(source: Source, name: str, count: int, output: Path, split: Split = "test") -> list[str]:
    """Write the tasks into the folder `output`; returns the name of the group, then those of its tasks."""
    problems = held_out(source, count, split)
    group = f"rethink_{name}"
    tasks = {part.task: f"{group}_{part.task}" for part in source.parts}
    output.mkdir(parents=True, exist_ok=True)
    (output / "held_out.py").write_text(MODULE)
    for part, task in tasks.items():
        lines = [_line(problem, source) for problem in problems if problem.task == part]
        (output / f"{task}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        _write(output / f"{task}.yaml", _task(task, source.max_new_tokens))
    size = {"metric": "acc", "weight_by_size": True}
    _write(output / f"{group}.yaml", {"group": group, "task": list(tasks.values()), "aggregate_metric_list": [size]})
    return [group, *tasks.values()]


def read(file: Path, model: Mapping[str, Any]) -> dict[str, datasets.Dataset]:
    """The problems of a file, for the harness's model. Raises ValueError where the harness names none."""
    name = model.get("tokenizer") or model.get("pretrained") or model.get("model")
    if not name:
        raise ValueError('The model names no tokenizer to count tokens by; give --metadata \'{"tokenizer": "NAME"}\'.')
    rows = [json.loads(line) | {"tokenizer": str(name)} for line in file.read_text().splitlines()]
    return {"test": datasets.Dataset.from_list(rows)}


def judged(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The harness's counts of one completion: `acc`, right by our evaluation, and `format`."""
    tokenizer, text = _tokenizer(doc["tokenizer"]), results[0]
    cut_off = len(tokenizer.encode(text, add_special_tokens=False)) >= doc["max_new_tokens"]
    _, verdict = judge(Problem.from_json(doc["problem"]), text, thinking_opened=opens_thinking(tokenizer))
    return {"acc": float(verdict.correct and not cut_off), "format": float(verdict.format)}


@lru_cache(maxsize=2)
def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    return load_tokenizer(name)


def _line(problem: Problem, source: Source) -> dict[str, Any]:
    *system, question = messages(problem, source.system_prompt)
    return {
        "problem": problem.to_json(),
        "prompt": question["content"],
        "system": system[0]["content"] if system else "",
        "max_new_tokens": source.max_new_tokens,
    }


def _task(name: str, max_new_tokens: int) -> dict[str, Any]:
    mean = {"aggregation": "mean", "higher_is_better": True}
    return {
        "task": name,
        "custom_dataset": Function("held_out.problems"),
        "dataset_kwargs": {"file": f"{name}.jsonl"},
        "output_type": "generate_until",
        "test_split": "test",
        "num_fewshot": 0,
        "description": "{{system}}",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "",
        "process_results": Function("held_out.judged"),
        "metric_list": [{"metric": "acc"} | mean, {"metric": "format"} | mean],
        "generation_kwargs": {"until": [], "do_sample": False, "temperature": 0.0, "max_gen_toks": max_new_tokens},
        "metadata": {"version": 1.0},
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False))
