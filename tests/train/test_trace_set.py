"""A cold start from someone's traces: what is taken, what is left out, and a run of it."""

import json

import pytest
from resuming import launch, write_config

from data.fixed_sets.reasoning_traces import ReasoningTrace
from data.mixture import draw_problems, load_mixture
from train.cold_start import training_set
from train.config.parse import parse_config
from train.model.scratch import build_tokenizer
from train.trace_set import example

LIMITS = (60, 1024)


def config(source, *options, **settings):
    data = json.dumps({"source": str(source)} | settings)
    steps = ["--cold_start_steps", "5", "--cold_start_batch_size", "4"]
    run, _ = parse_config(["--name", "x", "--tasks", '{"arithmetic": {}}', "--cold_start_data", data, *steps, *options])
    return run


def right(problem):
    return {
        "prompt": problem.prompt,
        "completion": f"<think> so {problem.facts['target']}</think> {problem.facts['target']}",
    }


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def problems():
    return draw_problems(load_mixture({"arithmetic": {}}), "train", 8_000, 0)


def texts(run, limits=LIMITS):
    tokenizer = build_tokenizer()
    rows = training_set(tokenizer, run, 0, limits)
    return [
        tokenizer.decode(
            [token for token, learnt in zip(row["input_ids"], row["completion_mask"], strict=True) if learnt]
        )
        for row in rows
    ]


def test_traces_are_verified_held_to_a_length_and_never_of_held_out_problems(tmp_path, problems, capsys):
    (held,) = draw_problems(load_mixture({"arithmetic": {}}), "validation", 1, 0)
    wrong = right(problems[0]) | {"completion": "<think> so 1</think> 999999"}
    long = right(problems[1]) | {"completion": right(problems[1])["completion"].replace("so", "so " * 70)}
    other = {"prompt": "compute 1 + 1 + 1", "completion": "<think> so 3</think> 3"}  # of a form that is never drawn
    foreign = {"prompt": "compute the Gödel number", "completion": "<think> so 3</think> 3"}
    tagged = right(held) | {"prompt": f"{held.prompt} ", "task_problem": held.to_json()}
    none = {"prompt": problems[2].prompt, "completion": "4"}
    good = [right(problem) for problem in problems[3:5]]
    path = write(tmp_path / "t.jsonl", [wrong, long, right(held), tagged, none, foreign, *good, other])
    learnt = texts(config(path))
    wanted = [f"{row['completion']}<|end|>" for row in (*good, other)]
    assert len(learnt) == 20 and set(learnt) == set(wanted)
    said = capsys.readouterr().err
    assert "3 taken, 2 of them verified" in said
    for words in (
        "1 that the verifier refuses",
        "1 longer than 60 tokens",
        "2 of held-out",
        "1 without",
        "1 with words",
    ):
        assert words in said


def test_traces_that_nothing_can_check_can_be_left_out(tmp_path, problems):
    other = {"prompt": "compute 1 + 1 + 1", "completion": "<think> so 3</think> 3"}
    path = write(tmp_path / "t.jsonl", [other, right(problems[0])])
    assert set(texts(config(path, unverified=False))) == {right(problems[0])["completion"] + "<|end|>"}


def test_traces_are_mixed_with_demonstrations_in_their_share(tmp_path, problems):
    rows = [right(problem) for problem in problems[:5]]
    learnt = texts(config(write(tmp_path / "t.jsonl", rows), share=0.25))
    own = {row["completion"] + "<|end|>" for row in rows}
    assert len(learnt) == 20 and sum(text in own for text in learnt) == 5


def test_a_source_with_nothing_to_learn_from_is_refused_with_the_counts(tmp_path):
    path = write(tmp_path / "t.jsonl", [{"prompt": "x", "completion": "y"}] * 3)
    with pytest.raises(ValueError, match="no trace to learn from; left out: 3 without thinking"):
        texts(config(path))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"share": 0}, "share is 0"),
        ({"share": 2}, "share is 2"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"sources": "x"}, "cold_start_data.sources"),
    ],
)
def test_settings_of_the_traces_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        config("t.jsonl", **settings)


def test_traces_without_a_cold_start_are_refused():
    with pytest.raises(ValueError, match="cold_start_steps is 0"):
        parse_config(["--name", "x", "--tasks", '{"arithmetic": {}}', "--cold_start_data", "t.jsonl"])


def test_a_run_begins_with_fifty_traces_and_a_missing_file_is_one_line(tmp_path, problems, capsys):
    path = write(tmp_path / "t.jsonl", [right(problem) for problem in problems[:50]])
    where = write_config(tmp_path, cold_start_data=str(path), max_steps=1, eval_strategy="no", train_problems=8_000)
    assert launch(where, "--name", "run") == 0
    assert "16 taken" in capsys.readouterr().err
    assert launch(where, "--name", "other", "--cold_start_data", str(tmp_path / "none.jsonl")) == 2
    assert "none.jsonl does not exist" in capsys.readouterr().err


def test_where_the_template_opens_the_thinking_the_completion_begins_behind_the_tag():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<|assistant|>' }}{% endif", "<|assistant|><think>' }}{% endif"
    )
    trace = ReasoningTrace([{"role": "user", "content": "compute 2 + 2"}], "<think> so 4</think> 4")
    row = example(tokenizer, trace, None, "")
    assert tokenizer.decode(row["input_ids"]).endswith("<|assistant|><think> so 4</think> 4<|end|>")
    assert sum(row["completion_mask"]) == len(tokenizer.encode(" so 4</think> 4")) + 1
