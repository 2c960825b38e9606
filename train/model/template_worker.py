"""The worker that renders a chat template: a template is a program, and one with nested loops may never end.

Its environment is that of transformers, as far as time goes: the same sandbox, loop controls and filters.
"""

import json
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """`{% generation %}`, with which templates mark the assistant's text; its body is left as it is."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[Node]:
        """The body of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render(request: dict[str, Any]) -> list[int] | None:
    """The lengths of the conversations as text; None where the template does not render, which other checks report."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    try:
        template = environment.from_string(request["template"])
        return [
            len(template.render(messages=messages, add_generation_prompt=True, tools=None, **request["tokens"]))
            for messages in request["conversations"]
        ]
    except MemoryError:
        raise
    except Exception:  # whatever a template may do wrong
        return None


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> str:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return format
