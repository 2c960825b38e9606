"""A run to watch in the browser: its report, made anew as the run goes on, in a frame that reloads it.

Nothing here writes to a run but its report. The run itself brings the top of the page up to each evaluation, and makes
the whole page at some (`train.lifecycle.live_report`); a whole page that is current is left as it is.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from eval.report.page import newest_evaluation, page_evaluation, write_live_report, write_report
from train.files.run_lock import is_held
from train.files.untrusted import last_metrics
from train.page.html import environment, own, policy_hash

HERE = Path(__file__).parent
EVERY = 2.0  # seconds between two looks at the run
SHARE = 0.01  # of the time while a run goes on, that goes into its page
FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@dataclass
class Follower:
    """Keeps a run's page current. `words` says how the run stands, `failure` why there is no page.

    Costs are processor time. On a busy machine the clock would count the waiting too.
    """

    run: Path
    words: str = ""
    failure: str = ""
    whole: bool = False  # the page of a run that has ended was made, with all that it holds
    cost: float = 0.0  # seconds that the last page took
    start: float = -1e9  # when it was last begun, by the monotonic clock

    @property
    def page(self) -> Path:
        """Where the page lies."""
        return self.run / "report.html"

    def look(self, now: float) -> bool:
        """Look at the run once; returns whether the page was made anew."""
        going = is_held(self.run)
        try:
            self.words = _words(self.run, going)
            if going:
                self.whole = False
                if self._current() or now - self.start < self.cost / SHARE:
                    return False
            elif self.whole and self._current():
                return False
            self._make(going, now)
            self.failure = ""
        except (OSError, ValueError) as error:  # a file may go while it is looked at
            self.failure = str(error)
            return False
        return True

    def follow(self, end: threading.Event) -> None:
        """Look until `end` is set; looks that make no page take 1% of the time at most, as pages do."""
        pause = EVERY
        while not end.wait(pause):
            before = time.process_time()
            is_new = self.look(time.monotonic())
            pause = EVERY if is_new else max(EVERY, (time.process_time() - before) / SHARE)

    def _make(self, going: bool, now: float) -> None:
        """Write the page, and note what it cost, even where it fails."""
        before = time.process_time()
        try:
            if going:
                write_live_report(self.run)
            else:
                write_report(self.run)
                self.whole = True
        finally:
            self.cost, self.start = time.process_time() - before, now

    def _current(self) -> bool:
        """Whether the whole page is of the last evaluation, or, where there is none, of the last step."""
        return page_evaluation(self.page) >= newest_evaluation(self.run)


def _words(run: Path, going: bool) -> str:
    last = last_metrics(run / "metrics.jsonl")
    if last is None:
        return "waiting for its first step" if going else "no step was logged"
    return f"{'at' if going else 'ended at'} {'RL' if last['phase'] == 'rl' else last['phase']} step {last['step']:,}"


def make_watch_app(follower: Follower, hosts: list[str]) -> Starlette:
    """The page at `/`, the report in it, and what its script asks; answers to requests for `hosts` alone."""
    script = own(HERE / "watch.js")
    frame = environment(HERE).get_template("watch.html").render(run=follower.run.resolve().name, script=script)
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src '{policy_hash(script)}'; connect-src 'self'; "
        "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def index(request: Request) -> Response:
        return HTMLResponse(frame, headers=FRESH | {"Content-Security-Policy": policy})

    async def report(request: Request) -> Response:
        if follower.page.is_file():
            return FileResponse(follower.page, media_type="text/html", headers=FRESH)
        return HTMLResponse("<p>No page yet.</p>", headers=FRESH)

    async def state(request: Request) -> Response:
        return JSONResponse(state_of(follower), headers=FRESH)

    return Starlette(
        routes=[Route("/", index), Route("/report.html", report), Route("/state", state)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


def state_of(follower: Follower) -> dict[str, Any]:
    """How the run stands, and the version of its page; 0 where there is none."""
    version = follower.page.stat().st_mtime_ns if follower.page.is_file() else 0
    return {"version": str(version), "words": follower.words, "failure": follower.failure}
