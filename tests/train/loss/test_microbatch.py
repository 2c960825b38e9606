import torch
from hypothesis import given
from hypothesis import strategies as st

from train.loss.masks import mask_zero_advantage_rows
from train.loss.microbatch import sort_rows, trim_padding


def batch(prompt_lengths, completion_lengths, advantages):
    """A generation batch as TRL makes it; token ids number the real tokens of each row, 0 is padding."""
    rows, prompt_width, width = len(prompt_lengths), max(prompt_lengths) + 2, max(completion_lengths) + 3
    made = {
        "prompt_ids": torch.zeros(rows, prompt_width, dtype=torch.long),
        "prompt_mask": torch.zeros(rows, prompt_width, dtype=torch.long),
        "completion_ids": torch.zeros(rows, width, dtype=torch.long),
        "completion_mask": torch.zeros(rows, width, dtype=torch.long),
        "advantages": torch.tensor(advantages),
        "num_items_in_batch": torch.tensor(sum(completion_lengths)),
    }
    for row, (prompt, completion) in enumerate(zip(prompt_lengths, completion_lengths, strict=True)):
        made["prompt_ids"][row, prompt_width - prompt :] = torch.arange(1, prompt + 1)
        made["prompt_mask"][row, prompt_width - prompt :] = 1
        made["completion_ids"][row, :completion] = torch.arange(1, completion + 1)
        made["completion_mask"][row, :completion] = 1
    return made


rows = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 9), st.sampled_from([-0.5, 0.0, 0.5])), min_size=1, max_size=8
)


@given(rows)
def test_trimming_loses_no_unmasked_token(drawn):
    full = batch(*zip(*drawn, strict=True))
    trimmed = trim_padding(full)
    for part in ("prompt", "completion"):
        before = full[f"{part}_ids"][full[f"{part}_mask"].bool()]
        after = trimmed[f"{part}_ids"][trimmed[f"{part}_mask"].bool()]
        assert torch.equal(before, after)
        assert trimmed[f"{part}_mask"].any(0).all() or trimmed[f"{part}_mask"].size(1) == 1


@given(rows)
def test_sorting_keeps_rows_whole(drawn):
    ordered = sort_rows(batch(*zip(*drawn, strict=True)))
    columns = (ordered["prompt_mask"].sum(1), ordered["completion_mask"].sum(1), ordered["advantages"])
    seen = [
        (int(prompt), int(completion), float(advantage)) for prompt, completion, advantage in zip(*columns, strict=True)
    ]
    assert sorted(seen) == sorted(drawn)
    assert [completion for _, completion, _ in seen] == sorted(completion for _, completion, _ in drawn)


@given(rows)
def test_masking_touches_just_the_rows_without_advantage(drawn):
    full = batch(*zip(*drawn, strict=True))
    masked = mask_zero_advantage_rows(full)
    for row, (_, completion, advantage) in enumerate(drawn):
        assert masked["completion_mask"][row].sum() == (completion if advantage else 0)
    assert torch.equal(masked["completion_ids"], full["completion_ids"])
