"""Finds the program in an answer."""

import re
import textwrap
from collections.abc import Sequence

FENCED = re.compile(
    r"((?:^[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)?)```[ \t]*\w*[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL | re.MULTILINE
)  # its indentation, a list item's included, and its content
BARE = re.compile(r"^(?:@\w|def\s|async\s+def\s|class\s|import\s|from\s)", re.MULTILINE)


def program_of(answer: str, names: Sequence[str]) -> str | None:
    """The last code block that defines one of the functions, or the last block, or else a bare function.

    A block that is indented as a whole, as in a list, moves to the left, unless it continues a function.
    """
    blocks = [moved(fence, block, names) for fence, block in FENCED.findall(answer) if block.strip()]
    defining = [block for block in blocks if any(defines(block, name) for name in names)]
    if blocks:
        return (defining or blocks)[-1]
    start = BARE.search(answer)
    return answer[start.start() :] if start else None


def moved(fence: str, block: str, names: Sequence[str]) -> str:
    """A block without the indentation of its fence (CommonMark 4.5), and without that of a whole definition."""
    width = len(fence.expandtabs(4))
    lines = [line.expandtabs(4) if width else line for line in block.splitlines(keepends=True)]
    block = "".join(line[min(width, len(line) - len(line.lstrip(" "))) :] for line in lines)
    plain = textwrap.dedent(block)
    at_the_margin = any(re.search(rf"^(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b", plain, re.M) for name in names)
    return plain if at_the_margin else block


def defines(block: str, name: str) -> bool:
    """Whether a code block defines `name`, and does not just call it as an example."""
    name = re.escape(name)
    return bool(re.search(rf"^[ \t]*(?:(?:async\s+)?def|class)\s+{name}\b|^{name}\s*(?::[^=\n]*)?=(?!=)", block, re.M))
