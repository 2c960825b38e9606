"""Curves: real tiny trainings, read back from where TensorBoard and W&B keep them."""

import json

import pytest
from resuming import launch, write_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.lifecycle import guards, trackers
from train.lifecycle.callbacks import MetricsFile

VALUES = {"cold_start_steps": 2, "max_steps": 3, "save_steps": 2, "eval_steps": 2}


def curves(folder) -> dict[str, list[tuple[int, float]]]:
    """The scalars that TensorBoard shows of a folder: by name, (step, value)."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.fixture
def no_network(monkeypatch):
    """Fail where anything outside this process would be asked over HTTP; and nobody is logged in."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    asked = []

    def get(url, **_):
        asked.append(url)
        raise trackers.httpx.ConnectError("no network")

    monkeypatch.setattr(trackers.httpx, "get", get)
    return asked


def test_tensorboard_shows_what_the_metrics_file_holds(tmp_path):
    assert launch(write_config(tmp_path, **VALUES, report_to="tensorboard"), "--name", "run") == 0
    run = tmp_path / "run"
    shown = curves(run / "tensorboard")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [row for row in rows if row["phase"] == "rl" and "reward" in row]
    for name in ("reward", "accuracy", "thinking_tokens", "truncated", "logprob_gap/max", "nonfinite_steps"):
        assert shown[f"train/{name}"] == [(row["step"], pytest.approx(row[name])) for row in logged]
    assert [step for step, _ in shown["eval/accuracy"]] == [2, 3]  # and at the end
    assert [step for step, _ in curves(run / "tensorboard" / "cold-start")["train/train_loss"]] == [2]


def test_tensorboard_is_the_default_and_none_leaves_it_out(tmp_path):
    config = write_config(tmp_path, cold_start_steps=0, max_steps=1, eval_strategy="no")
    config.write_text(config.read_text().replace("report_to: none\n", ""))
    assert launch(config, "--name", "run") == 0
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert launch(config, "--name", "silent", "--report_to", "none") == 0
    assert not (tmp_path / "silent" / "tensorboard").exists()


def test_a_resumed_run_goes_on_in_the_same_curves(tmp_path, monkeypatch):
    config = write_config(tmp_path, **VALUES | {"max_steps": 5, "eval_strategy": "no", "cold_start_steps": 0})
    on_log = MetricsFile.on_log

    def fail_after_the_third(self, args, state, control, logs, **_):
        on_log(self, args, state, control, logs)
        if state.global_step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MetricsFile, "on_log", fail_after_the_third)
        with pytest.raises(KeyboardInterrupt):
            launch(config, "--name", "run", "--report_to", "tensorboard")
    before = curves(tmp_path / "run" / "tensorboard")["train/reward"]
    assert [step for step, _ in before] == [1, 2, 3]  # the checkpoint is of step 2
    assert launch(config, "--name", "run", "--resume", "--report_to", "tensorboard") == 0
    after = curves(tmp_path / "run" / "tensorboard")["train/reward"]
    assert [step for step, _ in after] == [1, 2, 3, 4, 5]
    assert after[:3] == before


def test_what_the_guards_mark_is_in_the_curves(tmp_path, monkeypatch):
    monkeypatch.setattr(guards, "WINDOW", 1)
    monkeypatch.setattr(guards, "guards", lambda: [guards.Guard("test", "reward", lambda *_: True, "tested")])
    config = write_config(tmp_path, max_steps=2, cold_start_steps=0, eval_strategy="no", report_to="tensorboard")
    assert launch(config, "--name", "run") == 0
    assert curves(tmp_path / "run" / "tensorboard")["train/guard/test"] == [(1, 1.0), (2, 1.0)]


def test_wandb_without_login_or_network_logs_into_the_run_folder(tmp_path, no_network, capfd):
    wandb = pytest.importorskip("wandb")
    config = write_config(tmp_path, **VALUES, report_to="wandb")
    assert launch(config, "--name", "run") == 0
    assert wandb.run is None  # finished
    assert len(no_network) == 1
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B logs offline")]
    assert len(said) == 1 and "does not answer" in said[0] and "wandb sync" in said[0]
    (kept,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (file,) = kept.glob("run-*.wandb")
    content = file.read_bytes()
    assert b"train/accuracy" in content and b"train/logprob_gap/max" in content and b"eval/accuracy" in content


def test_wandb_without_a_key_is_offline_and_what_the_user_says_stands(no_network, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setattr(trackers.httpx, "get", lambda *_, **__: None)  # there is a network
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    assert "no API key" in trackers._why_offline()
    monkeypatch.setattr(wandb, "login", lambda prompt: True)
    assert trackers._why_offline() is None

    def refuse(prompt):
        raise wandb.errors.AuthenticationError("invalid key")

    monkeypatch.setattr(wandb, "login", refuse)
    assert "does not know the API key (invalid key)" in trackers._why_offline()
    monkeypatch.setenv("WANDB_MODE", "online")
    assert trackers._why_offline() is None


@pytest.mark.parametrize(
    ("name", "message"),
    [("trackio", "trackio, which is not installed: pip install trackio"), ("tensorbored", "expected none, or some of")],
)
def test_a_tracker_that_cannot_be_had_is_refused_at_the_start(tmp_path, capfd, monkeypatch, name, message):
    monkeypatch.setattr(trackers, "get_available_reporting_integrations", lambda: ["tensorboard"])
    assert launch(write_config(tmp_path, **VALUES, report_to=name), "--name", "run") == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "run").exists()
