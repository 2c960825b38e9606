"""The progress of sampling."""

from collections.abc import Callable

from tqdm import tqdm

Progress = Callable[[int], None]  # called with how many samples have come since the last time


def sample_bar(total: int) -> "tqdm[None]":
    """A progress bar with an estimate of the time left; it appears with the first sample."""
    return tqdm(total=total, unit="sample", dynamic_ncols=True, delay=0.1)


class SampleCount:
    """Counts samples up to `expected` and reports them; samples that turn out not to be needed count as finished."""

    def __init__(self, expected: int, progress: Progress | None) -> None:
        self.remaining = expected
        self.progress = progress

    def __call__(self, finished: int) -> None:
        """Count some samples."""
        self.remaining -= finished
        if self.progress is not None:
            self.progress(finished)

    def fill_up(self) -> None:
        """Count the samples that were not needed."""
        self(max(0, self.remaining))
