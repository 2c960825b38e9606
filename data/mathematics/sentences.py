"""The number that a sentence in a box states: `5 apples` of `The answer is 5 apples`."""

import re

from data.mathematics.notation import plain
from data.mathematics.numbers.words import spelled

VERBS = (
    r"(?:is|are|was|were|be|equals?|has|have|had|costs|needs?|gets?|got|makes?|made|gives?|takes?|took|earns?|earned"
    r"|spends?|spent|saves?|saved|pays?|paid)"
)
STATEMENT = re.compile(rf"(?P<subject>[A-Za-z][A-Za-z' -]*?)\s(?P<verb>{VERBS})\s+(?P<value>\S.*)")
# What makes the number in a sentence another one than the answer, or none.
DOUBTFUL = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|\w+n['’]t|cannot|can|could|may|might|should|if|unless|except"
    r"|wrong|incorrect|false|impossible|mistaken|untrue|doubt\w*|guess\w*|estimate\w*|bound|limit|deny|denies"
    r"|least|most|more|less|fewer|than|up to|twice|thrice|half|double|triple|minus|negative|plus|times"
    r"|either|some|any|one|another|other|example|instead|without)\b"
    r"|\b(?:square|cube|root|third|quarter|reciprocal|inverse|opposite|factorial|factor|multiple|part|power)s?\s+of\b"
    r"|\b(?:its|his|her|their|whose)\s+(?:square|cube|reciprocal|inverse|opposite|negative)\b|\b(?:squared|cubed)$"
    r"|\bdifferent\b",
    re.IGNORECASE,
)


def stated(text: str) -> str | None:
    """What a tidy sentence of one plain statement says a number is, with its unit; None for any other text."""
    match = STATEMENT.fullmatch(plain(text))
    if not match or DOUBTFUL.search(match["subject"]) or re.search(rf"\b{VERBS}\b", match["subject"], re.IGNORECASE):
        return None
    value = match["value"].rstrip(". ")
    return value if re.search(r"\d", value) or spelled(value.split(" ")[0]) is not None else None
