import copy
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data.mixture import draw_problems, load_mixture
from data.response import CLOSE, OPEN
from eval.sampling.teacher import CheckpointTeacher
from eval.serve.reader import CompletionReader
from train.model.judged import judged
from train.model.prompts import completion_text, messages, opens_thinking, prompt_ids, token_counts
from train.rewards.functions import OwnWithRows
from train.rollout.interface import Rollout


@pytest.fixture
def character_tokenizer():
    """A tokenizer for which no tag is a token of its own."""
    letters = {letter: number for number, letter in enumerate(map(chr, range(32, 127)))}
    core = Tokenizer(models.WordLevel(letters, unk_token=" "))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, clean_up_tokenization_spaces=False, chat_template="{{ messages[-1]['content'] }}<think>"
    )


@pytest.mark.parametrize(
    ("completion", "counts"),
    [
        ("<think> try 2 + 6 = 8</think> 8<|end|>", (6, 1)),
        ("<think></think> 8", (0, 1)),
        ("<think> try 2 + 6", (4, 0)),
        ("8 + 6", (0, 3)),
        ("<think> 8</think>", (1, 0)),
    ],
)
def test_thinking_and_answer_are_counted_by_id(tokenizer, completion, counts):
    assert token_counts(tokenizer, tokenizer.encode(completion), opened=False) == counts


@pytest.fixture
def special_tag_tokenizer(tokenizer):
    """The scratch tokenizer, its tags special tokens as those of many instruct models are."""
    special = copy.deepcopy(tokenizer)
    special.add_special_tokens({"additional_special_tokens": [OPEN, CLOSE]})
    return special


def test_tags_that_are_special_tokens_are_read_and_counted_as_others_are(tokenizer, special_tag_tokenizer):
    problem = draw_problems(load_mixture({"arithmetic": {}}), "test", 2, 0)[0]
    ids = tokenizer.encode("<think> try 2 + 6 = 8</think> 8<|end|>")
    assert special_tag_tokenizer.decode(ids, skip_special_tokens=True) == " try 2 + 6 = 8 8"
    assert completion_text(special_tag_tokenizer, ids) == "<think> try 2 + 6 = 8</think> 8"
    assert token_counts(special_tag_tokenizer, ids, opened=False) == (6, 1)
    rows = [judged(problem, ids, own, opened=False, truncated=False)[0] for own in (tokenizer, special_tag_tokenizer)]
    assert rows[0] == rows[1] and rows[0]["format"]


def test_the_text_of_a_completion_is_the_tokenizers_own_without_special_tokens(tokenizer):
    ids = tokenizer.encode("<|user|> 1 + 1<|assistant|><think> try 2</think> 2<|end|><|pad|>")
    assert completion_text(tokenizer, ids) == tokenizer.decode(ids, skip_special_tokens=True)


def test_counting_where_the_prompt_opened_the_thinking(tokenizer):
    assert token_counts(tokenizer, tokenizer.encode(" try 8</think> 8"), opened=True) == (2, 1)


def test_counting_where_tags_are_several_tokens(character_tokenizer):
    ids = character_tokenizer.encode("<think>abcd</think>xyz")
    assert token_counts(character_tokenizer, ids, opened=False) == (4, 3)
    assert token_counts(character_tokenizer, character_tokenizer.encode("ab</think>x"), opened=True) == (2, 1)


def test_templates_that_open_the_thinking_are_noticed(tokenizer, character_tokenizer):
    assert not opens_thinking(tokenizer)
    assert opens_thinking(character_tokenizer)


def test_the_system_prompt_task_gives_the_tasks_own_instructions():
    problem = draw_problems(load_mixture({"countdown": {}}), "test", 2, 0)[0]
    assert [message["role"] for message in messages(problem)] == ["user"]
    assert "exactly once" in messages(problem, "task")[0]["content"]
    assert messages(problem, "Be brief.")[0]["content"] == "Be brief."


def test_the_prompt_ends_where_the_assistant_speaks(tokenizer):
    problem = draw_problems(load_mixture({"countdown": {}}), "test", 2, 0)[0]
    assert tokenizer.decode(prompt_ids(tokenizer, messages(problem))).endswith("<|assistant|>")


def test_a_reward_of_the_users_a_teacher_and_a_client_see_tags_that_are_special_tokens(special_tag_tokenizer, tmp_path):
    text = "<think> try 2 + 6 = 8</think> 8"
    ids = [*special_tag_tokenizer.encode(text, add_special_tokens=False), special_tag_tokenizer.eos_token_id]
    (tmp_path / "own.py").write_text(
        "def seen(completions, **_):\n    return [each[0]['content'].startswith('<think>') for each in completions]"
    )
    reward = OwnWithRows(f"{tmp_path}/own.py:seen", SimpleNamespace(rows=[{"completion": text}]))
    without = special_tag_tokenizer.decode(ids, skip_special_tokens=True)  # as TRL hands it over
    assert reward(completion_ids=[ids], completions=[[{"role": "assistant", "content": without}]]) == [1.0]
    answers = []
    backend = SimpleNamespace(draw=lambda prompts, numbers, sampling, finished: finished(0, Rollout(ids, "stop")))
    candidate = SimpleNamespace(tokenizer=special_tag_tokenizer, name="teacher", backend=backend)
    problem = draw_problems(load_mixture({"arithmetic": {}}), "train", 1, 0)[0]
    CheckpointTeacher(candidate, None).ask([(problem, 0)], lambda asked, answer: answers.append(answer))
    assert [answer.completion for answer in answers] == [text]
    reader = CompletionReader(special_tag_tokenizer, opened=False)
    assert reader.add(ids, last=True).thinking == " try 2 + 6 = 8"
