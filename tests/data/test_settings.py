"""Values from YAML or the command line, read into a task's settings."""

from dataclasses import dataclass, field

import pytest

from data.settings import read_settings


@dataclass
class Numbers:
    """A setting of each type that holds numbers."""

    share: float | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    shares: tuple[float, ...] = ()
    maybe: list[float] | None = None
    by_name: dict[str, float] = field(default_factory=dict)
    text: str | float = ""
    texts: list[str] = field(default_factory=list)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("share", "1e-2", 0.01),
        ("bounds", ["1e-2", 1], (0.01, 1)),
        ("shares", ["1e-2", "2e0"], (0.01, 2.0)),
        ("maybe", ["1e-2"], [0.01]),
        ("by_name", {"add": "1e-2"}, {"add": 0.01}),
        ("text", "1e-2", "1e-2"),
        ("texts", ["1e-2"], ["1e-2"]),
    ],
)
def test_a_number_that_yaml_reads_as_text_is_a_number_where_its_type_is_one(name, value, expected):
    settings = read_settings("tasks.mine", Numbers, {name: value})
    assert getattr(settings, name) == expected or tuple(getattr(settings, name)) == expected


@pytest.mark.parametrize(("name", "value"), [("bounds", ["1e-2"]), ("by_name", {"add": "much"}), ("share", "1e")])
def test_other_text_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"tasks\.mine\.{name} is"):
        read_settings("tasks.mine", Numbers, {name: value})
