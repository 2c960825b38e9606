"""An answer in the form of OpenAI's API, as far as no server is needed to see it."""

from dataclasses import replace

from serving import save_tiny

from eval.serve.chat_answer import Answer
from eval.serve.chat_request import read_chat_request
from eval.serve.listen import Options
from eval.serve.served import load_served


class Halves:
    """A tokenizer each of whose tokens is a part of a character, as those of byte-level BPE may be."""

    def decode(self, ids):
        return "\ufffd"


def test_the_bytes_of_a_token_are_its_own_or_none(tmp_path):
    served = load_served(save_tiny(tmp_path / "tiny"), Options())[1]
    question = [{"role": "user", "content": "numbers 2 6 8 target 14"}]
    answer = Answer(read_chat_request({"messages": question, "logprobs": True}, served), served)
    token = served.tokenizer("numbers", add_special_tokens=False)["input_ids"][0]
    logprob = answer._logprob(token, -0.5)
    assert bytes(logprob["bytes"]).decode() == logprob["token"] and "numbers" in logprob["token"]
    answer.served = replace(served, tokenizer=Halves())
    assert answer._logprob(token, -0.5)["bytes"] is None
