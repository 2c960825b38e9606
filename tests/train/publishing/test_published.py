"""What a run publishes: nothing of its optimiser, a card with its figures, its best decoding."""

import json
import shutil
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import ClassVar

import pytest
import yaml
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from train.files.checkpoints import seal
from train.publishing.published import publish_finished, publishable, refresh

PRIVATE = ("optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin", "progress-rank0.pt")


@pytest.fixture
def run(tmp_path, checkpoint):
    """A run folder with one whole checkpoint, secrets of training in it, and an evaluation."""
    run = tmp_path / "my-run"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = checkpoint.rename(run / "checkpoints" / "checkpoint-20")
    for name in PRIVATE:
        (checkpoint / name).write_bytes(b"private")
    seal(checkpoint)
    config = {"name": "my-run", "model": "scratch", "tasks": {"countdown": {"largest": 12}}, "method": "grpo"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    machine = {"seed": 7, "packages": {"torch": "2.13.0"}, "processor": "a processor", "cores": 2, "gpus": []}
    (run / "environment.json").write_text(
        json.dumps(machine | {"git_commit": "abc", "command": ["__main__.py", "--config", "c.yaml"]})
    )
    steps = [{"phase": "rl", "step": step, "accuracy": step / 100, "entropy": 0.5} for step in range(1, 31)]
    steps.append({"phase": "rl", "step": 20, "eval_accuracy": 0.25})
    (run / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (run / "evaluation").mkdir()
    row = {"best_temperature": 0.3, "best_accuracy": 0.825, "best_interval": [0.79, 0.86]}
    results = {"checkpoints": [row | {"checkpoint": str(checkpoint)}]}
    (run / "evaluation" / "results.json").write_text(json.dumps(results))
    return run


def test_weights_and_tokenizer_load_and_nothing_of_training_is_there(run):
    model = publishable(run)
    assert not {file.name for file in model.iterdir()} & set(PRIVATE)
    AutoModelForCausalLM.from_pretrained(model)
    AutoTokenizer.from_pretrained(model)


def test_the_best_decoding_is_the_models_default_and_the_checkpoints_own_stays(run):
    before = (run / "checkpoints" / "checkpoint-20" / "generation_config.json").read_bytes()
    decoding = GenerationConfig.from_pretrained(publishable(run))
    assert decoding.do_sample and decoding.temperature == 0.3
    assert (run / "checkpoints" / "checkpoint-20" / "generation_config.json").read_bytes() == before


def test_the_card_names_base_data_seed_versions_and_the_interval(run):
    text = (publishable(run, "mit") / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "mit" and header["library_name"] == "transformers"
    for words in (
        "82.5% [79.0%, 86.0%]",
        '`countdown`: {"largest": 12}',
        "seed 7",
        "torch 2.13.0",
        "commit abc",
        "-m train --config c.yaml",
    ):
        assert words in text


def test_the_card_shows_the_curve_up_to_the_published_step(run):
    text = (publishable(run) / "README.md").read_text()
    assert "| step | accuracy | on validation problems | entropy, nats |\n|---|---|---|---|\n" in text
    assert "| 20 | 20.0% | 25.0% | 0.50 |" in text and "| 30 |" not in text
    (run / "metrics.jsonl").unlink()
    assert "No step was logged." in (publishable(run) / "README.md").read_text()


def test_a_later_evaluation_is_brought_into_what_is_published_and_the_licence_stays(run):
    results = run / "evaluation" / "results.json"
    later = results.read_text()
    results.unlink()
    assert refresh(run) == ""
    assert not (run / "model").exists()  # nothing was published, so there is nothing to bring up to date
    assert publish_finished(run).startswith(f"To publish: {run / 'model'}")
    assert "Not evaluated yet" in (run / "model" / "README.md").read_text()
    publishable(run, "mit")
    results.write_text(later)
    assert refresh(run) == ""
    text = (run / "model" / "README.md").read_text()
    assert "82.5% [79.0%, 86.0%]" in text and "license: mit" in text
    assert GenerationConfig.from_pretrained(run / "model").temperature == 0.3


def test_a_finished_run_that_cannot_be_published_says_so_in_one_line(run):
    (run / "checkpoints" / "checkpoint-20" / "model.safetensors").write_bytes(b"damaged")
    line = publish_finished(run)
    assert "no whole checkpoint" in line and line.endswith(f"python scripts/publish.py {run}") and "\n" not in line


def evaluated(run, accuracies):
    """Checkpoints at these steps, and an evaluation: accuracy on the problems of the choice, and on the reported."""
    kept = run / "checkpoints" / "checkpoint-20"
    rows = []
    for step, (choice, reported) in accuracies.items():
        checkpoint = run / "checkpoints" / f"checkpoint-{step}"
        if step != 20:
            shutil.copytree(kept, checkpoint)
        decodings = [
            {"temperature": 0.3, "validation": choice and {"value": choice}},
            {"temperature": 1.0, "validation": choice and {"value": choice + 0.3}},  # not its best
        ]
        figures = {"best_temperature": 0.3, "best_accuracy": reported, "best_interval": [reported, reported]}
        rows.append(figures | {"checkpoint": f"runs/my-run/checkpoints/checkpoint-{step}", "decodings": decodings})
    (run / "evaluation" / "results.json").write_text(json.dumps({"checkpoints": rows}))


@pytest.mark.parametrize(
    ("accuracies", "published"),
    [
        ({20: (0.5, 0.5), 30: (0.4, 0.9)}, "Step 20 (of 30; the best on validation problems) of"),
        ({20: (0.4, 0.9), 30: (0.5, 0.5)}, "Step 30 of"),
        ({20: (0.5, 0.5), 30: (0.5, 0.4)}, "Step 30 of"),  # of two alike the later one
        ({20: (None, 0.9), 30: (None, 0.5)}, "Step 30 of"),  # at one temperature: nothing was chosen on other problems
    ],
)
def test_the_last_checkpoint_is_published_or_the_best_one_on_problems_that_are_not_reported(run, accuracies, published):
    evaluated(run, accuracies)
    assert published in (publishable(run) / "README.md").read_text()


def test_an_evaluation_that_the_run_has_left_behind_chooses_nothing(run):
    evaluated(run, {20: (0.9, 0.9), 30: (0.5, 0.5)})
    shutil.copytree(run / "checkpoints" / "checkpoint-20", run / "checkpoints" / "checkpoint-40")
    assert "Step 40 of" in (publishable(run) / "README.md").read_text()
    (run / "checkpoints" / "checkpoint-40" / "model.safetensors").write_bytes(b"damaged")
    assert "Step 20 (of 30; the best" in (publishable(run) / "README.md").read_text()
    (run / "checkpoints" / "checkpoint-20" / "model.safetensors").write_bytes(b"damaged")
    assert "Step 30 of" in (publishable(run) / "README.md").read_text()


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("environment.json", "{}", "a file of the run has no 'packages'"),
        ("environment.json", "not JSON", "environment.json"),
        ("evaluation/results.json", "[]", "results.json"),
        ("evaluation/results.json", '{"checkpoints": 3}', "results.json"),
        ("config.yaml", "name: my-run", "a file of the run has no 'model'"),
        ("metrics.jsonl", '{"step": 1}\n', "metrics.jsonl"),
    ],
)
def test_a_file_that_is_not_as_the_run_wrote_it_costs_the_card_and_not_the_evaluation(run, file, text, reason):
    publishable(run)
    (run / file).write_text(text)
    line = refresh(run)
    assert reason in line and line.count("\n") == 1 and line.endswith(f"python scripts/publish.py {run}\n")
    assert (run / "model" / "README.md").is_file()  # the one before


def test_a_run_without_a_whole_checkpoint_is_one_line(run, script):
    (run / "checkpoints" / "checkpoint-20" / "model.safetensors").write_bytes(b"damaged")
    done = script("publish", run)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and "no whole checkpoint" in done.stderr


class Hub(BaseHTTPRequestHandler):
    """A stand-in for the hub's API, which writes down what it is asked."""

    requests: ClassVar[list[str]] = []
    refuses = False

    def do_POST(self) -> None:
        """Answer a creation, a preupload or a commit."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.requests.append(self.path + "\n" + body)
        if self.refuses:
            self.send_response(401)
            self.end_headers()
            return
        answer = {
            "url": "https://huggingface.co/you/model",
            "id": "you/model",
            "commitUrl": "https://huggingface.co/you/model/commit/1",
            "commitOid": "1" * 40,
        }
        if "preupload" in self.path:
            files = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.mark.parametrize("refuses", [False, True])
def test_a_push_sends_the_folder_to_the_hub_and_a_refusal_is_one_line(run, monkeypatch, script, refuses):
    Hub.requests, Hub.refuses = [], refuses
    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    done = script("publish", run, "--push", "you/model")
    server.shutdown()
    if refuses:
        assert done.returncode == 2 and "could not be uploaded" in done.stderr and "hf auth login" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    commit = next(request for request in Hub.requests if "/commit/" in request)
    assert '"path":"README.md"' in commit.replace(" ", "") and "optimizer" not in commit


def test_a_push_without_a_network_is_one_line(run, monkeypatch, script):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    done = script("publish", run, "--push", "you/model")
    assert done.returncode == 2 and done.stderr.startswith("error: you/model could not be uploaded: "), done.stderr
    assert done.stderr.count("\n") == 1 and "Check the network" in done.stderr
