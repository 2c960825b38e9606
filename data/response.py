"""Splits a completion into thinking and answer."""

import unicodedata
from dataclasses import dataclass

OPEN, CLOSE = "<think>", "</think>"
MAX_ANSWER_CHARACTERS = 16_000  # a solution in words, or a program; each task bounds its own further
BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # show nothing, though Unicode counts them among letters and signs


@dataclass(frozen=True, slots=True)
class Response:
    """A parsed completion. `fault` says what is wrong with its form, or is None where the form is right."""

    thinking: str
    answer: str
    fault: str | None = None


def parse_response(completion: str, thinking_opened: bool = False) -> Response:
    """Split `<think>THINKING</think>ANSWER`.

    The form is right where the completion opens with the one `<think>`, has the one `</think>`, the thinking shows
    something, and there is an answer. `thinking_opened` says that the prompt already ended with `<think>`, as some
    chat templates do. Only what follows the closing tag is ever an answer: text inside the thinking never is.
    """
    text = completion if thinking_opened else completion.lstrip()
    if not thinking_opened:
        if not text.startswith(OPEN):
            return Response("", "", f"does not begin with {OPEN}")
        text = text[len(OPEN) :]
    thinking, tag, answer = text.partition(CLOSE)
    answer = answer.strip()
    if not tag:
        return Response(thinking, "", f"no {CLOSE}")
    if OPEN in thinking or OPEN in answer or CLOSE in answer:
        return Response(thinking, answer, "more than one thinking block")
    if not any(map(_shows, thinking)):
        return Response(thinking, answer, "empty thinking")
    if not answer:
        return Response(thinking, answer, "no answer after the thinking")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Response(thinking, answer, f"answer longer than {MAX_ANSWER_CHARACTERS} characters")
    return Response(thinking, answer)


def _shows(character: str) -> bool:
    """Whether a reader would see any of it: spaces, marks, controls and characters without width do not count."""
    return unicodedata.category(character)[0] in "LNPS" and character not in BLANKS
