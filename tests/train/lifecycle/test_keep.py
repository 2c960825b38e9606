from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from train.lifecycle.keep import KeepCheckpoints


@pytest.mark.parametrize(
    ("last", "best", "to_load", "always", "stay"),
    [
        (0, 0, False, [], [1, 2, 3, 4, 5]),
        (2, 0, False, [], [4, 5]),
        (2, 1, False, [], [2, 4, 5]),
        (1, 0, True, [], [1, 5]),
        (1, 0, False, [1, 3, 9], [1, 3, 5]),
    ],
)
def test_the_newest_the_best_the_named_and_the_one_to_load_at_the_end_stay(tmp_path, last, best, to_load, always, stay):
    for step in range(1, 6):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "cold-start").mkdir()
    history = [{"step": step, "eval_accuracy": 1 - abs(step - 2) / 10, "eval_loss": step} for step in range(1, 6)]
    state = TrainerState(log_history=history)
    state.best_global_step = 1  # by eval_loss
    arguments = SimpleNamespace(load_best_model_at_end=to_load)
    KeepCheckpoints(tmp_path, last, best, always).on_save(arguments, state, TrainerControl())
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"checkpoint-{step}" for step in stay] + ["cold-start"]


def test_a_checkpoint_is_asked_for_at_the_named_steps(tmp_path):
    callback = KeepCheckpoints(tmp_path, 0, 0, [2, 4])
    asked = []
    for step in range(1, 6):
        state, control = TrainerState(), TrainerControl()
        state.global_step = step
        callback.on_step_end(SimpleNamespace(), state, control)
        asked.append(control.should_save)
    assert asked == [False, True, False, True, False]
