"""A server of a tiny model, in this process, as scripts/serve.py starts it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import torch
import uvicorn
from patience import PATIENCE

from eval.serve.app import make_app
from eval.serve.batcher import Batcher
from eval.serve.listen import Options, listen
from eval.serve.patient_http import PatientHTTP
from eval.serve.served import Served, load_served
from train.model.scratch import build_model, build_tokenizer
from train.rollout.engine import RolloutEngine

PLAIN = Options()
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
}


def save_tiny(path, *, opened: bool = True, context: int = 256) -> str:
    """A checkpoint of random weights; `opened` has its template open the thinking."""
    tokenizer = build_tokenizer()
    if opened:
        tokenizer.chat_template = tokenizer.chat_template.replace("'<|assistant|>'", "'<|assistant|><think>'")
    torch.manual_seed(0)
    build_model(TINY | {"max_position_embeddings": context}, tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@contextmanager
def running(checkpoint: str, options: Options = PLAIN, *, rows: int = 8, waiting: int = 64, **changes):
    """A server at `url`, with its `batcher` and what is `served`."""
    model, served = load_served(checkpoint, options)
    served = replace(served, **changes)
    batcher = Batcher(
        RolloutEngine(model, max_rows=rows), served.sampling, longest=served.longest, most_waiting=waiting
    )
    with serving(served, batcher.start()) as server:
        yield server
    batcher.close()


@contextmanager
def serving(served: Served, batcher, *, body_seconds: float = PATIENCE) -> Iterator[SimpleNamespace]:
    """Uvicorn in a thread, over any batcher."""
    door = listen("127.0.0.1", 0)
    app = make_app(served, batcher, body_seconds=body_seconds)
    server = uvicorn.Server(uvicorn.Config(app, http=PatientHTTP, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{door.getsockname()[1]}"
    try:
        yield SimpleNamespace(url=url, batcher=batcher, served=served)
    finally:
        server.should_exit = True
        thread.join()
        door.close()


class Recital:
    """Stands in for a batcher: recites `text`, one token a step, whatever is asked."""

    def __init__(self, tokenizer, text: str, *, finish_reason: str = "stop") -> None:
        self.ids = tokenizer.encode(text, add_special_tokens=False)
        if finish_reason == "stop":
            self.ids.append(tokenizer.eos_token_id)
        self.finish_reason = finish_reason
        self.failure = None
        self.running = self.open = 0

    def submit(self, prompt, samples, sampling, deliver) -> int:
        from train.rollout.interface import Rollout
        from train.rollout.session import Progress

        for place, token in enumerate(self.ids):
            last = place == len(self.ids) - 1
            for sample in range(samples):
                whole = Rollout(self.ids, self.finish_reason) if last else None
                deliver(Progress(1, sample, [token], [-0.5], whole))
        return 1

    def cancel(self, ticket: int) -> None:
        pass
