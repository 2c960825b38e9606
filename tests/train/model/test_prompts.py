import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from data.mixture import draw_problems, load_mixture
from train.model.prompts import messages, opens_thinking, prompt_ids, token_counts


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
