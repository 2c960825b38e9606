"""Samples of one prompt never share their number in a step, whoever draws them."""

import json
import os
from types import SimpleNamespace

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from launching import in_processes
from transformers import PrinterCallback
from trl import GRPOConfig

from train import sample_numbers
from train.sample_numbers import SampleNumbers
from train.trainer import ReasoningTrainer

PROMPTS = st.lists(st.sampled_from([(5, 6), (7,), (8, 9, 10)]), min_size=1, max_size=8)


def taken_by(processes, calls):
    """The numbers that each call gives to its rows, cut into equal shares."""
    makers = [SampleNumbers() for _ in range(processes)]
    found = []
    for rows in calls:
        share = len(rows) // processes
        cut = [rows[rank * share : (rank + 1) * share] for rank in range(processes)]
        told = [sample_numbers.Counter(map(sample_numbers.problem_key, part)) for part in cut]
        numbers = []
        for rank, maker in enumerate(makers):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(sample_numbers, "gather_object", lambda _, told=told: told)
                patched.setattr(sample_numbers, "PartialState", lambda rank=rank: SimpleNamespace(process_index=rank))
                numbers += maker.take(cut[rank])
        found.append(numbers)
    return found


@given(st.lists(PROMPTS, min_size=1, max_size=3), st.sampled_from([2, 3]))
def test_processes_give_the_numbers_that_one_gives_and_none_twice(calls, processes):
    calls = [rows * processes for rows in calls]  # of equal shares
    numbers = taken_by(processes, calls)
    assert numbers == taken_by(1, calls)
    given = [pair for rows, call in zip(calls, numbers, strict=True) for pair in zip(rows, call, strict=True)]
    assert len(set(given)) == len(given)
    for prompt in set(prompt for prompt, _ in given):
        mine = [number for one, number in given if one == prompt]
        assert mine == list(range(len(mine)))


def completions_of(prompts, model, tokenizer, folder):
    """What a process draws for its rows."""
    arguments = GRPOConfig(
        output_dir=str(folder), per_device_train_batch_size=4, num_generations=4, max_completion_length=12,
        report_to="none", bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no",
    )  # fmt: skip
    trainer = ReasoningTrainer(
        model=model,
        reward_funcs=lambda completion_ids, **_: [0.0] * len(completion_ids),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "1 + 1"}] * 4),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer._generate_single_turn(prompts, None, {}, 4)[0]


def test_two_processes_with_the_same_prompt_draw_what_one_would(tiny_model, tokenizer, tmp_path):

    prompt, other = [5, 9, 12], [7, 7]
    rows = [prompt] * 4 + [other] * 4 + [prompt] * 4 + [prompt] * 4

    def work():
        rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        share = len(rows) // processes
        own = rows[rank * share : (rank + 1) * share]
        drawn = completions_of(own, tiny_model, tokenizer, tmp_path)
        (tmp_path / f"{processes}-{rank}.json").write_text(json.dumps(drawn))
        return 0

    for processes in (1, 2):
        assert in_processes(processes, {}, work) == [0] * processes
    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert first + second == one
    same = [tuple(ids) for ids, row in zip(one, rows, strict=True) if row == prompt]
    assert len(set(same)) == len(same)
