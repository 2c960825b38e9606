import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import FOURTEEN, SUM, chat_tokenizer, completion, scripted

from eval.sampling.alter import replaced, restate, thinking_ids
from eval.sampling.subject import ask, cut, go_on
from train.model.scratch import build_tokenizer

SCRATCH, BYTES = build_tokenizer(), chat_tokenizer()
THINKING = "<think> 25 + 10 = 35 vs 35 yes 35 + 7 = 42 vs 42 yes</think> 42"


@pytest.mark.parametrize("tokenizer", [SCRATCH, BYTES], ids=["words", "bytes"])
@settings(max_examples=50)
@given(place=st.integers(0, len(THINKING)))
def test_a_cut_keeps_whole_ids_and_hands_over_the_rest_of_the_text(tokenizer, place):
    subject = scripted(tokenizer)
    ids = subject.encode(THINKING)
    kept, rest = cut(subject, ids, place)
    assert kept == ids[: len(kept)]
    assert subject.decode(kept) + rest == THINKING[:place]


@settings(max_examples=50)
@given(st.tuples(st.integers(0, 44), st.integers(0, 44)).map(sorted))
def test_a_replacement_changes_its_characters_and_no_other(places):
    subject = scripted(BYTES)
    before = completion(subject, SUM, THINKING)
    start, end = places
    ids = replaced(subject, before, start, end, "no")
    assert subject.decode(ids) == f"<think>{before.thinking[:start]}no{before.thinking[end:]}</think> 42"


def test_a_replacement_reaches_into_tokens_of_several_characters():
    subject = scripted(SCRATCH)
    before = completion(subject, SUM, THINKING)
    step = before.trace.steps[0]
    ids = replaced(subject, before, step.start, step.end, "25 - 10 = 15")
    assert subject.decode(ids) == THINKING.replace("25 + 10 = 35", "25 - 10 = 15")
    behind = len(subject.encode("<think> 25 + 10 = 35"))  # as many tokens as before
    assert ids[behind:] == before.ids[behind:]


def test_a_restated_step_keeps_the_models_own_ids_before_it():
    subject = scripted(SCRATCH)
    # A model may spell 35 in two tokens; encoding its text anew would give one.
    own = [*subject.encode("<think> 25 + 10 = 3"), *subject.encode("5"), *subject.encode(" vs 35 yes 35 + 7 = 42")]
    before = subject.read(SUM, own, ended=False)
    assert own != subject.encode(before.text)
    ids = restate(subject, before, before.trace.steps[1], 44)
    assert subject.decode(ids) == "<think> 25 + 10 = 35 vs 35 yes 35 + 7 = 44"
    assert ids[:-1] == own[:-1]


def test_the_thinking_is_cut_by_its_tokens():
    subject = scripted(SCRATCH)
    before = completion(subject, SUM, THINKING)
    assert subject.decode(thinking_ids(subject, before)) == THINKING.split("</think>")[0]
    assert subject.decode(thinking_ids(subject, before, 0.5)) == "<think> 25 + 10 = 35 vs 35 yes"
    assert subject.decode(thinking_ids(subject, before, 0.0)) == "<think>"


def test_what_is_asked_is_read_with_what_stood_there_before():
    subject = scripted(SCRATCH, lambda prompt: " 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6")
    start = subject.encode("<think> try 2 + 6 = 8 ,")
    (after,) = go_on(subject, [(FOURTEEN, start)])
    assert subject.backend.prompts == [subject.prompt(FOURTEEN) + start]
    assert after.correct and after.trace.first_correct
    assert len(ask(subject, [FOURTEEN, SUM], 3)) == 6


def test_a_completion_that_was_cut_off_is_not_correct():
    subject = scripted(SCRATCH)
    text = "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6"
    assert not subject.read(FOURTEEN, subject.encode(text), ended=False).correct


def test_only_a_vocabulary_of_more_than_the_tasks_words_reads_english():
    assert scripted(BYTES).can_read("There might be an error.")
    assert not scripted(SCRATCH).can_read("There might be an error.")
