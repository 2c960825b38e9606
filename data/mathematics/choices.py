"""Answers that choose: the letters of a multiple choice, and yes or no."""

import re

from data.mathematics.notation import plain

LETTERED = re.compile(r"\(?([A-Z])[).:]\s+(?!\(?(?:[Oo]r|[Aa]nd|[A-Z][).:])(?![a-z]))")
CHOICES = re.compile(r"\(?\b[A-Z]\)")
SEVERAL = re.compile(r"\(?[A-H]\)?(?:(?:\s*[,;]\s*|\s+)?(?:(?:and|&)\s+)?\(?[A-H]\)?)+")


def same_choices(gold: str, answer: str) -> bool | None:
    """Several letters of choices: `ACD` beside `A, C, D` or `(A) and (C)`. Without signs between them on either side,
    they may be a product.
    """
    texts = plain(gold), plain(answer)
    if not all(map(SEVERAL.fullmatch, texts)) or all(text.isalpha() for text in texts):
        return None
    letters = [re.findall(r"\b[A-H]+\b", text) for text in texts]
    if any(len(each) > 1 and max(map(len, each)) > 1 for each in letters):  # AB and CD are segments
        return None
    chosen = [sorted("".join(each)) for each in letters]
    return chosen[0] == chosen[1] and len(set(chosen[0])) == len(chosen[0])


def decided(text: str) -> str | None:
    """`yes` or `no` of a sentence that begins with it and does not go back on it."""
    match = re.match(
        r"(yes|no)(?:$|[,.;:]\s*(?!.*\b(?:yes|no|but|unless|if|maybe|perhaps)\b))", plain(text), re.IGNORECASE
    )
    word = match[1].lower() if match else None
    return None if word == "yes" and re.search(r"\bnot\b|n['’]t\b|\bnever\b", plain(text)) else word


def choice(text: str) -> str | None:
    """The letter of a choice: `B` of `(B)`, of `b` and of `B) 42`; None where there are several."""
    text = plain(text)
    match = re.fullmatch(r"(?:[Oo]ption |[Cc]hoice )?\(?([A-Z])\)?[.)]?", text) or LETTERED.match(text)
    return match[1] if match and len(CHOICES.findall(text)) <= 1 else None


def behind_letter(text: str) -> str:
    """The value of `(B) 12`; empty where there is none."""
    match = LETTERED.match(plain(text))
    return plain(text)[match.end() :].strip() if match and choice(text) else ""
