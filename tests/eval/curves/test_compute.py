import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eval.curves.compute import compute_spent
from train.config.parse import parse_config, save_config

GROUPS = {"num_generations": 2, "loss_type": "dr_grpo"}  # as every run has written down, and whose groups are masked


def write(folder, step, rank, rows, part=0):
    """Rows of (prompt, tokens, correct), and with True at the end of those that are cut off."""
    rows = [(*row, False)[:4] for row in rows]
    prompts, lengths, correct, truncated = zip(*rows, strict=True)
    columns = {"step": [step] * len(rows), "prompt": prompts, "correct": correct, "truncated": truncated}
    columns |= {"completion_ids": [[7] * length for length in lengths], "reward": list(map(float, correct))}
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns | {"left_out": [bool(part)] * len(rows)})
    pq.write_table(table, folder / f"train-{step:06d}-rank{rank}-{part:03d}.parquet")


@pytest.fixture
def run(tmp_path):
    """Two steps of two processes, prompts of 5 tokens: four groups of two, of which the first and the last vary."""
    configure(tmp_path)
    write(tmp_path / "rollouts.parquet", 1, 0, [("a", 1, True), ("a", 2, False)])
    write(tmp_path / "rollouts.parquet", 1, 1, [("b", 3, True), ("b", 4, True)])
    write(tmp_path / "rollouts.parquet", 2, 0, [("c", 5, False), ("c", 6, False)])
    write(tmp_path / "rollouts.parquet", 2, 1, [("d", 7, False), ("d", 8, True)])
    log(tmp_path, {1: 4 * 5 + 10, 2: 8 * 5 + 36})
    validation = tmp_path / "rollouts.parquet" / "validation-000002-rank0-000.parquet"
    validation.write_bytes((tmp_path / "rollouts.parquet" / "train-000002-rank1-000.parquet").read_bytes())
    return tmp_path


def configure(run, **options):
    (run / "config.yaml").write_text(yaml.safe_dump(GROUPS | options))


def log(run, totals, **others):
    rows = [{"phase": "cold-start", "step": 1, "loss": 1.0, "num_tokens": 900.0}]
    rows += [{"phase": "rl", "step": step, "num_tokens": float(tokens)} | others for step, tokens in totals.items()]
    rows += [{"phase": "rl", "step": 2, "eval_num_tokens": 250.0}, {"phase": "rl", "step": 2, "train_loss": 0.0}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


SAMPLED = 2 * (36 + 4 * 5)  # of both steps: all completions, and each group's prompt once


def flops(run, step=2):
    (spent,) = compute_spent(run, [step], 1)
    return spent.flops


def test_a_sampled_token_costs_two_flops_a_parameter_and_one_of_a_row_with_a_gradient_six(run):
    spent = compute_spent(run, [0, 1, 2], 1000)
    assert [(at.step, at.tokens, at.generated) for at in spent] == [(0, 0, 0), (1, 30, 10), (2, 76, 36)]
    first = 2 * (10 + 2 * 5) + 6 * (3 + 2 * 5)  # of the first step a group of one and two tokens varies
    assert [at.flops for at in spent] == [0, 1000 * first, 1000 * (SAMPLED + 6 * (3 + 15 + 4 * 5))]


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, 3 + 15 + 4 * 5),
        ({"method": "rft", "loss_type": "dapo"}, 1 + 3 + 4 + 8 + 4 * 5),  # what the verifier accepted
        ({"method": "rft", "num_iterations": 2}, 2 * (1 + 3 + 4 + 8 + 4 * 5)),
        ({"rewards": {"correct": 2}, "steps_per_generation": 4, "gradient_accumulation_steps": 4}, 3 + 15 + 4 * 5),
        # Where rows without an advantage are not masked, or cannot be told, all have a share in the loss.
        ({"rewards": ["correct", "format"]}, 36 + 8 * 5),
        ({"loss_type": "bnpo"}, 36 + 8 * 5),
        ({"beta": 0.1}, 36 + 8 * 5),
        ({"entropy_coef": 0.1}, 36 + 8 * 5),
        ({"top_entropy_quantile": 0.2}, 36 + 8 * 5),
        ({"num_iterations": 2}, 2 * (36 + 8 * 5)),
        ({"steps_per_generation": 8, "gradient_accumulation_steps": 4}, 36 + 8 * 5),
    ],
)
def test_rows_that_are_masked_cost_nothing_beyond_their_sampling(run, options, trained):
    configure(run, **options)
    assert flops(run) == SAMPLED + 6 * trained


