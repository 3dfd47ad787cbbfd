"""Roles in docstrings on the site: a name as code, linked where the reference has it. A page with a raw one fails.

mkdocstrings loads this as an extension of griffe, mkdocs as a hook.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import griffe

import portproof

_ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc):`~?([\w.]+)`")
#: As a browser gets it: the name is code already.
_RAW = re.compile(r":(?:class|func|meth|attr|data|mod|exc):\s*(?:`|<code>)")


def written(text: str) -> str:
    """Return a docstring with each role as code; a public name is a link."""

    def name(role: re.Match[str]) -> str:
        last = role[1].rpartition(".")[2]
        return f"[`{last}`][portproof.{last}]" if last in portproof.__all__ else f"`{last}`"

    return _ROLE.sub(name, text)


class Roles(griffe.Extension):
    """Writes roles as Markdown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of what was loaded."""
        if obj.docstring is not None:
            obj.docstring.value = written(obj.docstring.value)


def on_page_content(html: str, page: Any, **kwargs: Any) -> None:
    """Warn of a raw role, which ``mkdocs build --strict`` does not let pass."""
    for found in _RAW.finditer(html):
        shown = html[found.start() : found.end() + 40]
        logging.getLogger("mkdocs.hooks").warning("%s shows a raw role: %s", page.file.src_path, shown)
