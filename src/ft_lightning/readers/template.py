"""Chat templates: how a conversation becomes the one text that a language model reads; rendered in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from ft_lightning.readers.conversation import Message
from ft_lightning.readers.decoding import UnusableTextError
from ft_lightning.readers.sandbox import Sandbox
from ft_lightning.system.errors import UserError

# Of models without a template of their own, such as those that were pretrained only.
PLAIN = (
    "{% for message in messages %}"
    "{{ {'system': '', 'user': '### Question:\n', 'assistant': '### Answer:\n'}[message['role']] }}"
    "{{ message['content'] }}{{ eos_token if message['role'] == 'assistant' else '' }}{{ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Answer:\n' }}{% endif %}"
)


class _Generation(Extension):
    """Reads over `{% generation %}`, by which some templates mark answers."""

    tags = {"generation"}  # noqa: RUF012 (as the library has it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=4)
def _compiled(source: str) -> Template:
    # No clock: a template that writes today's date would make other inputs tomorrow.
    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.add_filter("tojson", _as_json)  # the library's own escapes signs of HTML
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(source)
    except Exception as error:  # also of too many brackets
        raise UserError(f"its chat template cannot be read: {_short(error)}.") from error


def render(template: str, messages: Sequence[Message], special: Mapping[str, str], ask: bool) -> str:
    """Write messages as one text.

    Args:
        special: what the template calls its tokens, such as eos_token.
        ask: end where an answer begins.

    Raises:
        UnusableTextError: the template refuses these messages, for example a system message.
        UserError: the template cannot be read, or reaches outside its sandbox.
    """
    compiled = _compiled(template)
    compiled.environment.begin()  # type: ignore[attr-defined]
    try:
        return compiled.render(
            messages=[message._asdict() for message in messages],
            add_generation_prompt=ask,
            tools=None,
            documents=None,
            **special,
        )
    except Exception as error:  # of any type: a template is a program
        raise UnusableTextError(f"the model's chat template refuses it ({_short(error)})") from error


def _as_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> str:
    raise TemplateError(message)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
