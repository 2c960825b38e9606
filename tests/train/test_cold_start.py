import pytest
import torch
from trl import SFTConfig, SFTTrainer

from train.cold_start import DemonstrationTrainer, demonstration_dataset, training_set
from train.config.parse import parse_config
from train.model.scratch import build_tokenizer


def test_the_end_of_a_demonstration_is_learnt_even_where_its_token_also_pads(tiny_model, tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    run, _ = parse_config(["--name", "x", "--tasks", '{"countdown": {}}'])
    arguments = SFTConfig(str(tmp_path), per_device_train_batch_size=8, use_cpu=True, bf16=False, report_to="none")
    rows = demonstration_dataset(tokenizer, run, run.demonstration_parts, 8, 0)
    trainer = SFTTrainer(tiny_model, arguments, train_dataset=rows, processing_class=tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    assert (batch["input_ids"] == tokenizer.eos_token_id).sum() > 8  # some of them pad
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        assert labels[mask == 0].eq(-100).all()
        assert ids[mask == 1][-1] == labels[mask == 1][-1] == tokenizer.eos_token_id


def test_a_demonstration_teaches_what_follows_a_further_doubt_but_not_to_doubt_again():
    tokenizer = build_tokenizer()
    tasks = '{"arithmetic": {"recheck": 1}, "countdown": {"recheck": 1}}'
    run, _ = parse_config(["--name", "x", "--tasks", tasks])
    rows = demonstration_dataset(tokenizer, run, run.demonstration_parts, 40, 0)
    (wait,) = tokenizer.encode(" wait", add_special_tokens=False)
    doubts = [
        [target for token, target in zip(row["input_ids"], row["completion_mask"], strict=True) if token == wait]
        for row in rows
    ]
    assert all(targets == [1] + [0] * (len(targets) - 1) for targets in doubts)
    assert max(map(len, doubts)) > 3
    for row, targets in zip(rows, doubts, strict=True):
        prompt = row["input_ids"].index(tokenizer.convert_tokens_to_ids("<think>"))
        assert row["completion_mask"].count(0) == prompt + targets.count(0)


def test_easy_demonstrations_come_first_and_habits_last():
    tokenizer = build_tokenizer()
    options = {
        "--name": "x",
        "--tasks": '{"arithmetic": {"recheck": 0}}',
        "--cold_start_steps": "5",
        "--cold_start_batch_size": "4",
        "--cold_start_easy_steps": "1",
        "--cold_start_easy": '{"arithmetic": {"recheck": 1}}',
        "--cold_start_habit_steps": "2",
        "--cold_start_habits": '{"arithmetic": {"hasty": 1}}',
    }
    run, _ = parse_config([word for option in options.items() for word in option])
    texts = [tokenizer.decode(ids) for ids in training_set(tokenizer, run, 0)["input_ids"]]
    assert [" wait" in text for text in texts] == [True] * 4 + [False] * 16
    assert ["<think> so" in text for text in texts] == [False] * 12 + [True] * 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cold_start_habit_steps", "5"], "set both"),
        (["--cold_start_habits", '{"arithmetic": {"hasty": 1}}'], "set both"),
        (["--cold_start_easy_steps", "5"], "cold_start_easy_steps is 5 .* set both"),
        (
            ["--cold_start_easy_steps", "5", "--cold_start_easy", '{"countdown": {}}'],
            "cold_start_easy names 'countdown'",
        ),
        (
            ["--cold_start_habit_steps", "50", "--cold_start_habits", '{"arithmetic": {"hasty": 1}}'],
            "below cold_start_steps, 20",
        ),
        (["--cold_start_habit_steps", "5", "--cold_start_habits", '{"countdown": {"hasty": 1}}'], "does not imitate"),
        (["--cold_start_habit_steps", "5", "--cold_start_habits", '{"arithmetic": {"hasty": 2}}'], "hasty"),
    ],
)
def test_stages_that_cannot_be_taught_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        parse_config(["--name", "x", "--tasks", '{"arithmetic": {}}', "--cold_start_steps", "20", *options])


def test_muon_orthogonalises_the_updates_of_the_cold_start(tiny_model, tmp_path):
    tokenizer = build_tokenizer()
    run, _ = parse_config(["--name", "x", "--tasks", '{"arithmetic": {}}'])
    trainer = DemonstrationTrainer(
        judgement_ids=[],
        judgement_weight=1.0,
        muon=True,
        model=tiny_model,
        args=SFTConfig(str(tmp_path), max_steps=1, use_cpu=True, bf16=False, report_to="none", learning_rate=1e-2),
        train_dataset=demonstration_dataset(tokenizer, run, run.demonstration_parts, 8, 0),
        processing_class=tokenizer,
    )
    weight = tiny_model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone()
    trainer.train()
    spread = torch.linalg.svdvals(weight.detach() - before)
    assert spread.min() > 0.5 * spread.max() > 0


def test_the_tokens_of_the_cold_start_are_counted_without_padding(tiny_model, tmp_path):
    tokenizer = build_tokenizer()
    run, _ = parse_config(["--name", "x", "--tasks", '{"countdown": {}, "arithmetic": {}}'])
    rows = demonstration_dataset(tokenizer, run, run.demonstration_parts, 8, 0)
    arguments = {"max_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 4}
    trainer = DemonstrationTrainer(
        judgement_ids=[],
        judgement_weight=1.0,
        model=tiny_model,
        args=SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", save_strategy="no", **arguments),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    trainer.train()
    first, last = (row["num_tokens"] for row in trainer.state.log_history if "loss" in row)
    assert 0 < first < last == sum(rows["length"])  # of an epoch, whose batches are of unlike lengths


def test_muon_is_refused_for_trained_weights():
    options = ["--name", "x", "--tasks", '{"arithmetic": {}}', "--model", "x/y", "--cold_start_optim", "muon"]
    with pytest.raises(ValueError, match="cold_start_optim is muon, but model is 'x/y'"):
        parse_config([*options, "--cold_start_steps", "5"])
    parse_config(options)  # there is no cold start
