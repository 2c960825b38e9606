import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from patience import PATIENCE, until

from data.workers.pool import Reply, WorkerPool

TARGET = "pool_targets:act"


@pytest.fixture
def pool():
    pool = WorkerPool(TARGET, seconds=0.5, wall_seconds=2, memory_mib=512, workers=2)
    yield pool
    pool.close()


def echo(value):
    return {"do": "echo", "value": value}


def alive(pid):
    """Whether the process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pids):
    until(lambda: not any(alive(pid) for pid in pids))
    return [pid for pid in pids if alive(pid)]


def test_replies_come_in_the_order_of_the_requests(pool):
    values = [1, "ä\n", None, [1.5, {"a": []}], True] * 20
    assert pool.ask_all([echo(value) for value in values]) == [Reply(value) for value in values]


def test_a_long_operation_is_ended_and_the_pool_lives_on():
    pool = WorkerPool(TARGET, seconds=0.5, wall_seconds=600, workers=2)
    replies = pool.ask_all([{"do": "tower"}, echo(1), {"do": "tower"}, echo(2)])
    late = "timed out after 0.5 s of processor time"
    assert [reply.error for reply in replies] == [late, None, late, None]
    assert pool.ask_all([echo(3)] * 4) == [Reply(3)] * 4
    pool.close()


def test_one_that_sleeps_is_ended_and_the_pool_lives_on(pool):
    replies = pool.ask_all([{"do": "sleep"}, echo(1), {"do": "sleep"}, echo(2)])
    assert [reply.error for reply in replies] == ["timed out after 2 s", None, "timed out after 2 s", None]
    assert pool.ask_all([echo(3)] * 4) == [Reply(3)] * 4


def test_memory_is_limited_and_the_pool_lives_on(pool):
    assert pool.ask({"do": "hoard"}).error == "ran out of memory (limit 512 MiB)"
    assert pool.ask(echo(1)) == Reply(1)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"do": "abort"}, "the worker ended (signal 6)"),
        ({"do": "fail"}, "ValueError: boom"),
        ({"do": "flood", "mib": 2, "piece": "x"}, "a reply of more than 1048576 bytes"),
        ({"do": "flood", "mib": 30, "piece": "x"}, "a reply of more than"),
        ({"do": "flood", "mib": 2, "piece": '{"worker": 1, "value": 2}\n'}, "a reply of more than"),
        ({"do": "flood", "mib": 1, "piece": "x"}, "a reply of more than"),  # ends within the last piece that is read
        ({"do": "half", "then": "abort"}, "the worker ended (signal 6)"),
        ({"do": "half", "then": "sleep"}, "timed out after 2 s"),
    ],
    ids=lambda value: "-".join(map(str, value.values()))[:12] if isinstance(value, dict) else "",
)
def test_a_failure_is_told_and_its_worker_answers_the_next_request(request_, error):
    pool = WorkerPool(TARGET, seconds=20, wall_seconds=2 if request_.get("then") == "sleep" else 60, workers=1)
    for number in range(2):
        assert pool.ask(request_).error.startswith(error)
        assert pool.ask(echo(number)) == Reply(number)
    pool.close()


def test_floods_between_requests_of_many_threads_leave_nothing_behind():
    pool = WorkerPool(TARGET, seconds=20, wall_seconds=PATIENCE, workers=5)
    trouble = [
        {"do": "flood", "mib": 2, "piece": "x"},
        {"do": "flood", "mib": 1, "piece": '{"worker": 1, "to": 2, "value": 3}\n'},
        {"do": "half", "then": "abort"},
        {"do": "abort"},
        {"do": "fail"},
    ]
    wrong = []

    def ask(thread):
        for round_ in range(4):
            values = [f"{thread} {round_} {place}" * (1 + 5_000 * (place % 2)) for place in range(6)]
            requests = [each for value in values for each in (trouble[(thread + round_) % len(trouble)], echo(value))]
            replies = pool.ask_all(requests)
            wrong.extend(reply for reply in replies[::2] if reply.error is None)
            wrong.extend(pair for pair in zip(values, replies[1::2], strict=True) if pair[1] != Reply(pair[0]))

    threads = [threading.Thread(target=ask, args=[number], daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert not wrong


@pytest.mark.parametrize("size", [1, 300_000], ids=["short", "longer than a pipe"])
def test_a_worker_that_dies_between_requests_costs_one_of_them_and_shifts_no_other(size):
    pool = WorkerPool(TARGET, seconds=20, wall_seconds=PATIENCE, workers=1)
    for number in range(3):
        pid = pool.ask({"do": "pid"}).value
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
        children = Path(f"/proc/{keeper}/task/{keeper}/children")
        until(lambda pid=pid, children=children: children.read_text().split() not in ([], [str(pid)]))
        assert pool.ask(echo(f"lost {number}" * size)).error == "the worker ended (signal 9)"
        assert pool.ask_all([echo(n) for n in range(5)]) == [Reply(n) for n in range(5)]
    pool.close()


def test_what_the_function_prints_is_no_reply(pool):
    assert pool.ask({"do": "print"}) == Reply("replied")


def test_a_megabyte_goes_there_and_back(pool):
    assert pool.ask(echo("x" * 1_000_000)) == Reply("x" * 1_000_000)


def test_a_worker_that_holds_much_memory_is_replaced():
    pool = WorkerPool(TARGET, seconds=5, memory_mib=512, workers=1)
    first = pool.ask({"do": "pid"}).value
    assert pool.ask({"do": "pid"}).value == first
    assert pool.ask({"do": "keep", "mib": 300}) == Reply()
    second = pool.ask({"do": "pid"}).value
    assert second and second != first
    pool.close()


def test_a_request_that_a_killed_worker_had_not_read_does_not_confuse_the_next(pool):
    pids = {reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # it reads nothing more
    replies = pool.ask_all([echo("x" * 3_000), echo("y" * 300_000)])
    assert {reply.error for reply in replies} == {"timed out after 2 s"}
    assert pool.ask_all([echo(n) for n in range(8)]) == [Reply(n) for n in range(8)]


def test_many_threads_may_ask_at_once(pool):
    replies = {}
    threads = [
        threading.Thread(target=lambda n=n: replies.update({n: pool.ask_all([echo(n)] * 5)}), daemon=True)
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == {n: [Reply(n)] * 5 for n in range(10)}


def test_a_thread_that_ends_takes_no_worker_with_it(pool):
    pids = []
    thread = threading.Thread(target=lambda: pids.extend(reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)))
    thread.start()
    thread.join()
    assert set(pids) >= {reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)}


def test_a_forked_child_has_workers_of_its_own(pool):
    mine = {reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)}
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            theirs = {reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)}
            os.write(write, b"apart" if theirs and not theirs & mine else b"shared")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as told:
        assert told.read() == b"apart"
    assert {reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)} <= mine


def test_a_function_that_cannot_be_loaded_is_named():
    pool = WorkerPool("pool_targets:nothing", seconds=1, workers=1)
    assert "no worker could be started for pool_targets:nothing: AttributeError" in pool.ask(1).error
    pool.close()


def test_closing_ends_the_workers_and_asking_again_starts_others(pool):
    pids = [reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)]
    pool.close()
    assert not wait_until_dead(pids)
    assert pool.ask(echo(1)) == Reply(1)


@pytest.mark.parametrize("busy", ["tower", "sleep"])
def test_a_killed_process_leaves_no_worker_behind(busy):
    script = f"""
    import sys, threading
    from data.workers.pool import WorkerPool
    pool = WorkerPool({TARGET!r}, seconds=600, workers=2)
    print(*(reply.value for reply in pool.ask_all([{{"do": "pid"}}] * 8)), flush=True)
    pool.ask_all([{{"do": {busy!r}}}] * 2)
    """
    path = os.pathsep.join([str(Path(__file__).parents[2] / "support"), os.getcwd()])
    asking = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    )
    pids = {int(word) for word in asking.stdout.readline().split()}
    assert pids and all(alive(pid) for pid in pids)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    asking.stdout.close()
    assert not wait_until_dead(pids)


def test_a_signal_meant_for_the_run_stops_no_verdict(pool):
    pid = pool.ask({"do": "pid"}).value
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert pid in {reply.value for reply in pool.ask_all([{"do": "pid"}] * 8)}
