"""How the rollouts of a step follow one another, and how they are cut into micro-batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import a_workload

from train.config.parse import parse_config
from train.plan.rollouts import schedule
from train.plan.workload import NOT_AT_HAND, read_workload

RUN = ["--name", "x", "--tasks", '{"countdown": {}}', "--use_cpu", "true"]


@given(
    groups=st.integers(1, 6),
    samples=st.integers(1, 5),
    places=st.integers(1, 40),
    mean=st.floats(1, 50),
    most=st.integers(50, 60),
)
def test_every_token_is_sampled_once_and_no_more_run_than_may(groups, samples, places, mean, most):
    work = a_workload(rows=samples, micro_batches=groups, samples=samples, mean=mean, most=most)
    timeline = schedule(work, places)
    assert timeline.rows.sum() == work.completions.sum()
    assert timeline.rows.max() == min(places, work.rollouts)
    assert (timeline.rows > 0).all() and (timeline.cached >= timeline.rows).all()
    assert timeline.peak_cached <= work.rollouts * most + groups * work.prompt
    own = timeline.cached + timeline.again - timeline.rows * work.prompt  # each row reads its prompt, and its own
    assert (own >= timeline.rows).all() and (samples > 1 or not timeline.again.any())


@given(rows=st.integers(1, 8), micro_batches=st.integers(1, 8), mean=st.floats(1, 100))
def test_completions_have_the_mean_that_was_given_and_none_is_too_long(rows, micro_batches, mean):
    work = a_workload(rows=rows, micro_batches=micro_batches, samples=1, mean=mean, most=100)
    assert len(work.completions) == rows * micro_batches
    assert work.completions.mean() == pytest.approx(mean, abs=1)
    assert work.completions.min() >= 1 and work.completions.max() <= 100


def test_micro_batches_are_as_wide_as_their_longest_row():
    work = a_workload(rows=2, micro_batches=3, lengths=(5, 1, 9, 3, 9, 2))
    assert work.widths.tolist() == [2, 5, 9]
    assert np.sort(work.with_rows(3).widths).tolist() == [3, 9]
    assert work.with_rows(3).micro_batches == 2


def test_a_workload_is_read_off_the_configuration():
    options = ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "4", "--num_generations", "16"]
    run, training = parse_config([*RUN, *options, "--max_completion_length", "60", "--max_steps", "7"])
    work = read_workload(run, training, bf16=False)
    assert (work.rows, work.micro_batches, work.rollouts, work.prompts) == (8, 4, 32, 2)
    assert (work.mean, work.most, work.steps) == (30, 60, 7)
    assert 5 < work.prompt < 20  # `<|user|> 1 2 3 = 4 <|assistant|>`, in a scratch model's tokens
    (said,) = work.assumed
    assert "half of what is allowed" in said


def test_what_is_not_at_hand_is_assumed_and_said():
    run, training = parse_config([*RUN, "--backend", "vllm", "--max_steps", "3"])
    work = read_workload(run, training, bf16=False, mean=900.0, at_hand=False)
    assert work.mean == work.most == 512
    assert NOT_AT_HAND in work.assumed and any("vllm" in said for said in work.assumed)


def test_steps_are_counted_from_epochs_where_no_number_is_given():
    options = ["--train_problems", "100", "--num_generations", "4", "--per_device_train_batch_size", "8"]
    run, training = parse_config([*RUN, *options, "--num_train_epochs", "2"])
    assert read_workload(run, training, bf16=False).steps == 100  # two problems a step
