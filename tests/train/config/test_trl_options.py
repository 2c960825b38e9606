"""The table of TRL's options against the dataclasses that it was read from."""

from dataclasses import fields
from enum import Enum
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from trl import GRPOConfig

from train.config.trl_options import CHOICES, MAPPINGS, RANGES, trl_options
from train.config.values import read_value

HINTS = get_type_hints(GRPOConfig)
KINDS = {bool: "bool", int: "int", float: "float", str: "str", dict: "mapping", list: "list"}


def test_every_option_of_trl_is_in_the_table_and_no_other():
    assert trl_options().keys() == {field.name for field in fields(GRPOConfig) if field.init}
    assert RANGES.keys() | CHOICES.keys() <= trl_options().keys()


@pytest.mark.parametrize("name", trl_options())
def test_an_option_takes_what_the_dataclass_declares(name):
    hint = HINTS[name]
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    declared = {KINDS[kind] for member in members if (kind := getattr(member, "__origin__", member)) in KINDS}
    option = trl_options()[name]
    taken = set(option.kinds) | ({"int"} if "float" in option.kinds else set())
    assert declared - ({"str"} if name in MAPPINGS else set()) <= taken
    for member in members:
        if isinstance(member, type) and issubclass(member, Enum) and name != "debug":
            assert option.choices == tuple(choice.value for choice in member)


def test_every_default_of_trl_fits_its_own_option():
    for field in fields(GRPOConfig):
        if field.init and isinstance(field.default, bool | int | float | str):
            read_value(trl_options()[field.name], field.default)
