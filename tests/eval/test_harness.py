"""lm-evaluation-harness on our exported tasks: does it find what our own evaluation finds?"""

import json
import random

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from data.mixture import draw_problems, judge, load_mixture
from data.tasks import get_task
from eval.evaluate import Settings, evaluate
from eval.harness import export, judged, read
from eval.sampling.source import read_source
from train.model.prompts import messages, prompt_ids

TASKS = {"countdown": {}, "arithmetic": {}}
PROBLEMS, LIMIT = 8, 40


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"tasks": TASKS, "system_prompt": "yes", "max_completion_length": LIMIT}))
    return read_source(path)


def right_answer(problem, settings):
    """The answer of the first right demonstration."""
    rng = random.Random(0)
    while True:
        text = get_task(problem.task).demonstrate(problem, rng, settings)
        if judge(problem, text)[1].correct:
            return text.partition("</think>")[2]


def memorised(tokenizer, source, problems):
    """For each problem its prompt, what the model is made to say, and whether that is right within LIMIT."""
    settings = {part.task: part.settings for part in load_mixture(TASKS)}
    end = tokenizer.eos_token_id
    lines = []
    for number, problem in enumerate(problems):
        prompt = prompt_ids(tokenizer, messages(problem, source.system_prompt))
        answer = tokenizer.encode(f"</think>{right_answer(problem, settings[problem.task])}")
        thinking = tokenizer.encode("<think>" + " yes" * (2 + number))
        lines.append((prompt, [*thinking, *answer, end], True))
    filler = tokenizer.encode(" no") * LIMIT
    (prompt, said, _), loop, silent, wrong = lines[0], lines[1], lines[2], lines[3]
    answer = said[said.index(tokenizer.convert_tokens_to_ids("</think>")) :]
    lines[0] = prompt, [said[0], *filler[: LIMIT - len(answer)], *answer], False  # all but its last token fits
    lines[1] = loop[0], loop[1][:1] + filler, False
    lines[2] = silent[0], silent[1][1:], False
    lines[3] = wrong[0], [*tokenizer.encode("<think> yes</think> 0"), end], False
    return lines


def teach(model, lines):
    """Train until the model says each line to its prompt, greedily."""
    torch.manual_seed(0)
    width = max(len(prompt) + len(said) for prompt, said, _ in lines)
    ids, labels = torch.zeros(2, len(lines), width, dtype=torch.long)  # (lines, width) each
    labels -= 100
    for number, (prompt, said, _) in enumerate(lines):
        row = torch.tensor(prompt + said)
        ids[number, : len(row)] = row
        labels[number, len(prompt) : len(row)] = row[len(prompt) :]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(500):
        loss = model(input_ids=ids, labels=labels).loss
        if loss < 0.01:
            return
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    raise AssertionError(f"the lines were not learnt: loss {loss:.3f}")


def test_the_harness_finds_what_our_evaluation_finds_sample_by_sample(tmp_path, source, tiny_model, tokenizer):
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    problems = draw_problems(source.parts, "test", PROBLEMS, source.split_seed)
    lines = memorised(tokenizer, source, problems)
    teach(tiny_model, lines)
    checkpoint = tmp_path / "checkpoint"
    tiny_model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    settings = Settings(problems=PROBLEMS, samples=1, max_new_tokens=LIMIT, temperatures=(1.0,))
    results = evaluate([str(checkpoint)], source, settings, tmp_path / "ours")
    rows = pq.read_table(tmp_path / "ours" / "samples-0.parquet").to_pylist()
    ours = {row["problem"]: row["correct"] for row in rows if row["greedy"]}
    assert list(ours.values()) == [right for _, _, right in lines]

    group, *tasks = export(source, "tiny", PROBLEMS, tmp_path / "harness")
    model = {"pretrained": str(checkpoint), "dtype": "float32", "add_bos_token": False}
    theirs = lm_eval.simple_evaluate(
        "hf", model, [group], device="cpu", batch_size=PROBLEMS, apply_chat_template=True, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(tmp_path / "harness"), include_defaults=False, metadata=model),
    )  # fmt: skip
    found = {sample["doc"]["problem"]: bool(sample["acc"]) for task in tasks for sample in theirs["samples"][task]}
    assert found == ours
    assert theirs["groups"][group]["acc,none"] == results["checkpoints"][0]["greedy_accuracy"] == 0.5


def test_a_completion_that_took_all_its_tokens_is_cut_off(tmp_path, source, checkpoint):
    export(source, "tiny", 4, tmp_path / "harness")
    (doc, *_) = read(tmp_path / "harness" / "rethink_tiny_arithmetic.jsonl", {"pretrained": str(checkpoint)})["test"]
    answer = f"</think> {json.loads(doc['problem'])['facts']['target']}"
    assert judged(doc, [f"<think> yes{answer}"]) == {"acc": 1, "format": 1}
    assert judged(doc, [f"<think>{' yes' * LIMIT}{answer}"]) == {"acc": 0, "format": 1}
    assert judged(doc, ["<think> yes</think> yes"]) == {"acc": 0, "format": 0}


def test_a_model_without_a_name_is_told_how_to_give_one(tmp_path, source):
    export(source, "tiny", 4, tmp_path)
    with pytest.raises(ValueError, match="--metadata"):
        read(tmp_path / "rethink_tiny_countdown.jsonl", {"base_url": "http://localhost"})
