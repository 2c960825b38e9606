"""The steps of a newcomer: train, read the card, serve and ask, bring a reward, traces and problems of one's own."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eval.newcomer.chromium import browser, chromium
from eval.newcomer.hour import ROOT, Hour, StepFailed, environment, indented, last_lines, python

PROBLEM = "numbers 2 6 8 target 10"
HEADINGS = ("license:", "## Data", "## Results", "## Training curve", "## How it was made", "## Limits")
REWARD = "def brevity(completion_ids, **_):\n    return [1 / (1 + len(ids)) for ids in completion_ids]\n"
QUESTIONS = [("Ann has 3 pears and buys 4. How many has she?", "3 + 4 = 7\n#### 7"), ("What is 2 * 6?", "#### 12")]
# A run of seconds.
SHORT = ["--train_problems", "64", "--validation_problems", "0", "--per_device_train_batch_size", "8"]
SHORT += ["--gradient_accumulation_steps", "1", "--num_generations", "4", "--max_completion_length", "32"]
SMALL = "name: small\ntasks: {countdown: {numbers: 2, largest: 9}}\nvalidation_problems: 0\nuse_cpu: true\n"


def train_first(hour: Hour) -> str:
    """Train as `make quickstart` does, and see what is said at the end; or take the run that is there already."""
    if hour.trained:
        shutil.rmtree(hour.run, ignore_errors=True)
        shutil.copytree(hour.trained, hour.run)
        return last_lines(hour.call("scripts/publish.py", hour.run))
    process = hour.train("first", *hour.shorter, processes=2)
    last_lines(process)
    lines = [line for line in process.stderr.splitlines() if line.startswith(("Accuracy", "  - ", "To publish"))]
    if not lines:
        raise StepFailed("the run ended without a diagnosis")
    return indented(lines)


def read_card(hour: Hour) -> str:
    """Open the model card."""
    text = (hour.run / "model" / "README.md").read_text()
    if missing := [heading for heading in HEADINGS if heading not in text]:
        raise StepFailed(f"the card has no {missing[0]}")
    return indented(text.splitlines()[:24])


def serve_and_ask(hour: Hour) -> str:
    """Ask by OpenAI's own client, then in the browser."""
    import openai

    with server_of(hour) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        model = client.models.list().data[0].id
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": PROBLEM}], max_completion_tokens=320, seed=1
        )
        message, usage = answer.choices[0].message.model_dump(), answer.usage
        assert usage and usage.completion_tokens_details
        thinking_tokens = usage.completion_tokens_details.reasoning_tokens
        lines = [
            f"question: {PROBLEM}",
            f"thinking: {message.get('reasoning_content')}",
            f"answer: {message['content']}",
            f"reasoning_tokens {thinking_tokens} of completion_tokens {usage.completion_tokens}",
            screenshot(url, PROBLEM, hour.folder / "chat.png"),
        ]
    return indented(lines)


@contextmanager
def server_of(hour: Hour) -> Iterator[str]:
    """The address of a server of the published model."""
    command = python("scripts/serve.py", hour.run / "model", "--port", "0", "--config", hour.run / "config.yaml")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        assert server.stdout
        try:
            line = server.stdout.readline()
            if "http://" not in line:
                raise StepFailed(f"the server did not start: {line.strip()}")
            yield line.split(" at ")[1].split("/v1")[0]
        finally:
            server.terminate()


def screenshot(url: str, question: str, picture: Path) -> str:
    """Ask on the chat page, and take its picture; returns what the page says of the answer."""
    if chromium() is None:
        return "no picture of the chat page: there is no Chromium (apt-get install chromium)"
    with browser(picture.with_name("browser")) as page:
        page.open(url)
        send = "document.getElementById('send').click()"
        page.run(f"document.getElementById('question').value = {json.dumps(question)}; {send}")
        page.wait("document.querySelector('article.assistant:last-of-type')?.dataset.done")
        verdict = page.run("document.querySelector('.verdict')?.textContent")
        page.picture(picture)
    return f"chat page: {verdict or 'no verdict: the answer was cut off'}; picture at {picture}"


def own_reward(hour: Hour) -> str:
    """Two steps with a reward of one's own beside the verifier's."""
    process = train_with_reward(hour, "rewarded", REWARD, {"correct": 1}, steps=2)
    last_lines(process)
    lines = (hour.folder / "runs" / "rewarded" / "metrics.jsonl").read_text().splitlines()
    metrics = next(row for row in map(json.loads, lines) if "reward" in row)
    return indented([", ".join(f"{name} {metrics[name]:.4f}" for name in metrics if name.startswith("rewards/"))])


def train_with_reward(
    hour: Hour, name: str, code: str, others: dict[str, float], steps: int
) -> subprocess.CompletedProcess[str]:
    """A short run from the first model with the function `brevity` of a file with `code` as a reward."""
    file, config = hour.folder / f"{name}.py", hour.folder / "small.yaml"
    file.write_text(code)
    config.write_text(SMALL)
    rewards = json.dumps({**others, f"{file}:brevity": 0.1})
    start = ["--model", hour.run / "model", "--max_steps", steps, "--rewards", rewards]
    return hour.train(name, *start, *SHORT, config=config)


def cold_start(hour: Hour) -> str:
    """A cold start from fifty reasoning traces in a JSONL file."""
    traces = hour.folder / "traces.jsonl"
    write_traces(traces, 50)
    options = ["--cold_start_data", traces, "--cold_start_steps", "5", "--max_steps", "1"]
    process = hour.train("from-traces", *options, *SHORT, config=ROOT / "configs" / "ci.yaml")
    last_lines(process)
    lines = [line for line in process.stderr.splitlines() if "trace" in line.lower()]
    return indented([f"50 traces in {traces.name}", *lines[:2]])


def write_traces(file: Path, count: int) -> None:
    """Traces of Countdown, as somebody might have collected them."""
    from data.mixture import draw_problems, load_mixture
    from data.tasks import get_task

    task, rng = get_task("countdown"), random.Random(0)
    parts = load_mixture({"countdown": {"numbers": 2, "largest": 9, "attempts": 4}})
    assert task.demonstrate
    with file.open("w") as lines:
        for problem in draw_problems(parts, "train", count, 0):
            completion = task.demonstrate(problem, rng, parts[0].settings)
            row = {"prompt": problem.prompt, "completion": completion, "task_problem": problem.to_json()}
            lines.write(json.dumps(row) + "\n")


def own_benchmark_file(hour: Hour) -> str:
    """Evaluate on a local file shaped like GSM8K."""
    file = hour.folder / "gsm8k.jsonl"
    file.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in QUESTIONS))
    how = ["--benchmark", "gsm8k", "--benchmark-file", f"gsm8k={file}", "--max-new-tokens", "32", "--processes", "1"]
    where = ["--output", hour.folder / "benchmarks"]
    return last_lines(hour.call("scripts/evaluate.py", "--checkpoint", hour.run / "model", *how, *where), count=14)
