"""RUN/report.html while the run goes on: its top at each evaluation, the whole page where the time allows.

The top (train.page.latest) costs milliseconds. The whole page costs seconds: a process beside the run makes it, at the
lowest priority, one at a time, and only while both stay within 1% of the time that the run has taken. It belongs to
`eval`, which training must not import; here is only the command that makes it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from data.tasks.own import is_own
from train.files.recorded_config import read_run_config
from train.page.latest import put_latest

SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"
SHARE = 0.01  # of the run's time
EXPECTED = 3.0  # seconds of processor time of the first page (1.7 to 2.9 were seen); later the last one's count
BEGAN = time.monotonic()  # of this process, the cold start included


class LiveReport(TrainerCallback):
    """Brings the page up to each evaluation and each checkpoint, and has it made anew there, where the time allows."""

    def __init__(self, run: Path, tasks: Iterable[str] = (), script: Path = SCRIPT) -> None:
        own = ["--own-tasks"] if any(map(is_own, tasks)) else []  # this process runs their modules already
        self.run = run
        self.config: dict[str, Any] = {}
        self.command = [sys.executable, str(script), str(run), "--live", *own]
        self.there = script.is_file()
        self.process: subprocess.Popen[bytes] | None = None
        self.cost, self.spent = EXPECTED, 0.0

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """An evaluation is in the metrics."""
        if state.is_world_process_zero:
            self._put_latest(state)
            if state.global_step:
                self.make(time.monotonic() - BEGAN)

    on_save = on_evaluate

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A whole page that was made meanwhile may have been begun before the last evaluation."""
        if self._reap():
            self._put_latest(state)

    def _put_latest(self, state: TrainerState) -> None:
        """Bring the top of the page up to the last evaluation; what it costs counts."""
        before = time.process_time()
        try:
            self.config = self.config or read_run_config(self.run / "config.yaml")
            put_latest(self.run, self.config, state.log_history)
        except Exception:  # a full disk, or a page or a figure that nobody foresaw: a page is not worth a run
            pass
        self.spent += time.process_time() - before

    def make(self, elapsed: float) -> bool:
        """Start a page, `elapsed` seconds into the run, if it fits too; returns whether it was started."""
        self._reap()
        if not self.there or self.process is not None or self.spent + self.cost > SHARE * elapsed:
            return False
        # A session of its own: Ctrl-C is for the run. Without a GPU, which it has no use for.
        try:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
                start_new_session=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        except OSError:  # no memory to fork, or too many processes: a page is not worth a run
            return False
        return True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A page that is still being made would overwrite the full one, which an evaluation makes next."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def _reap(self) -> bool:
        """Take note of what the last page cost; returns whether one was done just now."""
        if self.process is None:
            return False
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid:
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.process = None
            self.cost = usage.ru_utime + usage.ru_stime
            self.spent += self.cost
        return bool(pid)
