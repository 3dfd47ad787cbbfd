"""``portproof cache``: what earlier runs left for later ones."""

from __future__ import annotations

from typing import Annotated

import typer

from portproof._errors import BadInput
from portproof._text import say


def cache(
    action: Annotated[
        str, typer.Argument(metavar="clear", help="clear removes everything; without, say what is there.")
    ] = "",
) -> None:
    """Say what `verify` has kept of earlier runs, so that only what changed is run again; or remove it.

    Examples:
        portproof cache
        portproof cache clear
    """
    from portproof.sides._store import VARIABLE, Store, default_folder, limit_bytes

    if action not in ("", "clear"):
        raise BadInput(f"cache takes nothing, or clear, found '{action}'.")
    limit = limit_bytes()
    store = Store(default_folder(), limit)
    if action == "clear":
        freed = store.size()
        store.clear()
        left = store.size()
        if left:
            raise BadInput(f"{left / 1e6:.1f} MB of '{store.root}' cannot be removed; see to its permissions.")
        say(f"{freed / 1e6:.1f} MB of '{store.root}' removed")
        return
    most = f"at most {limit / 1e9:g} GB" if limit else "off"
    say(f"{store.root}: {store.size() / 1e6:.1f} MB, {most} ({VARIABLE}=2GB or off)")
    for name, answers, size in store.by_port():
        say(f"  {name}: {answers} answers, {size / 1e6:.1f} MB")
