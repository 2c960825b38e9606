"""Splits sampled tokens into thinking and answer as they come; the text only ever grows.

The pieces together equal what `data.response.parse_response` gives for the whole completion, so a client's stream is
what training judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from data.response import CLOSE, OPEN
from train.model.prompts import hidden_ids

Place = Literal["before", "thinking", "answer"]
_LONGEST_CHARACTER = 8  # tokens; no character takes more
_UNFINISHED = "\ufffd"  # a decoder's sign for a character that continues in the next token


@dataclass(frozen=True, slots=True)
class Delta:
    """The text that some tokens added."""

    thinking: str = ""
    answer: str = ""


class TokenText:
    """The text of tokens as they come. A character that spans several tokens comes with the last of them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._hidden = hidden_ids(tokenizer)
        self._ids: list[int] = []  # the tokens decoded last, which decide on the next one's space, and new ones
        self._decoded = 0  # how many of them were returned

    def add(self, ids: Sequence[int], *, last: bool = False) -> str:
        """The text that `ids` add; `last` also returns the rest of an unfinished character."""
        self._ids += [token for token in ids if token not in self._hidden]
        before, whole = self._decode(self._ids[: self._decoded]), self._decode(self._ids)
        if whole.endswith(_UNFINISHED) and not last and len(self._ids) - self._decoded < _LONGEST_CHARACTER:
            return ""
        self._ids, self._decoded = self._ids[self._decoded :], len(self._ids) - self._decoded
        return whole[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids)) if ids else ""


class Splitter:
    """Thinking and answer, and the stop strings that end an answer. `stopped` says that one came."""

    def __init__(self, *, opened: bool, stops: Sequence[str] = ()) -> None:
        self.place: Place = "thinking" if opened else "before"
        self.stopped = False
        self._stops = stops
        self._buffer = ""  # text whose meaning the next token may change
        self._answered = False

    def add(self, text: str, *, last: bool = False) -> Delta:
        """The parts that `text` adds to thinking and answer; `last` also returns all text held back."""
        if self.stopped:
            return Delta()
        self._buffer += text
        if self.place == "before":
            self._look_for_opening(last)
        thinking = self._think(last) if self.place == "thinking" else ""
        return Delta(thinking, self._answer(last) if self.place == "answer" else "")

    def _look_for_opening(self, last: bool) -> None:
        start = self._buffer.lstrip()
        if start.startswith(OPEN):
            self.place, self._buffer = "thinking", start[len(OPEN) :]
        elif last or not OPEN.startswith(start):
            self.place = "answer"

    def _think(self, last: bool) -> str:
        thinking, tag, rest = self._buffer.partition(CLOSE)
        if tag:
            self.place, self._buffer = "answer", rest
            return thinking
        return self._give(0 if last else _overlap(self._buffer, [CLOSE]))

    def _answer(self, last: bool) -> str:
        if not self._answered:
            self._buffer = self._buffer.lstrip()
        places = [(at, stop) for stop in self._stops if (at := self._buffer.find(stop)) >= 0]
        if places:
            self.stopped, self._buffer, last = True, self._buffer[: min(places)[0]], True
        if last:
            self._buffer = self._buffer.rstrip()
        sure = len(self._buffer) if last else len(self._buffer) - _overlap(self._buffer, self._stops)
        sure = len(self._buffer[:sure].rstrip())  # blanks at the end of an answer are left out
        answer = self._give(len(self._buffer) - sure)
        self._answered |= bool(answer)
        return answer

    def _give(self, keep: int) -> str:
        cut = len(self._buffer) - keep
        text, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return text


class CompletionReader:
    """One completion: takes its tokens as they are drawn, returns its thinking and its answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, opened: bool, stops: Sequence[str] = ()) -> None:
        self._text = TokenText(tokenizer)
        self._splitter = Splitter(opened=opened, stops=stops)
        self.ids: list[int] = []

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._splitter.stopped

    @property
    def place(self) -> Place:
        """The part that the next token belongs to."""
        return self._splitter.place

    def add(self, ids: Sequence[int], *, last: bool = False) -> Delta:
        """Read further `ids`; `last` says that the completion ends with them."""
        self.ids += ids
        return self._splitter.add(self._text.add(ids, last=last), last=last)


def _overlap(text: str, words: Sequence[str]) -> int:
    """The length of the longest suffix of `text` that is a prefix of one of `words`."""
    longest = max(map(len, words), default=0)
    for length in range(min(len(text), longest - 1), 0, -1):
        if any(word.startswith(text[-length:]) for word in words):
            return length
    return 0
