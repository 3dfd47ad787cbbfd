"""Who shows a report to people: it knows of reports, and they do not know of it.

The package says who, in its own first lines, so this imports nothing that a folder could hold another of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import os


class Shows(Protocol):
    """``portproof.render._brief``."""

    def text(self, report: Any) -> str:
        """Return verdict, chain and findings as plain text."""

    def html(self, report: Any) -> str:
        """Return the same as a piece of a page."""

    def save(self, report: Any, target: str | os.PathLike[str]) -> None:
        """Write a report as its file's ending says."""


_FIND: list[Callable[[], Shows]] = []


def shown_by(find: Callable[[], Shows]) -> None:
    """Say what shows reports; ``find`` is called when one is shown."""
    _FIND[:] = [find]


def shows() -> Shows:
    """Return what shows reports."""
    return _FIND[0]()
