"""What a newcomer does in the first hour, done by a script from a fresh clone: each step with its command and result.

    python scripts/newcomers_hour.py                    # the quickstart as it is, then all that follows it
    python scripts/newcomers_hour.py --config configs/ci.yaml --steps 3 --cold-start-steps 20   # a few minutes

Trains, publishes, serves, asks by the openai client and in the browser (a screenshot), trains with a reward and with
reasoning traces of one's own, evaluates on a file shaped like GSM8K, and then gives every bad input that one is likely
to give. All files go to --folder. Exit code 1 where a step failed.
"""

import argparse
import json
import os
import random
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROBLEM = "numbers 2 6 8 target 14"
SHORT = ["--train_problems", "64", "--validation_problems", "0", "--per_device_train_batch_size", "8"]
SHORT += ["--gradient_accumulation_steps", "1", "--num_generations", "4", "--max_completion_length", "32"]
REWARD = "def brevity(completion_ids, **_):\n    return [1 / (1 + len(ids)) for ids in completion_ids]\n"
RAISES = "def brevity(completion_ids, **_):\n    raise KeyError('length')\n"
QUESTIONS = [("Ann has 3 pears and buys 4. How many has she?", "3 + 4 = 7\n#### 7"), ("What is 2 * 6?", "#### 12")]


class StepFailed(Exception):
    """A step did not do what it should."""


