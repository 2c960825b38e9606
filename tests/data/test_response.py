import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.response import parse_response


def test_thinking_and_answer_are_told_apart():
    response = parse_response("<think> try 2 + 6 = 8</think> 2 + 6 \n")
    assert response.fault is None
    assert (response.thinking, response.answer) == (" try 2 + 6 = 8", "2 + 6")


@pytest.mark.parametrize(
    ("completion", "fault"),
    [
        ("8 + 6", "does not begin"),
        ("So: <think> a</think> b", "does not begin"),
        ("<think> 8 + 6", "no </think>"),
        ("<think> answer 8 + 6 </think>", "no answer"),
        ("<think></think> 8 + 6", "empty thinking"),
        ("<think> \n </think> 8 + 6", "empty thinking"),
        ("<think> a <think> b </think> 8", "more than one"),
        ("<think> a </think> 8 </think> 9", "more than one"),
        ("<think> a </think> 8 <think> b </think>", "more than one"),
        ("<think> a</think> " + "1" * 17_000, "longer"),
    ],
)
def test_a_wrong_form_is_named(completion, fault):
    assert fault in parse_response(completion).fault


def test_a_prompt_that_opens_the_thinking_is_allowed_for():
    assert parse_response(" try</think> 8", thinking_opened=True).answer == "8"
    assert parse_response("<think> try</think> 8", thinking_opened=True).fault == "more than one thinking block"


@given(st.lists(st.sampled_from(["<think>", "</think>", " 8 + 6", "\n", "<", "think>"]), max_size=12))
def test_an_answer_never_comes_from_inside_the_thinking(pieces):
    response = parse_response("".join(pieces))
    if response.fault is None:
        assert "".join(pieces).rindex("</think>") < "".join(pieces).rindex(response.answer)
        assert "<think>" not in response.answer
