import json
from argparse import ArgumentTypeError

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.curves.equal_compute import (
    Control,
    Spent,
    at_equal_compute,
    flops_at_start,
    flops_of,
    nearest,
    read_control,
    share_out,
)
from train.files.checkpoints import seal


def make_run(folder, *, model="scratch", cold_start=None, steps=(), tokenizer):
    """A run whose cold start logged `cold_start`, and whose every step samples and trains on 8 + 2 tokens."""
    for name in (["cold-start"] if cold_start else []) + [f"checkpoint-{step}" for step in steps]:
        checkpoint = folder / "checkpoints" / name
        tokenizer.save_pretrained(checkpoint)
        for file in ("config.json", "model.safetensors"):
            (checkpoint / file).write_text("{}")
        seal(checkpoint)
    (folder / "rollouts.parquet").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"model: {model}\n")
    rows = [{"phase": "cold-start", "step": 1, **row} for row in cold_start or []]
    for step in range(1, max(steps, default=0) + 1):
        rows.append({"phase": "rl", "step": step, "num_tokens": 10.0 * step})
        row = {"step": step, "prompt": "?", "completion_ids": [7] * 8, "correct": True, "reward": 1.0}
        table = pa.Table.from_pylist([row | {"truncated": False, "left_out": False}])
        pq.write_table(table, folder / "rollouts.parquet" / f"train-{step:06d}-rank0-000.parquet")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


STEP = 2 * 10 + 6 * 10  # FLOPs of a step and a parameter


def costs(run, *names, parameters=1):
    return flops_of(run, [run / "checkpoints" / name for name in names], parameters)


@pytest.fixture
def start(tmp_path, tokenizer):
    """A run of a cold start of 100 tokens, 600 FLOPs a parameter, and two steps of RL."""
    cold_start = [{"num_tokens": 40.0}, {"num_tokens": 100.0, "total_flos": 5.0}]
    return make_run(tmp_path / "start", cold_start=cold_start, steps=[1, 2], tokenizer=tokenizer)


def test_a_checkpoint_is_charged_for_the_cold_start_and_for_all_steps_until_then(start):
    assert costs(start, "cold-start", "checkpoint-2", "checkpoint-1") == [600, 600 + 2 * STEP, 600 + STEP]
    assert costs(start, "checkpoint-2", parameters=7) == [7 * (600 + 2 * STEP)]
    assert flops_at_start(start, 7) == 7 * 600


def test_a_cold_start_that_logged_no_tokens_is_charged_what_transformers_counted(tmp_path, tokenizer):
    old = make_run(tmp_path / "old", cold_start=[{"loss": 1.0}, {"total_flos": 5000.0}], tokenizer=tokenizer)
    assert costs(old, "cold-start", parameters=7) == [5000]
    silent = make_run(tmp_path / "silent", cold_start=[{"loss": 1.0}], tokenizer=tokenizer)
    with pytest.raises(ValueError, match=r"metrics.jsonl does not say what the cold start cost"):
        costs(silent, "cold-start")


def test_a_run_is_charged_for_what_it_inherited(start, tmp_path, tokenizer):
    model = start / "checkpoints" / "cold-start"
    rft = make_run(tmp_path / "rft", model=model, steps=[1], tokenizer=tokenizer)
    assert costs(rft, "checkpoint-1") == [600 + STEP]
    assert flops_at_start(rft, 1) == 600  # it has no cold start of its own
    longer = make_run(tmp_path / "longer", model=model, cold_start=[{"num_tokens": 50}], steps=[3], tokenizer=tokenizer)
    assert costs(longer, "cold-start", "checkpoint-3") == [600 + 300, 600 + 300 + 3 * STEP]
    further = make_run(tmp_path / "on", model=longer / "checkpoints" / "checkpoint-3", steps=[1], tokenizer=tokenizer)
    assert costs(further, "checkpoint-1") == [600 + 300 + 4 * STEP]
    assert costs(make_run(tmp_path / "hub", model="a/b", steps=[1], tokenizer=tokenizer), "checkpoint-1") == [STEP]


def test_what_was_inherited_from_a_run_that_is_not_found_is_no_zero(start, tmp_path, tokenizer, monkeypatch):
    folder = tmp_path / "runs" / "rft"
    rft = make_run(folder, model="start/checkpoints/cold-start", steps=[1], tokenizer=tokenizer)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert costs(rft, "checkpoint-1") == [600 + STEP]  # the path begins two folders above the run
    start.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"runs/rft started from start/checkpoints/cold-start, which is not there"):
        costs(rft, "checkpoint-1")
    (tmp_path / "start").symlink_to(tmp_path / "moved")  # as the message says
    assert flops_at_start(rft, 1) == 600
    foreign = tmp_path / "foreign" / "checkpoints" / "step-9"
    foreign.mkdir(parents=True)
    for number, model in enumerate((foreign, "checkpoints/model")):  # no run of ours, and a hub id
        run = make_run(tmp_path / f"{number}", model=model, steps=[1], tokenizer=tokenizer)
        assert costs(run, "checkpoint-1") == [STEP]


@pytest.mark.parametrize(("flops", "name"), [(0, "a"), (10, "a"), (11, "c"), (20, "c"), (21, "b"), (31, "b")])
def test_the_nearest_checkpoint_has_the_compute_and_the_least_beyond_or_is_the_largest(flops, name):
    assert nearest([Spent("a", 10), Spent("b", 30), Spent("c", 20)], flops).checkpoint == name


def test_a_control_is_taken_where_it_has_spent_as_much(start, tmp_path, tokenizer):
    control = make_run(tmp_path / "control", model=start / "checkpoints" / "cold-start", steps=[2, 4, 6, 10],
                       tokenizer=tokenizer)  # fmt: skip
    (control / "checkpoints" / "checkpoint-6" / "config.json").unlink()  # cut off while it was written
    for steps, taken in ((1, 2), (2, 2), (3, 4), (5, 10), (11, 10)):
        point = at_equal_compute(control, 7 * (600 + steps * STEP), 7)
        assert point == Spent(str(control / "checkpoints" / f"checkpoint-{taken}"), 7 * (600 + taken * STEP))
    with pytest.raises(ValueError, match=r"empty has no complete checkpoint to compare with"):
        at_equal_compute(make_run(tmp_path / "empty", tokenizer=tokenizer), 0, 1)


def test_a_control_is_read_from_a_name_and_a_run_folder(start):
    assert read_control(f"rft={start}") == Control("rft", start)
    for text in ("rft", "=runs/rft", "rft="):
        with pytest.raises(ArgumentTypeError, match=f"'{text}' is not NAME=RUN"):
            read_control(text)
    with pytest.raises(ArgumentTypeError, match=r"checkpoints is not a run folder: it has no config.yaml"):
        read_control(f"rft={start / 'checkpoints'}")


def test_the_controls_of_a_name_go_to_the_runs_in_their_order(tmp_path):
    a, b, c, d = (
        Control(name, tmp_path / run) for name, run in (("rft", "1"), ("more", "2"), ("rft", "3"), ("more", "4"))
    )
    assert share_out([a, b, c, d], 2) == [[a, b], [c, d]]
    assert share_out([], 2) == [[], []]
    with pytest.raises(ValueError, match=r"--against rft=… is given 1 times for 2 runs; give one for each run"):
        share_out([a, b, d], 2)