@dataclass
class Hour:
    """The files of one newcomer, and what came of each step."""

    folder: Path
    config: Path
    shorten: list[str]
    failed: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        """The newcomer's first run."""
        return self.folder / "runs" / "first"

    def step(self, title: str, work: Callable[[], str]) -> None:
        """Do one step, and report its result."""
        print(f"\n== {title}", flush=True)
        began = time.monotonic()
        try:
            result = work()
        except Exception as error:  # whatever ends a step, the next ones are still worth walking
            self.failed.append(title)
            result = f"FAILED: {error}"
        print(f"{result}\n   ({time.monotonic() - began:.0f} s)", flush=True)

    def train(self, name: str, *options: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A training run in the newcomer's folder, in one process."""
        where = ["--config", config or self.config, "--runs_dir", self.folder / "runs", "--name", name, "--overwrite"]
        return self.call("-m", "train", *where, *options)

    def call(self, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python on a script of the project, and show the command."""
        command = [sys.executable, *map(str, words)]
        print(f"   $ {shlex.join(['python', *command[1:]])}", flush=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def done(process: subprocess.CompletedProcess[str], show: int = 4) -> str:
    """The last lines that a command wrote. Raises StepFailed where it did not end well."""
    text = (process.stdout or process.stderr).strip().splitlines()
    if process.returncode:
        raise StepFailed(f"exit code {process.returncode}: {' '.join(process.stderr.strip().splitlines()[-1:])}")
    return "\n".join(f"   {line}" for line in text[-show:])


def refused(process: subprocess.CompletedProcess[str], code: int, words: str) -> str:
    """The one line that a bad input got. Raises StepFailed where it is another, or a traceback."""
    lines = [line for line in process.stderr.splitlines() if words in line]
    if process.returncode != code or len(lines) != 1 or "Traceback" in process.stderr:
        end = " | ".join(process.stderr.strip().splitlines()[-3:])
        raise StepFailed(f"expected exit code {code} and one line with {words!r}; got {process.returncode}: {end}")
    return f"   {lines[0]}"


def quickstart(hour: Hour) -> str:
    """Train, and show the last lines of output."""
    process = hour.train("first", *hour.shorten)
    done(process)
    lines = [line for line in process.stderr.splitlines() if line.startswith(("Accuracy", "  - ", "To publish"))]
    if not lines:
        raise StepFailed("the run ended without a diagnosis")
    return "\n".join(f"   {line}" for line in lines)


def card(hour: Hour) -> str:
    """Open the model card."""
    text = (hour.run / "model" / "README.md").read_text()
    for heading in ("license:", "## Data", "## Results", "## Training curve", "## How it was made", "## Limits"):
        if heading not in text:
            raise StepFailed(f"the card has no {heading}")
    return "\n".join(f"   {line}" for line in text.splitlines()[:24])


@contextmanager
def served(hour: Hour) -> Iterator[str]:
    """The address of a server of the published model."""
    command = [sys.executable, "scripts/serve.py", str(hour.run / "model"), "--port", "0"]
    command += ["--config", str(hour.run / "config.yaml")]
    print(f"   $ {shlex.join(['python', *command[1:]])}", flush=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout
        try:
            line = server.stdout.readline()
            if "http://" not in line:
                raise StepFailed(f"the server did not start: {line.strip()}")
            yield line.split(" at ")[1].split("/v1")[0]
        finally:
            server.terminate()


def ask(hour: Hour) -> str:
    """Ask by OpenAI's own client, then in the browser."""
    import openai

    with served(hour) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        model = client.models.list().data[0].id
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": PROBLEM}], max_completion_tokens=120, seed=1
        )
        message, usage = answer.choices[0].message.model_dump(), answer.usage
        assert usage and usage.completion_tokens_details
        thought = usage.completion_tokens_details.reasoning_tokens
        lines = [
            f"   asked: {PROBLEM}",
            f"   thinking: {message.get('reasoning_content')}",
            f"   answer: {message['content']}",
            f"   reasoning_tokens {thought} of completion_tokens {usage.completion_tokens}",
            f"   {screenshot(hour, url)}",
        ]
    return "\n".join(lines)


def screenshot(hour: Hour, url: str) -> str:
    """Ask the same on the chat page, and take its picture."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from chromium import browser, chromium  # type: ignore[import-not-found]

    if chromium() is None:
        return "no picture of the chat page: there is no Chromium (apt-get install chromium)"
    picture = hour.folder / "chat.png"
    with browser(hour.folder / "browser") as page:
        page.open(url)
        send = "document.getElementById('send').click()"
        page.run(f"document.getElementById('question').value = {PROBLEM!r}; {send}")
        page.wait("document.querySelector('article.assistant:last-of-type')?.dataset.done")
        verdict = page.run("document.querySelector('.verdict')?.textContent")
        page.picture(picture)
    return f"chat page: {verdict}; picture at {picture}"


def small(hour: Hour) -> Path:
    """A config for a model that is there already."""
    file = hour.folder / "small.yaml"
    file.write_text(
        "name: small\ntasks: {countdown: {numbers: 2, largest: 9}}\nvalidation_problems: 0\nuse_cpu: true\n"
    )
    return file


def own_reward(hour: Hour) -> str:
    """Two steps with a reward of one's own beside the verifier's."""
    file = hour.folder / "brevity.py"
    file.write_text(REWARD)
    rewards = json.dumps({"correct": 1, f"{file}:brevity": 0.1})
    start = ["--model", str(hour.run / "model"), "--max_steps", "2"]
    process = hour.train("rewarded", "--rewards", rewards, *start, *SHORT, config=small(hour))
    done(process)
    lines = (hour.folder / "runs" / "rewarded" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    logged = next(row for row in rows if "reward" in row)
    return "   " + ", ".join(f"{name} {logged[name]:.4f}" for name in logged if name.startswith("rewards/"))


def cold_start(hour: Hour) -> str:
    """A cold start from fifty reasoning traces in a JSONL file."""
    from data.mixture import draw_problems, load_mixture
    from data.tasks import get_task

    task, rng = get_task("countdown"), random.Random(0)
    parts = load_mixture({"countdown": {"numbers": 2, "largest": 9, "attempts": 4}})
    assert task.demonstrate
    traces = hour.folder / "traces.jsonl"
    with traces.open("w") as file:
        for problem in draw_problems(parts, "train", 50, 0):
            completion = task.demonstrate(problem, rng, parts[0].settings)
            row = {"prompt": problem.prompt, "completion": completion, "task_problem": problem.to_json()}
            file.write(json.dumps(row) + "\n")
    options = ["--cold_start_data", str(traces), "--cold_start_steps", "5", "--max_steps", "1"]
    process = hour.train("from-traces", *options, *SHORT, config=ROOT / "configs" / "ci.yaml")
    done(process)
    lines = [line for line in process.stderr.splitlines() if "trace" in line.lower()]
    return "\n".join(f"   {line}" for line in [f"50 traces in {traces.name}", *lines[:2]])


def own_file(hour: Hour) -> str:
    """Evaluate on a local file shaped like GSM8K."""
    file = hour.folder / "gsm8k.jsonl"
    file.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in QUESTIONS))
    how = ["--benchmark", "gsm8k", "--benchmark-file", f"gsm8k={file}", "--max-new-tokens", "32", "--processes", "1"]
    where = ["--output", hour.folder / "benchmarks"]
    return done(hour.call("scripts/evaluate.py", "--checkpoint", hour.run / "model", *how, *where), show=8)


class Rubbish(BaseHTTPRequestHandler):
    """A teacher whose answers are not JSON."""

    def do_GET(self) -> None:
        """The same to every request."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Silence."""


def no_checkpoint(hour: Hour) -> str:
    """A checkpoint that is not there."""
    return refused(hour.call("scripts/serve.py", hour.folder / "nothing", "--port", "0"), 2, "no such model")


def port_taken(hour: Hour) -> str:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        return refused(hour.call("scripts/serve.py", hour.run / "model", "--port", port), 2, "cannot be listened at")


def reward_that_raises(hour: Hour) -> str:
    """A reward function with a bug."""
    file = hour.folder / "raises.py"
    file.write_text(RAISES)
    start = ["--model", str(hour.run / "model"), "--max_steps", "1", "--rewards", json.dumps({f"{file}:brevity": 1})]
    process = hour.train("raises", *start, *SHORT, config=small(hour))
    return refused(process, 2, "failed: KeyError")  # it is tried before any work


def column_missing(hour: Hour) -> str:
    """Traces without the columns that traces have."""
    file = hour.folder / "columns.jsonl"
    file.write_text('{"question": "numbers 1 2 target 3", "reply": "1 + 2"}\n')
    process = hour.train("columns", "--cold_start_data", str(file), config=ROOT / "configs" / "ci.yaml")
    return refused(process, 2, "columns.jsonl")


def teacher_of_rubbish(hour: Hour) -> str:
    """A teacher whose address is a web page."""
    with HTTPServer(("127.0.0.1", 0), Rubbish) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        options = ["--config", hour.run / "config.yaml", "--problems", "2", "--output", hour.folder / "collected.jsonl"]
        try:
            return refused(hour.call("scripts/collect.py", "--teacher", url, *options), 2, url)
        finally:
            server.shutdown()


def hub_unreachable(hour: Hour) -> str:
    """A model of the hub, and no network."""
    process = hour.call(
        *("-m", "train", "--config", small(hour), "--runs_dir", hour.folder / "runs", "--name", "hub"),
        *("--model", "nobody/no-model"),
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    return refused(process, 2, "nobody/no-model")


STEPS: dict[str, Callable[[Hour], str]] = {
    "Train the first model": quickstart,
    "Open the model card": card,
    "Serve it; ask with the openai client and in the browser": ask,
    "Train two steps with a reward of one's own": own_reward,
    "Cold start from 50 reasoning traces": cold_start,
    "Evaluate on a local file shaped like GSM8K": own_file,
    "Bad input: no such checkpoint": no_checkpoint,
    "Bad input: the port is taken": port_taken,
    "Bad input: a reward that raises": reward_that_raises,
    "Bad input: a column is missing": column_missing,
    "Bad input: a teacher that answers rubbish": teacher_of_rubbish,
    "Bad input: the hub cannot be reached": hub_unreachable,
}


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/newcomer"), help="for all files (%(default)s)")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "quickstart.yaml", help="of the first run")
    parser.add_argument("--steps", type=int, help="steps of reinforcement (default: the config's)")
    parser.add_argument("--cold-start-steps", type=int, help="steps of the cold start (default: the config's)")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="N", help="these steps alone, from 1; the first run stays"
    )
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shorten = [] if options.steps is None else ["--max_steps", str(options.steps)]
    if options.cold_start_steps is not None:
        shorten += ["--cold_start_steps", str(options.cold_start_steps)]
    hour = Hour(folder, options.config.resolve(), shorten)
    for number, (title, work) in enumerate(STEPS.items(), 1):
        if options.only is None or number in options.only:
            hour.step(f"{number}. {title}", partial(work, hour))
    print(f"\n{len(hour.failed)} steps failed{': ' if hour.failed else ''}{', '.join(hour.failed)}")
    return 1 if hour.failed else 0


if __name__ == "__main__":
    sys.exit(main())
