import pytest
from scripted import FOURTEEN, SUM, completion, scripted

from eval.probes.probing import STAGES

# What a model in training has written, or may: nothing, a value at once, half a step, doubt alone, no tags.
ODD = [
    (SUM, "<think> so 42</think> 42"),
    (SUM, "<think> so 42 wait so 42 wait</think> 42"),
    (SUM, "<think> wait wait 25 + 17 = 42 vs 42 yes wait 25 + 17 = 42 vs 42 yes</think> 42"),
    (SUM, "<think> for 25 + 17 :</think> 42"),
    (SUM, "<think></think> 42"),
    (SUM, "<think> 25 +"),
    (SUM, "42"),
    (SUM, ""),
    (FOURTEEN, "<think> vs 14 yes</think> ( 2 + 6 ) + 6"),
    (FOURTEEN, "<think> try vs 14 yes or vs 14 no</think> ( 2 + 6 ) + 6"),
    (FOURTEEN, "<think> or wait 2 + 6 = 8 wait or</think> ( 2 + 6 ) + 6"),
    (FOURTEEN, "<think> try 2 + 6 = 8 , 8 + 6 = 14 vs 14 yes wait 8 + 6 = 14 vs 14 no</think> ( 2 + 6 ) + 6"),
    (FOURTEEN, "<think></think></think> none"),
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("reply", ["", "</think> 42", " so 42</think> 42", " try vs 14 yes</think> ( 2 + 6 ) + 6"])
def test_no_thinking_ends_a_probe(tokenizer, stage, reply):
    subject = scripted(tokenizer, lambda _: reply)
    run, _, _ = STAGES[stage]
    for problem, text in ODD:
        run(subject, [completion(subject, problem, text)], 0)
    run(subject, [completion(subject, problem, text) for problem, text in ODD], 0)
