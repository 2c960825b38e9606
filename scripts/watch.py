"""Watch a run in the browser while it trains: its report, which reloads by itself after every evaluation.

    python scripts/watch.py runs/quickstart
    python scripts/watch.py runs/quickstart --port 8001

The page shows the newest rollouts with every step marked. Ctrl-C ends the watching, not the run.
"""

import os
import sys
import threading
from pathlib import Path

from data.paths import user_path
from data.terminal import CommandLine, command
from eval.options import add_own_tasks
from eval.sampling.source import load_own_tasks
from eval.serve.listen import listen, own_names, refuse_missing, url


@command
def main() -> int:
    """Run the command line; returns the exit code."""
    parser = CommandLine(__doc__)
    parser.add_argument("run", type=user_path, help="a run folder, such as runs/quickstart")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8800, help="0 picks a free port")
    add_own_tasks(parser)
    options = parser.parse_args()
    try:
        refuse_missing()
        if not (options.run / "config.yaml").is_file():
            raise ValueError(f"{options.run} is not a run folder: it has no config.yaml; give runs/NAME.")
        if not 0 <= options.port <= 65535:
            raise ValueError(f"--port is {options.port}; expected 0 to 65535.")
        if options.own_tasks:
            load_own_tasks(options.run / "config.yaml")  # so that their parsers mark the thinkings
        watch(options.run, options.host, options.port)
    except KeyboardInterrupt:  # Ctrl-C is how it ends
        return 0
    return 0


def watch(run: Path, host: str, port: int) -> None:
    """Serve until a signal ends the process. Raises ValueError where it cannot listen there."""
    import uvicorn  # an extra

    from eval.report.watch import Follower, make_watch_app
    from eval.serve.patient_http import PatientHTTP

    with listen(host, port) as door:
        os.nice(10)  # the run comes first
        follower, end = Follower(run), threading.Event()
        thread = threading.Thread(target=follower.follow, args=(end,), daemon=True)
        thread.start()
        print(f"Watching {run} at {url(door)}/", flush=True)
        app = make_watch_app(follower, own_names(host))
        config = uvicorn.Config(app, http=PatientHTTP, log_level="warning", timeout_graceful_shutdown=1)
        try:
            uvicorn.Server(config).run(sockets=[door])
        finally:
            end.set()


if __name__ == "__main__":
    sys.exit(main())
