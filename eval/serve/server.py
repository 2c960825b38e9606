"""Starts a server from a checkpoint's name; checks all it can before it loads the model."""

import socket

from eval.serve.batcher import Batcher
from eval.serve.listen import Listening, Options, listen, refuse_missing, url
from eval.serve.served import Served, load_served
from train.rollout.engine import RolloutEngine


def serve(checkpoint: str, options: Options, listening: Listening) -> None:
    """Serve until a signal ends the process. Raises ValueError, in one line, where that cannot begin."""
    refuse_missing()
    with listen(listening.host, listening.port) as door:
        model, served = load_served(checkpoint, options)
        engine = RolloutEngine(model, cache_gib=listening.cache_gib, max_rows=listening.rows)
        batcher = Batcher(engine, served.sampling, longest=served.longest, most_waiting=listening.waiting).start()
        try:
            _run(served, batcher, door)
        finally:
            batcher.close()


def _run(served: Served, batcher: Batcher, door: socket.socket) -> None:
    import uvicorn  # an extra: the rest of this file says so where it is missing

    from eval.serve.app import make_app
    from eval.serve.patient_http import PatientHTTP

    print(f"Serving {served.name} at {url(door)}/v1; chat at {url(door)}/", flush=True)
    config = uvicorn.Config(
        make_app(served, batcher), http=PatientHTTP, log_level="warning", timeout_keep_alive=30,
        h11_max_incomplete_event_size=65536, timeout_graceful_shutdown=5,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[door])