def test_where_experts_are_balanced_no_group_is_masked(run):
    log(run, {1: 30, 2: 76}, aux_loss=0.1)
    assert flops(run) == SAMPLED + 6 * (36 + 8 * 5)


def test_what_is_cut_off_is_charged_unless_it_is_masked(run):
    write(run / "rollouts.parquet", 2, 1, [("d", 7, False, True), ("d", 8, True)])
    assert flops(run) == SAMPLED + 6 * (3 + 15 + 4 * 5)
    configure(run, mask_truncated_completions=True)
    assert flops(run) == SAMPLED + 6 * (3 + 8 + 3 * 5)


def test_a_problem_drawn_twice_is_two_groups_and_one_prefill(run):
    twice = [("a", 1, True), ("a", 1, True), ("a", 1, False), ("a", 1, False)]
    write(run / "rollouts.parquet", 1, 0, twice)
    log(run, {1: 6 * 5 + 11})
    assert flops(run, 1) == 2 * (11 + 2 * 5)  # together they would vary


def test_what_dynamic_sampling_left_out_costs_its_sampling_alone(run):
    write(run / "rollouts.parquet", 2, 0, [("e", 10, True), ("e", 20, True), ("e", 30, False)], part=1)
    log(run, {1: 30, 2: 11 * 5 + 96})
    (spent,) = compute_spent(run, [2], 1000)
    assert (spent.tokens, spent.generated) == (151, 96)
    assert spent.flops == 1000 * (2 * (96 + 5 * 5) + 6 * (3 + 15 + 4 * 5))


def test_the_options_are_read_as_training_writes_them(run):
    options = ["--name", "x", "--tasks", '{"arithmetic": {}}', "--num_generations", "2", "--use_cpu", "true"]
    options += ["--per_device_train_batch_size", "2"]
    save_config(*parse_config(options), run / "config.yaml")
    assert flops(run) == SAMPLED + 6 * (3 + 15 + 4 * 5)
    save_config(*parse_config([*options, "--num_iterations", "2"]), run / "config.yaml")
    assert flops(run) == SAMPLED + 2 * 6 * (36 + 8 * 5)
    save_config(*parse_config([*options, "--method", "rft"]), run / "config.yaml")
    assert flops(run) == SAMPLED + 6 * (1 + 3 + 4 + 8 + 4 * 5)


def test_what_the_records_do_not_tell_is_named(run):
    with pytest.raises(ValueError, match=r"no num_tokens at step 3, and .*checkpoint-3/trainer_state.json"):
        compute_spent(run, [0, 3], 1)
    configure(run, num_generations=4)
    with pytest.raises(ValueError, match=r"train-000001-rank0-000.parquet holds 2 rollouts, .* num_generations, 4"):
        compute_spent(run, [1], 1)
    (run / "rollouts.parquet" / "train-000001-rank0-000.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(ValueError, match=r"train-000001-rank0-000.parquet cannot be read"):
        compute_spent(run, [1], 1)


def test_a_checkpoint_between_two_logged_steps_or_after_the_last_says_its_tokens_itself(run):
    log(run, {10: 900, 20: 2000})
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "rl", "st')
    for step, tokens in ((15, 1300), (23, 2400)):
        checkpoint = run / "checkpoints" / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "trainer_state.json").write_text(json.dumps({"num_input_tokens_seen": tokens}))
    assert [at.tokens for at in compute_spent(run, [0, 10, 15, 20, 23], 1)] == [0, 900, 1300, 2000, 2400]
