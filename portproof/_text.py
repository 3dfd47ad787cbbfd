"""Where text from outside becomes text for people, a function a medium.

Names of tensors, nodes, modules and files, and what exceptions say, are a stranger's. No terminal obeys them, and a
page, a summary and an XML file stay what they are.
"""

from __future__ import annotations

import re
import sys
from html import escape


def plain(text: str) -> str:
    """Return text in which nothing obeys a terminal.

    Controls, line ends, marks of direction and lone surrogates are written out, as Python does. What is left is text in
    XML and in UTF-8 too.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def visible(text: str) -> str:
    """Return :func:`plain` text on one line, with single blanks."""
    return plain(" ".join(text.split()))


def say(text: str, *, err: bool = False) -> None:
    """Print one line, on standard output or, with ``err``, standard error."""
    print(plain(text), file=sys.stderr if err else sys.stdout)


def markup(text: str) -> str:
    """Return text for HTML and SVG, between tags or in quotes."""
    return escape(plain(text))


#: What Markdown reads as its own, wherever on a line; an underscore between letters is none.
_MARKDOWN = re.compile(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])")


def markdown(text: str) -> str:
    """Return text for a line or a cell of Markdown."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(text))


def code(text: str, *, cell: bool = False) -> str:
    """Return text as code in Markdown; in a ``cell`` of a table a bar would end it."""
    shown = plain(text).replace("|", "\\|") if cell else plain(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
