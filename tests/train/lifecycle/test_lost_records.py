"""A resumed run says which of its records are gone."""

import json
from types import SimpleNamespace

import pytest

from train.files.untrusted import read_metrics
from train.lifecycle.lost_records import lost_cold_start_steps, lost_records, sampled_steps
from train.lifecycle.run_folder import truncate_metrics


def schedule(accumulated=4, generation=4, iterations=1):
    return SimpleNamespace(
        gradient_accumulation_steps=accumulated, steps_per_generation=generation, num_iterations=iterations
    )


@pytest.fixture
def run(tmp_path):
    """Six steps of a run of two processes, validated at steps 3 and 6, with a checkpoint at step 5."""
    history = [{"step": step, "reward": 0.5} for step in range(1, 6)]
    history.insert(3, {"step": 3, "eval_reward": 0.5})
    folder = tmp_path / "checkpoints" / "checkpoint-5"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    rows = [{"phase": "cold-start", "step": 1}, *({"phase": "rl"} | row for row in history), {"phase": "rl", "step": 6}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rollouts.parquet").mkdir()
    for step in range(1, 7):
        for rank in range(2):
            (tmp_path / "rollouts.parquet" / f"train-{step:06d}-rank{rank}-000.parquet").write_bytes(b"PAR1...PAR1")
    (tmp_path / "rollouts.parquet" / "validation-000003-rank0-000.parquet").write_bytes(b"PAR1...PAR1")
    return tmp_path


def said(run):
    return lost_records(run, run / "checkpoints" / "checkpoint-5", schedule(), 2)


def test_of_a_whole_run_nothing_is_said(run):
    assert said(run) == []


def test_lines_that_are_gone_are_counted_and_the_first_named(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line).get("reward") is None or json.loads(line)["step"] not in (2, 4)]
    (run / "metrics.jsonl").write_text("\n".join(kept) + "\n")
    (line,) = said(run)
    assert "metrics.jsonl lacks 2 logged steps (the first is 2)" in line


def test_a_file_cut_off_in_the_middle_is_noticed(run):
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text[: len(text) // 2])
    (line,) = said(run)
    assert "metrics.jsonl lacks" in line


def test_copies_of_lines_are_said_and_dropped(run):
    path = run / "metrics.jsonl"
    whole = read_metrics(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[2], lines[2], lines[3]]))
    (line,) = said(run)
    assert "metrics.jsonl has the lines of 2 steps (the first is 2) more than once; the copies are deleted" in line
    truncate_metrics(path, "rl", 6)
    assert read_metrics(path) == whole


def test_lines_out_of_order_are_said_and_sorted(run):
    path = run / "metrics.jsonl"
    whole = read_metrics(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[4], lines[2], *lines[5:], lines[3], lines[0]]))
    (line,) = said(run)
    assert "metrics.jsonl has the lines of 2 steps (the first is 2) out of order; they are sorted" in line
    truncate_metrics(path, "rl", 6)
    assert sorted(map(str, read_metrics(path))) == sorted(map(str, whole))
    assert [(row["phase"], row["step"]) for row in read_metrics(path)] == [
        ("cold-start", 1), *(("rl", step) for step in (1, 2, 3, 3, 4, 5, 6))
    ]  # fmt: skip


def test_a_lost_evaluation_counts_as_lost(run):
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if "eval_reward" not in line]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert "lacks 1 logged step (the first is 3)" in said(run)[0]


def test_a_part_of_one_process_that_is_gone_is_named(run):
    (run / "rollouts.parquet" / "train-000004-rank1-000.parquet").unlink()
    (line,) = said(run)
    assert "rollouts.parquet lacks the rollouts of 1 step (the first is 4)" in line


def test_rollouts_that_were_left_out_of_the_loss_stand_for_no_others(run):
    trained = run / "rollouts.parquet" / "train-000004-rank1-000.parquet"
    trained.rename(trained.with_name("train-000004-rank1-001.parquet"))
    assert "lacks the rollouts of 1 step (the first is 4)" in said(run)[0]


def test_a_validation_of_which_nothing_is_left_is_named(run):
    (run / "rollouts.parquet" / "validation-000003-rank0-000.parquet").unlink()
    (line,) = said(run)
    assert "rollouts.parquet lacks the rollouts of 1 validation (the first is 3); reports and sweeps" in line


@pytest.mark.parametrize("left", [b"PAR1...", b"", b"\0" * 11])
def test_a_part_that_is_cut_off_or_damaged_counts_as_gone(run, left):
    (run / "rollouts.parquet" / "train-000004-rank1-000.parquet").write_bytes(left)
    assert "lacks the rollouts of 1 step (the first is 4)" in said(run)[0]


def test_lines_of_the_cold_start_that_are_gone_are_counted(run):
    path = run / "metrics.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    lines = [json.dumps({"phase": "cold-start", "step": step}) + "\n" for step in (10, 20, 25)]
    path.write_text("".join([first, *lines, *others]))
    assert lost_cold_start_steps(path, 25) == [] and lost_cold_start_steps(path, 0) == []
    path.write_text("".join([first, lines[1], *others]))
    (line,) = lost_records(run, run / "checkpoints" / "checkpoint-5", schedule(), 2, 25)
    assert "lacks 2 logged steps (the first is 10) of the cold start" in line


@pytest.mark.parametrize(
    ("training", "steps"),
    [
        (schedule(), [1, 2, 3, 4, 5, 6]),
        (schedule(generation=8), [1, 3, 5]),
        (schedule(iterations=3), [1, 4]),
        (schedule(generation=2), [1, 2, 3, 4, 5, 6]),
        (schedule(generation=6), [1, 2, 4, 5]),
    ],
)
def test_steps_that_reuse_a_batch_have_no_rollouts_of_their_own(training, steps):
    assert sampled_steps(6, training) == steps
