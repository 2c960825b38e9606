"""How long a test waits for what another process or thread does: so long that only what hangs is waited for in vain."""

import threading
import time
from collections.abc import Callable

PATIENCE = 900.0  # seconds; pytest-timeout ends a test after twice as many


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait for something that another process does; returns whether it happened."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        pause.wait(0.02)
    return True
