"""Reading a stream of tokens: whatever the pieces, what comes out is what the whole text is parsed into."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.response import parse_response
from eval.serve.reader import CompletionReader, Splitter

PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "think", ">", " ", "\n", "a", "12 ", "END", "E", "N"])
)


def split(pieces, **how):
    splitter = Splitter(**how)
    deltas = [splitter.add(piece, last=n == len(pieces) - 1) for n, piece in enumerate(pieces)]
    return "".join(d.thinking for d in deltas), "".join(d.answer for d in deltas), splitter


@given(PIECES, st.booleans())
def test_thinking_and_answer_are_those_that_training_judges(pieces, opened):
    text = "".join(pieces)
    thinking, answer, _ = split([*pieces, ""], opened=opened)
    response = parse_response(text, opened)
    if response.fault and response.fault.startswith("does not begin"):
        assert (thinking, answer) == ("", text.strip())
    else:
        assert (thinking, answer) == (response.thinking, response.answer)


@given(PIECES, st.booleans())
def test_how_a_text_is_cut_changes_nothing(pieces, opened):
    text = "".join(pieces)
    assert split([*pieces, ""], opened=opened, stops=["END"])[:2] == split([text, ""], opened=opened, stops=["END"])[:2]


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [(["a E", "N", "D b"], "a"), (["a EN", "E"], "a ENE"), (["aENDbEND"], "a"), ([" END"], ""), (["xSTOP END"], "x")],
)
def test_a_stop_string_ends_the_answer_and_is_left_out(pieces, answer):
    thinking, said, splitter = split(["<think>END</think>", *pieces, ""], opened=False, stops=["END", "STOP"])
    assert (thinking, said) == ("END", answer)
    assert splitter.stopped == ("END" in "".join(pieces) or "STOP" in "".join(pieces))


def test_tokens_give_the_text_of_the_whole(tokenizer):
    text = "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    reader = CompletionReader(tokenizer, opened=False)
    deltas = [reader.add([token], last=n == len(ids) - 1) for n, token in enumerate(ids)]
    assert "".join(delta.thinking for delta in deltas) == " try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes"
    assert "".join(delta.answer for delta in deltas) == "( 2 + 6 ) + 6"
    assert sum(bool(delta.thinking) for delta in deltas) > 5  # as it comes, not at the end


def test_a_character_of_several_tokens_comes_whole():
    class Bytes:
        """A byte-level tokenizer."""

        added_tokens_decoder = MappingProxyType({})
        all_special_ids = ()

        def decode(self, ids):
            return bytes(ids).decode(errors="replace")

    text = "<think>für 3 € 😀</think>ja €"
    reader = CompletionReader(Bytes(), opened=False)
    data = text.encode()
    deltas = [reader.add([byte], last=n == len(data) - 1) for n, byte in enumerate(data)]
    assert "".join(delta.thinking for delta in deltas) == "für 3 € 😀"
    assert "".join(delta.answer for delta in deltas) == "ja €"
    assert not any("\ufffd" in delta.thinking + delta.answer for delta in deltas)
    cut = CompletionReader(Bytes(), opened=True)
    assert cut.add("€".encode()[:2], last=True).thinking == "\ufffd"  # cut off within a character
