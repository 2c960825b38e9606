"""Values that YAML reads as something else: keys that are not text, numbers in another base, dates, repeated keys.

YAML 1.1 takes `010` for 8, `1:30` for 90, `2024-01-01` for a date, and a key `no` for false. Each of them would set
another value than its writer meant, so each is refused by line.
"""

import re
from collections.abc import Iterator

import yaml

TAG = "tag:yaml.org,2002:"
PLAIN = ("str", "int", "float", "bool", "null", "merge")
OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


def misread(node: yaml.Node | None) -> str | None:
    """The first value below `node` that is not what it looks like, with its line and its mend; None where none is."""
    return next(_faults(node), None)


def _faults(node: yaml.Node | None) -> Iterator[str]:
    if isinstance(node, yaml.ScalarNode):
        yield from _of_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        yield from _of_collection(node, "seq")
        for each in node.value:
            yield from _faults(each)
    elif isinstance(node, yaml.MappingNode):
        yield from _of_collection(node, "map")
        names: set[str] = set()
        for key, value in node.value:
            yield from _of_key(key, names)
            yield from _faults(value)


def _of_key(key: yaml.Node, names: set[str]) -> Iterator[str]:
    """Why a key of a mapping is refused, if it is. `names` are the keys before it; adds this one."""
    if not isinstance(key, yaml.ScalarNode):
        yield f"{_line(key)}: a list or a mapping is a key; expected text"
    elif key.tag not in (TAG + "str", TAG + "merge"):
        kind = {"bool": "a truth value", "null": "null", "int": "a number", "float": "a number"}
        read_as = kind.get(key.tag.removeprefix(TAG), "no text")
        yield f"{_line(key)}: the key {key.value or '(none)'} is read as {read_as}; put it in quotes"
    elif key.value in names:  # YAML's reader would take the last of them without a word
        yield f"{_line(key)}: {key.value} is given twice in one mapping; keep one"
    else:
        names.add(key.value)


def _of_scalar(node: yaml.ScalarNode) -> Iterator[str]:
    kind = node.tag.removeprefix(TAG)
    if kind == "timestamp":
        yield f"{_line(node)}: {node.value} is read as a date; put it in quotes"
    elif kind not in PLAIN:
        yield f"{_line(node)}: {node.value[:40]!r} has the tag {node.tag.replace(TAG, '!!')}, which is not read"
    elif kind in ("int", "float") and OTHER_BASE.fullmatch(node.value):
        base = "to the base 60" if ":" in node.value else "to the base 8"
        yield f"{_line(node)}: {node.value} is read as a number {base}; write it to the base 10, or put it in quotes"


def _of_collection(node: yaml.CollectionNode, kind: str) -> Iterator[str]:
    if node.tag != TAG + kind:
        yield f"{_line(node)}: a list or mapping has the tag {node.tag.replace(TAG, '!!')}, which is not read"


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
