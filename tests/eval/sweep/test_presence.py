"""Who is alive: looked up on one machine, listened to on others."""

import json

import pytest
from patience import PATIENCE

from eval.sweep.trials import presence as module
from eval.sweep.trials.presence import Presence


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def change(presence, **values):
    """Write something else into a process's own file."""
    file = presence.folder / f"{presence.id}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_process_is_there_while_it_is_entered(tmp_path):
    watcher = Presence(tmp_path)
    with Presence(tmp_path) as other:
        assert list(watcher.living()) == [other.id]
    assert not watcher.living() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("change_to", [{"pid": 2**22 + 1}, {"started": 12345.0}])  # no such process; another's number
def test_a_dead_process_of_this_machine_is_found_at_once(tmp_path, change_to):
    with Presence(tmp_path) as other:
        change(other, **change_to)
        assert not Presence(tmp_path).living()
        assert not list(tmp_path.glob("*.json"))


def test_a_process_of_another_machine_is_dead_when_it_has_been_silent_for_long(tmp_path, clock):
    watcher = Presence(tmp_path)
    with Presence(tmp_path, "elsewhere") as other:
        change(other, pid=2**22 + 1)  # its number means nothing here
        assert watcher.living()
        clock[0] += module.SILENCE - 1
        other.beat()
        assert watcher.living()
        clock[0] += module.SILENCE - 1
        assert watcher.living()
        clock[0] += 2
        assert not watcher.living()


def test_the_gpus_that_a_process_holds_are_known_to_the_others(tmp_path):
    with Presence(tmp_path) as other:
        other.hold(["0", "3"])
        assert Presence(tmp_path).living()[other.id]["gpus"] == ["0", "3"]


def test_a_process_that_was_taken_for_dead_finds_it_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PERIOD", 0.01)
    with Presence(tmp_path) as presence:
        (tmp_path / f"{presence.id}.json").unlink()
        assert presence.buried.wait(PATIENCE)
