from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from train.lifecycle.keep import KeepCheckpoints


@pytest.mark.parametrize(
    ("last", "best", "to_load", "stay"),
    [(0, 0, False, [1, 2, 3, 4, 5]), (2, 0, False, [4, 5]), (2, 1, False, [2, 4, 5]), (1, 0, True, [1, 5])],
)
def test_the_newest_the_best_and_that_to_load_at_the_end_stay(tmp_path, last, best, to_load, stay):
    for step in range(1, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "cold-start").mkdir()
    history = [{"step": step, "eval_accuracy": 1 - abs(step - 2) / 10, "eval_loss": step} for step in range(1, 6)]
    state = TrainerState(log_history=history)
    state.best_global_step = 1  # by eval_loss
    arguments = SimpleNamespace(load_best_model_at_end=to_load)
    KeepCheckpoints(tmp_path, last, best).on_save(arguments, state, TrainerControl())
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"checkpoint-{step}" for step in stay] + ["cold-start"]
