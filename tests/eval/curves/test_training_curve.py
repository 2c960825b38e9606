import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_thinking_curve import rows_of

from eval.curves.training_curve import Sampled, compute_spent, train_curve


@pytest.fixture
def run(tmp_path):
    """Two steps of two processes: 100 and 250 tokens trained on by their ends, 6 and 9 generated in them."""
    rows = [{"phase": "cold-start", "step": 1, "loss": 1.0}]
    rows += [{"phase": "rl", "step": 1, "num_tokens": 100.0}, {"phase": "rl", "step": 2, "num_tokens": 250.0}]
    rows += [{"phase": "rl", "step": 2, "eval_num_tokens": 250.0}, {"phase": "rl", "step": 2, "train_loss": 0.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "rollouts.parquet"
    folder.mkdir()
    for step, rank, lengths in [(1, 0, [1, 2]), (1, 1, [3]), (2, 0, [4]), (2, 1, [5])]:
        table = pa.table({"step": [step] * len(lengths), "completion_ids": [[7] * length for length in lengths]})
        pq.write_table(table, folder / f"train-{step:06d}-rank{rank}-000.parquet")
    pq.write_table(table, folder / "validation-000002-rank0-000.parquet")
    return tmp_path


def test_compute_is_six_flops_a_trained_and_two_a_generated_token_and_parameter(run):
    spent = compute_spent(run, [0, 1, 2], 1000)
    assert [(at.tokens, at.generated) for at in spent] == [(0, 0), (100, 6), (250, 15)]
    assert [at.flops for at in spent] == [0, 1000 * (600 + 12), 1000 * (1500 + 30)]


def test_what_dynamic_sampling_left_out_counts_as_generated_and_not_as_trained_on(run):
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"num_tokens": 250.0', '"num_tokens": 250.0, "left_out_tokens": 40'))
    pq.write_table(
        pa.table({"step": [2], "completion_ids": [[7] * 30]}),
        run / "rollouts.parquet" / "train-000002-rank0-001.parquet",
    )
    (spent,) = compute_spent(run, [2], 1000)
    assert (spent.tokens, spent.generated, spent.flops) == (250, 45, 1000 * (6 * 210 + 2 * 45))


def test_what_the_logs_do_not_tell_is_named(run):
    with pytest.raises(ValueError, match=r"no num_tokens at step 3, and .*checkpoint-3/trainer_state.json"):
        compute_spent(run, [0, 3], 1)
    (run / "rollouts.parquet" / "train-000001-rank0-000.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(ValueError, match=r"train-000001-rank0-000.parquet cannot be read"):
        compute_spent(run, [1], 1)


def test_a_checkpoint_between_two_logged_steps_or_after_the_last_says_its_tokens_itself(run):
    metrics = run / "metrics.jsonl"
    logged = [
        {"phase": "rl", "step": 10, "num_tokens": 900.0, "left_out_tokens": 80.0},
        {"phase": "rl", "step": 20, "num_tokens": 2000.0, "left_out_tokens": 120.0},
    ]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in logged) + '{"phase": "rl", "st')
    for step, tokens in ((15, 1300), (23, 2400)):
        checkpoint = run / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "trainer_state.json").write_text(json.dumps({"num_input_tokens_seen": tokens}))
    spent = compute_spent(run, [0, 10, 15, 20, 23], 1)
    assert [at.tokens for at in spent] == [0, 900, 1300, 2000, 2400]
    assert [at.flops for at in spent] == [
        6 * (at.tokens - out) + 2 * at.generated for at, out in zip(spent, [0, 80, 100, 120, 120], strict=True)
    ]


def test_the_curve_holds_every_checkpoint_and_tests_the_rise(run):
    best = rows_of([1, 1])  # sharpened: at its best decoding the first is as good as the last
    tables = [
        Sampled(name, rows_of(hits), best, 0.3) for name, hits in (("cold", [0, 1]), ("a", [1, 1]), ("b", [1, 1]))
    ]
    found = train_curve(tables, compute_spent(run, [0, 1, 2], 1000))
    assert [point["accuracy"]["value"] for point in found["points"]] == [0.5, 1.0, 1.0]
    assert [point["flops"] for point in found["points"]] == [0, 612_000, 1_530_000]
    assert found["difference"]["value"] == 0.5
    assert found["rise"]["value"] == pytest.approx(0.5)  # 0.5, 1, 1: a slope of 1/4, twice
    assert found["changes"]["accuracy"] == found["difference"]
    assert found["best"]["difference"]["value"] == found["best"]["rise"]["value"] == 0
    assert found["points"][0]["best_accuracy"]["value"] == 1 and found["points"][0]["best_temperature"] == 0.3
