"""One option's type, range or choices, and the reading of its value from YAML or the command line.

Every refusal is one line with the option's name, the value, and what was expected. Imports neither torch nor trl, so a
wrong value is refused at once.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

TRUE, FALSE = ("true", "yes", "t", "y", "1", "on"), ("false", "no", "f", "n", "0", "off")  # as argparse options take
LARGEST = 10**12  # of any number without a bound of its own: beyond it steps, seconds and sizes overflow
SHOWN = 10  # of many choices
UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of a character
YAML_WORDS = {True: ("on", "yes", "true"), False: ("off", "no", "false")}  # which YAML reads as truth values


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that an option takes, all of them finite. `words` describes them where the bounds alone do not."""

    least: float | None = None
    most: float | None = None
    above: float | None = None  # a bound that is not itself in the range
    below: float | None = None
    also: tuple[float, ...] = ()  # single numbers outside the bounds
    words: str = ""

    def __contains__(self, value: float) -> bool:
        if not math.isfinite(value) or (abs(value) > LARGEST and not self.is_bounded):
            return False
        return value in self.also or (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    @property
    def is_bounded(self) -> bool:
        """Whether there is a largest number of its own."""
        return self.most is not None or self.below is not None

    def __str__(self) -> str:
        if self.words:
            return self.words
        low = f"{self.least:,g} or more" if self.least is not None else ""
        low = f"more than {self.above:,g}" if self.above is not None else low
        high = f"at most {self.most:,}" if self.most is not None else ""
        high = f"below {self.below:,g}" if self.below is not None else high
        bounds = " and ".join(filter(None, (low, high)))
        if self.least is not None and self.most is not None:
            bounds = f"{self.least:,} to {self.most:,}"
        return bounds + "".join(f", or {value:g}" for value in self.also)


@dataclass(frozen=True, slots=True)
class Option:
    """An option and what it takes. `kinds` are some of bool, int, float, str, mapping, list; a list holds `items`."""

    name: str
    kinds: tuple[str, ...]
    optional: bool = False  # null stands for a default that depends on other options
    items: str = "str"
    range: Range = Range()
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """The values that the option takes, in words."""
        numbers = {"int": "a whole number", "float": "a number"}
        words = []
        for kind in self.kinds:
            if kind in numbers:
                words.append(f"{numbers[kind]}, {self.range}" if str(self.range) else numbers[kind])
            elif kind == "str" and self.choices:
                more = f" and {len(self.choices) - SHOWN} more" if len(self.choices) > 2 * SHOWN else ""
                words.append(f"one of: {', '.join(self.choices[:SHOWN] if more else self.choices)}{more}")
            else:
                words.append({"bool": "true or false", "str": "text", "mapping": "a mapping"}.get(kind, "a list"))
        return ", or ".join(words)

    def refusal(self, value: Any) -> ValueError:
        """The error that refuses `value`."""
        text = repr(value) if len(repr(value)) <= 100 else f"{repr(value)[:100]}..."
        quotes = ", in quotes" if self.kinds == ("str",) and not self.choices and not isinstance(value, str) else ""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        bound = f", at most {LARGEST:,}" if is_number and abs(value) > LARGEST and not self.range.is_bounded else ""
        if isinstance(value, bool) and "bool" not in self.kinds:
            text = f"{value} (YAML reads {' and '.join(YAML_WORDS[value][:2])} as {value})"
        near = get_close_matches(value, self.choices, n=2) if isinstance(value, str) else []
        mend = f" Did you mean {' or '.join(near)}?" if near else ""
        return ValueError(f"{self.name} is {text}; expected {self.expected}{quotes}{bound}.{mend}")


def setting(default: Any, help: str, *, range: Range | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field with its default, its help, and the values that it takes."""
    metadata = {"help": help, "range": range, "choices": choices}
    return field(default=default, metadata={name: value for name, value in metadata.items() if value})


def option(name: str, annotation: str, metadata: Mapping[str, Any], choices: tuple[str, ...] = ()) -> Option:
    """The option that a dataclass declares as `name: annotation`; `range` and `choices` are in the metadata."""
    annotation = re.sub(r"\btuple\[(\w+), \.\.\.\]", r"list[\1]", annotation)
    match = re.search(r"\blist\[(\w+)\]", annotation)
    outside = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\blist\[\w+\]", "list", annotation))
    names = re.findall(r"\w+", outside if "Literal" not in annotation else re.sub(r"Literal\[.*?\]", "str", annotation))
    literal = re.search(r"Literal\[(.*?)\]", annotation)
    if literal and not choices:
        choices = tuple(re.findall(r"'([^']*)'", literal[1]))
    table = {"bool": "bool", "int": "int", "float": "float", "str": "str", "dict": "mapping", "Mapping": "mapping"}
    kinds = tuple(dict.fromkeys(table.get(each, each) for each in names if each in table or each == "list"))
    if "int" in kinds and "float" in kinds:
        kinds = tuple(kind for kind in kinds if kind != "int")
    optional = "None" in names or "Optional" in names or "NoneType" in annotation
    return Option(
        name,
        kinds or ("str",),
        bool(metadata.get("optional", optional)),
        match[1] if match and match[1] in table else "str",
        metadata.get("range") or Range(),
        tuple(metadata.get("choices") or choices),
    )


def options_of(kind: type) -> dict[str, Option]:
    """The options that a dataclass of ours declares, by name."""
    options = {}
    for member in fields(kind):
        annotation = member.type.__name__ if isinstance(member.type, type) else str(member.type)
        if "[" in str(member.type):
            annotation = str(member.type)
        options[member.name] = option(member.name, annotation, member.metadata)
    return options


def checked_values(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass, each checked for type and range. Raises ValueError for the first that does not fit."""
    return {name: read_value(each, getattr(settings, name)) for name, each in options_of(type(settings)).items()}


def read_value(option: Option, value: Any) -> Any:
    """`value` in the option's type; text is read as the type says. Raises ValueError."""
    if match := UNWRITABLE.search("".join(texts_of(value))):
        raise ValueError(f"{option.name} holds the character {match[0]!r}, which no text has; leave it out.")
    if value is None:
        if option.optional:
            return None
        raise ValueError(f"{option.name} is null; expected {option.expected}. Leave it out for its default.")
    if isinstance(value, bool):
        return _read_truth(option, value)
    if isinstance(value, str):
        value = _read_text(option, value)
    if isinstance(value, str) and "str" in option.kinds:
        if option.choices and value not in option.choices:
            raise option.refusal(value)
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _read_number(option, value)
    if isinstance(value, list | tuple) and "list" in option.kinds:
        item = Option(f"{option.name}[]", (option.items,), range=option.range, choices=option.choices)
        return [read_value(item, each) for each in value]
    fits_mapping = isinstance(value, Mapping) and "mapping" in option.kinds
    if fits_mapping or (isinstance(value, bool) and "bool" in option.kinds):
        return value
    raise option.refusal(value)


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a value, in the mappings and lists of which it may consist."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from texts_of(part)


def _read_truth(option: Option, value: bool) -> Any:
    if "bool" in option.kinds:
        return value
    for word in YAML_WORDS[value]:  # YAML reads `off` and `no` as false
        if word in option.choices:
            return word
    raise option.refusal(value)


def _read_text(option: Option, text: str) -> Any:
    """The value that text stands for; the text itself where the option takes only text."""
    if "mapping" in option.kinds and text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{option.name} is {text[:100]!r}; expected a mapping in JSON: {error}") from None
    if "bool" in option.kinds and text.lower() in TRUE + FALSE and text not in option.choices:
        return text.lower() in TRUE
    for kind, read in (("int", int), ("float", float)):
        if kind in option.kinds:
            try:
                return read(text)
            except ValueError:
                continue
    if "str" in option.kinds:
        return text
    raise option.refusal(text)


def _read_number(option: Option, value: int | float) -> int | float:
    is_whole = isinstance(value, int)
    if not ("float" in option.kinds or ("int" in option.kinds and is_whole)):
        raise option.refusal(value)
    try:
        fits = value in option.range
    except OverflowError:  # an integer beyond every float
        fits = False
    if not fits:
        raise option.refusal(value)
    return value
