import pytest
from scripted import FOURTEEN, SUM, chat_tokenizer, completion, scripted

from eval.measures.sample_measures import rates
from eval.probes.second_turn import INSTRUCTION, MEASURES, ask_again

GAVE_UP = "<think> try 6 * 2 = 12 , 12 + 6 = 18 vs 14 no</think> none"
SOLVED = "<think> 25 + 17 = 42 vs 42 yes</think> 42"


def test_a_model_of_task_words_gets_its_thinking_reopened(tokenizer):
    def reply(prompt):
        return " try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes</think> ( 2 + 6 ) + 6" if "target" in prompt else "</think> 41"

    subject = scripted(tokenizer, reply)
    before = [completion(subject, FOURTEEN, GAVE_UP), completion(subject, SUM, SOLVED)]
    rows = ask_again(subject, before)
    assert subject.decode(subject.backend.prompts[0]).endswith(GAVE_UP.split("</think>")[0])
    found = {name: figure.value for name, figure in rates(rows, MEASURES).items()}
    assert (found["accuracy_first"], found["accuracy_second"], found["difference"]) == (1 / 2, 1 / 2, 0)
    assert (found["incorrect_to_correct"], found["correct_to_incorrect"]) == (1, 1)
    assert (found["went_on_when_wrong"], found["went_on_when_right"]) == (1, 0)
    assert found["reconsidered"] == 1  # the second did not go on, but its answer changed


def test_a_second_turn_that_changed_nothing_does_not_exclude_a_loss():
    row = {"task": "arithmetic", "first": True, "second": True, "changed": False, "went_on": False, "text": ""}
    measured = rates([row | {"problem": f"p{number}"} for number in range(200)], MEASURES)
    found = measured["difference"]
    assert measured["reconsidered"].value == 0
    assert (found.value, found.low, found.high) == pytest.approx((0, -0.0188, 0.0188), abs=1e-4)


def test_a_chat_model_is_asked_in_a_second_turn_behind_its_own_ids():
    subject = scripted(chat_tokenizer(), lambda _: SOLVED)
    before = completion(subject, SUM, "<think>twenty</think>41")
    (row,) = ask_again(subject, [before])
    (prompt,) = subject.backend.prompts
    own = subject.prompt(SUM) + before.ids
    assert prompt[: len(own)] == own
    behind = subject.tokenizer.decode(prompt[len(own) :])
    assert behind == f"\n<|im_start|>user\n{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n"
    assert (row["first"], row["second"], row["text"]) == (False, True, SOLVED)


def test_who_never_answered_is_not_asked_again(tokenizer):
    subject = scripted(tokenizer)
    cut_off = subject.read(FOURTEEN, subject.encode("<think> try 2 + 6"), ended=False)
    assert ask_again(subject, [cut_off]) == []
