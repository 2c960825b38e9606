"""The fuzz targets under hypothesis: shorter than `make fuzz`, at every run of the suite."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seeds import seed_texts
from targets import TARGETS

PIECES = (
    "<think>", "</think>", "<THINK>", "\u200b", "\u3164", "\n", " ", "(", ")", "2", "6", "2 + 6", "(2+6)+6",
    "+", "-", "*", "/", "=", ".", "14", "144", "36", "none", "try", "or", "wait", "vs 14", "vs 144", "yes", "no", ",",
    "for 36 * 4 :", "6 * 4 = 24", "3 * 4 = 13", "6 + 6 = 12", "2 + 6 = 8", "8 + 6 = 14", "so 144", "let me check",
    "٢", "２", "×", "\\boxed{",
)  # fmt: skip


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join)
    | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
)
def test_no_text_breaks_a_target(target, text):
    target(text)


@contextmanager
def processor_seconds(limit: float) -> Iterator[None]:
    """Raise TimeoutError once this process has computed for `limit` seconds, whatever else the machine does."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {limit:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(
    "unit",
    [
        "1+1=2 ",
        "3 * 4 = 13 no ",
        "or 6+6=12 vs 14 no ",
        "try 6+2=8 vs 14 yes wait ",
        "wait 2+6=8 ",
        "for 1 + 1 : ",
        "so 12 ",
    ],
)
def test_a_text_without_end_is_read_in_linear_time(target, unit):
    with processor_seconds(20):  # linear time is below one, quadratic time would be minutes
        target(unit * (60_000 // len(unit)))


def test_fuzzing_begins_with_exploits_and_with_answers_of_mathematics():
    texts = seed_texts()
    assert len(texts) > 4_000 and any("boxed" in text for text in texts)
