"""The fuzz targets under hypothesis: shorter than `make fuzz`, at every run of the suite."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(
    "unit", ["1+1=2 ", "3 * 4 = 13 no ", "or 6+6=12 vs 14 no ", "wait 2+6=8 ", "for 1 + 1 : ", "so 12 "]
)
def test_a_text_without_end_is_read_in_linear_time(target, unit):
    target(unit * (60_000 // len(unit)))  # quadratic time would be minutes
