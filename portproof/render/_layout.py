"""The one template, style sheet and script of every page: no page asks a network for anything."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib.resources import files
from typing import Any

from portproof._errors import require_packages
from portproof._machine import tool_version
from portproof._text import plain


def require_jinja() -> None:
    """Raise :class:`Unavailable` where jinja2 is not installed."""
    require_packages("a page", "jinja2")


def rendered(name: str, **values: Any) -> str:
    """Return a page.

    Args:
        name: of its template in ``pages/``, without its ending; it extends ``layout.html.jinja``.
        values: that the template asks for. Whatever they say is text there, never markup.

    Raises:
        Unavailable: jinja2 is not installed.
    """
    from markupsafe import Markup

    script = page_file("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return str(page_environment().get_template(f"{name}.html.jinja").render(
        **values, style=Markup(page_file("style.css")), script=Markup(script), script_hash=f"sha256-{digest}",
        made_by=tool_version(),
    ))  # fmt: skip


@functools.cache
def page_environment() -> Any:
    """Return the environment that pages are rendered in."""
    require_jinja()
    import jinja2
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined, finalize=shown,
        loader=jinja2.FunctionLoader(page_file),
    )  # fmt: skip


def page_file(name: str) -> str:
    """Return a file of ``pages/``."""
    return (files("portproof.render") / "pages" / name).read_text(encoding="utf-8")
