"""The plan as it is printed."""

import re
from pathlib import Path

import pytest

from train.plan.make_plan import make_plan
from train.plan.page import duration

CI = Path(__file__).parents[3] / "configs" / "ci.yaml"
SMALL = ["--max_completion_length", "64", "--num_generations", "4", "--per_device_train_batch_size", "4"]


pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture
def plan_for_24gb():
    return make_plan(CI, gpu="24GB")


def test_a_plan_says_whether_it_fits_with_what_batch_and_how_long_it_takes(plan_for_24gb):
    text, fits = plan_for_24gb
    assert fits and "It fits: " in text and "of 22 GiB at the worst moment" in text
    assert re.search(r"per_device_train_batch_size: \d+, gradient_accumulation_steps: \d+", text)
    assert re.search(r"tokens/s sampled", text) and re.search(r"steps take [\d.]+ ", text)


def test_parts_of_the_memory_add_up(plan_for_24gb):
    text, _ = plan_for_24gb
    table = text[text.index("memory, GiB") :].split("\n\n")[0].splitlines()[1:]
    rows = {line[:26].strip(): [float(cell) if cell != "-" else 0.0 for cell in line[26:].split()] for line in table}
    together = rows.pop("together")
    for phase, total in enumerate(together):
        assert sum(row[phase] for row in rows.values()) == pytest.approx(total, abs=0.01 * len(rows))


def test_what_does_not_fit_is_advised_with_what_would():
    options = ["--model", "Qwen/Qwen2.5-3B", *SMALL]
    text, fits = make_plan(CI, [*options, "--scratch", "{}"], gpu="24GB")
    assert not fits and "It does not fit" in text
    assert "lora_rank: 16" in text and "with these settings" in text


def test_on_several_gpus_sharding_comes_before_changing_the_training():
    options = ["--model", "Qwen/Qwen2.5-3B", *SMALL, "--scratch", "{}", "--gradient_checkpointing", "true"]
    text, fits = make_plan(CI, options, gpu="48GB", gpus=8)
    assert not fits and "launched with configs/accelerate/fsdp2.yaml" in text and "lora_rank" not in text


def test_what_nothing_helps_is_said():
    options = ["--model", "Qwen/Qwen2.5-7B", "--scratch", "{}", "--max_completion_length", "30000", *SMALL[2:]]
    options += ["--load_in_4bit", "true", "--lora_rank", "8", "--model_dtype", "bfloat16", "--cache_gib", "1"]
    text, fits = make_plan(CI, options, gpu="24GB")
    assert not fits and "Nothing that a config can say makes it fit" in text


def test_a_table_shares_the_step_out_to_8_and_64_gpus():
    text, _ = make_plan(CI, gpu="H100", gpus=2)
    rows = text[text.index("on paper:") :].splitlines()[2:9]
    kinds = [tuple(row.split()[:2]) for row in rows]
    wanted = [("1", "alone")] + [(count, kind) for count in ("2", "8", "64") for kind in ("DDP", "FSDP2")]
    assert kinds == wanted


def test_a_cpu_has_no_table_of_gpus(monkeypatch):
    monkeypatch.setattr("train.plan.processor.SECONDS", 0.0)
    text, fits = make_plan(CI)
    assert fits and "this machine's CPU" in text and "on paper" not in text


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.012, "12.0 ms"), (1.0, "1.0 s"), (119, "119.0 s"), (600, "10.0 min"), (7200, "2.0 h")]
)
def test_durations_are_said_in_the_unit_that_suits_them(seconds, said):
    assert duration(seconds) == said
