"""What each process does now, in a notebook: a few lines that change in their place and are gone when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape

#: Seconds between two changes of what is shown.
_EACH_S = 0.2

#: Shows a piece of HTML, and returns what puts another in its place.
Display = Callable[[str], Callable[[str], None]]


def display_here() -> Display | None:
    """Return what shows things in the notebook that runs this process, None where none does. Imports nothing."""
    python = sys.modules.get("IPython")
    shell = None if python is None else python.get_ipython()
    if python is None or getattr(shell, "kernel", None) is None:
        return None
    shown = python.display

    def display(text: str) -> Callable[[str], None]:
        handle = shown.display(shown.HTML(text), display_id=True)
        return lambda changed: handle.update(shown.HTML(changed))

    return display


class Cell:
    """A watch that shows in a notebook's cell what is being done, and how many steps are."""

    def __init__(self, display: Display) -> None:
        self._doing: dict[str, tuple[str, float]] = {}
        self._done, self._begun, self._shown = 0, time.monotonic(), 0.0
        self._change = display(self._text())

    def __call__(self, who: str, doing: str | None) -> None:
        """Note what a process does now; None when it is idle."""
        if doing is None:
            self._done += self._doing.pop(who, None) is not None
        else:
            self._doing[who] = (doing, time.monotonic())
        if time.monotonic() - self._shown > _EACH_S:
            self._shown = time.monotonic()
            self._change(self._text())

    def close(self) -> None:
        """Leave nothing behind: what was found is shown in this place."""
        self._change("")

    def _text(self) -> str:
        now = time.monotonic()
        lines = [f"{self._done} steps done, {now - self._begun:.0f} s"]
        lines += [f"{who}: {doing}, {now - since:.0f} s" for who, (doing, since) in sorted(self._doing.items())]
        return f"<pre>{escape(chr(10).join(lines))}</pre>"


@contextmanager
def watching_cell(display: Display) -> Iterator[Cell]:
    """Show what is being done for the time of the block."""
    cell = Cell(display)
    try:
        yield cell
    finally:
        cell.close()
