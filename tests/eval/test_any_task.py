"""Tasks without demonstrations, traces or words: trained, evaluated, probed and reported from end to end."""

import json
import re
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import torch
import yaml
from scripted import FOURTEEN, chat_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from data.mixture import draw_problems, load_mixture
from data.tasks import own
from eval.evaluate import Settings, evaluate
from eval.measures.lexical import PHRASES
from eval.measures.sample_measures import SAID
from eval.probes.probing import probe
from eval.report.examples import SINGLE
from eval.report.page import write_report
from eval.sampling.samples import counted
from eval.sampling.source import checkpoints_of, read_source
from eval.settings import ProbeSettings
from eval.table import render
from train.__main__ import main
from train.page.marks import read, right_attempt

ROOT = Path(__file__).parents[2]
PRIMES = "tests/support/own_task.py"
SMALL = {
    "name": "any",
    "train_problems": 12,
    "validation_problems": 4,
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 16,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "per_device_eval_batch_size": 4,
    "save_steps": 1,
    "use_cpu": True,
}


@pytest.fixture
def train(tmp_path, monkeypatch, capfd):
    """Run `-m train` from the root of the project; gives the exit code, the run folder, and what it said."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(own, "LOADED", {})

    def run(**values):
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(SMALL | {"runs_dir": str(tmp_path / "runs")} | values))
        monkeypatch.setattr(sys, "argv", ["train", "--config", str(config)])
        code = main()
        return code, tmp_path / "runs" / "any", capfd.readouterr().err

    return run


@pytest.fixture
def reader(tmp_path):
    """A tiny model that reads any text, byte by byte."""
    tokenizer = chat_tokenizer()
    tokenizer.pad_token = "<|im_start|>"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "reader")
    tokenizer.save_pretrained(tmp_path / "reader")
    return str(tmp_path / "reader")


def test_a_mixture_of_gym_tasks_and_ones_own_goes_all_the_way(train, reader):
    pytest.importorskip("reasoning_gym")
    tasks = {"gym:chain_sum": {"max_terms": 2, "weight": 2}, "gym:syllogism": {}, PRIMES: {}}
    code, run, said = train(tasks=tasks, model=reader)
    assert code == 0, said
    assert re.search(r"Contamination: 0 of 4 validation, 0 of 300 test problems overlap with the 12 training ", said)
    assert json.loads((run / "contamination.json").read_text())["test"] == {"problems": 300, "overlapping": []}
    rows = ds.dataset(run / "rollouts.parquet").to_table().to_pylist()
    assert {row["task"] for row in rows} <= tasks.keys() and not any(row["error"] for row in rows)

    checkpoints, source = checkpoints_of(run), read_source(run / "config.yaml", own_tasks=True)
    results = evaluate(
        checkpoints,
        source,
        Settings(8, 2, max_new_tokens=16, validation_problems=4, validation_samples=1),
        run / "evaluation",
    )
    measures = results["checkpoints"][-1]["measures"]
    assert measures["says_backtracking"]["count"] == 16 and measures["attempts"] is None
    text = render(results)
    assert "gym:chain_sum" in text and "says that it verifies" in text and "step accuracy" not in text

    settings = ProbeSettings(problems=4, samples=1, max_new_tokens=16)
    probes = probe(checkpoints, source, settings, run / "evaluation")["checkpoints"][-1]
    assert probes["lexical"]["measures"]["accuracy"] and not probes["behaviour"]["measures"]["accuracy"]

    page = write_report(run).read_text()
    assert "says that it verifies" in page and "step accuracy" not in page


def test_a_thinking_without_a_parser_is_shown_unmarked():
    problem = draw_problems(load_mixture({PRIMES: {}}), "train", 1, 0)[0]
    row = {
        "task": PRIMES,
        "problem": problem.to_json(),
        "completion": "<think>Wait.</think> yes",
        "thinking_tokens": 1,
        "correct": True,
    }
    reading = read(row)
    assert [piece.text for line in reading.lines for piece in line.pieces] == ["Wait."]
    assert reading.unmarked == f"the task {PRIMES} has no parser of thinkings" and right_attempt(row) is None
    assert [kind for kind, belongs in SINGLE.items() if belongs(row["correct"], right_attempt(row))] == ["Right"]


def test_behaviour_is_told_by_words_where_there_is_no_parser():
    problem = draw_problems(load_mixture({PRIMES: {}}), "train", 1, 0)[0]
    told = counted(problem, "7 * 13 is 91. Wait, no. Let me check that again: 7 * 13 = 91.")
    assert told["says_verification"] == 1 and told["says_backtracking"] == 1 and told["attempts"] is None
    exact = counted(FOURTEEN, " try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes")
    assert exact["attempts"] == 1 and exact["says_verification"] is None
    assert {f"says_{name}" for name in PHRASES} == {f"says_{name}" for name in SAID}


def test_a_model_from_scratch_learns_the_words_of_ones_own_task(train):
    code, run, said = train(tasks={PRIMES: {}, "countdown": {}}, scratch={"hidden_size": 32, "num_hidden_layers": 1})
    assert code == 0, said
    vocabulary = json.loads((run / "checkpoints" / "checkpoint-2" / "tokenizer.json").read_text())["model"]["vocab"]
    assert {"is", " prime"} <= vocabulary.keys()


def test_what_a_run_needs_of_its_tasks_is_asked_for_before_any_work(train):
    code, _, said = train(tasks={"gym:chain_sum": {}})
    assert code == 2 and "gym:chain_sum names no WORDS" in said and "model: smollm2-135m" in said
    code, _, said = train(tasks={PRIMES: {}}, cold_start_steps=2)
    assert code == 2 and "has no demonstrations to imitate" in said and "cold_start_tasks" in said
    code, _, said = train(tasks={PRIMES: {}}, contamination="yes")
    assert code == 2 and "expected one of: report, refuse, off" in said


def test_a_cold_start_may_imitate_other_tasks(train):
    demonstrated = {"arithmetic": {"digits": 2}}
    sizes = {"hidden_size": 32, "num_hidden_layers": 1}
    code, run, said = train(tasks={PRIMES: {}}, cold_start_tasks=demonstrated, cold_start_steps=2, scratch=sizes)
    assert code == 0, said
    assert (run / "checkpoints" / "cold-start").is_dir()
    assert {row["task"] for row in ds.dataset(run / "rollouts.parquet").to_table().to_pylist()} == {PRIMES}
    assert yaml.safe_load((run / "config.yaml").read_text())["cold_start_tasks"] == demonstrated


def test_overlap_with_held_out_problems_is_reported_or_refused_with_the_worst_pair(train, tmp_path, reader):
    leaky = tmp_path / "leaky.py"
    leaky.write_text(
        "from data.problem import Problem, Verdict\n"
        "def asked(n): return Problem('x', f'What is {n} plus one hundred and forty four, in words?', f'sum {n}', {})\n"
        "def problems(settings):\n"
        "    return {'train': [asked(n) for n in range(5)], 'test': [asked(n) for n in (7, 8)],\n"
        "            'validation': [asked(9)]}\n"
        "def verify(problem, answer): return Verdict(False, True, 'no')\n"
    )
    given = {"tasks": {str(leaky): {}}, "model": reader, "validation_problems": 1, "train_problems": 5, "max_steps": 1}
    code, run, said = train(**given, contamination="refuse")
    assert code == 2 and not run.exists()
    assert "1 of 1 validation, 2 of 2 test" in said and "plus one hundred and forty four, in words?' of" in said
    code, run, said = train(**given | {"train_problems": 12})  # drawn over and over, counted once
    assert code == 0 and "Contamination: 1 of 1 validation, 2 of 2 test problems overlap with the 5 training" in said
    worst = json.loads((run / "contamination.json").read_text())["test"]["overlapping"][0]
    assert worst["share"] >= 0.5 and worst["trained"]["prompt"].startswith("What is ")
