"""Fills the templates of templates/*.j2; whatever is put into them is escaped.

A page's script is allowed by its hash alone, so that nothing else can run in it even if an
escape were missing.
"""

import base64
import functools
import hashlib
import importlib.resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rlagent.base.words import number, percent

LONGEST = 4000
"""Characters of one message that are shown; conversations can be arbitrarily long."""


def source(name: str) -> str:
    """The text of a file beside the templates, such as style.css."""
    return importlib.resources.files(__package__).joinpath("templates", name).read_text("utf-8")


def render(template: str, layout: str = "page.html.j2", live: int = 0, **values: Any) -> str:
    """Return a whole page.

    Args:
        template: Name of the page's template.
        layout: Name of the frame's: page.html.j2 makes a file that stands by itself.
        live: Seconds between two looks of an open page at what has changed; 0: it stays.
        values: What it shows; text is escaped unless it is Markup.
    """
    script = source("script.js")
    return environment().get_template(template).render(
        layout=layout,
        live=live,
        style=Markup(source("style.css")),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )  # fmt: skip


@functools.cache
def environment() -> Environment:
    """Where the templates are and what they may call."""
    made = Environment(
        loader=PackageLoader(__package__),
        # For every name: the usual choice by ending would leave .j2 out.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clip": clip, "number": number, "percent": percent}
    return made


def clip(text: str, most: int = LONGEST) -> str:
    """Leave out the end of what is very long, and say how much.

    >>> clip("abcdef", 4)
    'abcd… (2 more characters)'
    """
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}… ({more:,} more characters)"
