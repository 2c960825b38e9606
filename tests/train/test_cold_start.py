from trl import SFTConfig, SFTTrainer

from train.cold_start import demonstration_dataset
from train.config.parse import parse_config
from train.model.scratch import build_tokenizer


def test_the_end_of_a_demonstration_is_learnt_even_where_its_token_also_pads(tiny_model, tmp_path):
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    run, _ = parse_config(["--name", "x", "--tasks", '{"countdown": {}}'])
    arguments = SFTConfig(str(tmp_path), per_device_train_batch_size=8, use_cpu=True, bf16=False, report_to="none")
    rows = demonstration_dataset(tokenizer, run, 8, 0)
    trainer = SFTTrainer(tiny_model, arguments, train_dataset=rows, processing_class=tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    assert (batch["input_ids"] == tokenizer.eos_token_id).sum() > 8  # some of them pad
    for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        assert labels[mask == 0].eq(-100).all()
        assert ids[mask == 1][-1] == labels[mask == 1][-1] == tokenizer.eos_token_id
