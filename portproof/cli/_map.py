"""``portproof map``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portproof._text import say
from portproof.cli._options import (
    Force,
    Json,
    PortName,
    Quiet,
    Seed,
    Setting,
    check_json,
    find_port_named,
    settings_of,
    write_json,
)

if TYPE_CHECKING:
    from portproof.maps._find import FoundMap


def map_(
    port: PortName = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write the map as a table (.csv) for convert.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the map into the file that declares the port.")] = False,
    accept_crossed: Annotated[
        bool, typer.Option("--accept-crossed", help="Take a map that pairs q with k, say, against their names.")
    ] = False,
    json_file: Json = None,
    quiet: Quiet = False,
    seed: Seed = 0,
    settings: Setting = None,
    force: Force = False,
) -> None:
    """Find which tensor of one side is which of the other, without reading a name, and prove it.

    Examples:
        portproof map my_port.py
        portproof map my_port.py --write
    """
    from portproof._disk import require_new, write_text
    from portproof._machine import thread_budget
    from portproof.convert._table import map_csv
    from portproof.maps._edit import port_file, write_into
    from portproof.maps._find import find_map
    from portproof.maps._written import source_of
    from portproof.render._terminal import watching
    from portproof.sides._session import Sessions
    from portproof.sides._sides import Sides

    check_json(json_file)
    located = find_port_named(port)
    if out is not None:
        require_new(out)
    if write:
        port_file(located)
    threads = max(1, thread_budget() // 2)
    with (
        Sessions(located, settings_of(settings), threads=threads) as sessions,
        watching(enabled=not quiet) as watch,
    ):
        sides = Sides(sessions, watch)
        found = find_map(sides, accept_crossed=accept_crossed, seed=seed)
        entries = {side: list(described.entries) for side, described in sides.described.items()}
    write_json(json_file, found.to_json())
    if json_file != "-":
        _print(located.port.name, found, quiet=quiet)
    taken = found.holds or found.verdict == "differs"
    if taken and out is not None:
        write_text(out, map_csv(found.account, entries))
        say(f"wrote {out}", err=True)
    if taken and write:
        say(f"wrote the map into {write_into(located, source_of(found.weights))}", err=True)
    if not taken and (out is not None or write):
        why = "give --accept-crossed to take it" if found.verdict == "crossed" else "a map with guesses helps nobody"
        say(f"nothing was written: {found.said}; {why}", err=True)
    raise typer.Exit(found.exit_code)


def _print(port: str, found: FoundMap, *, quiet: bool) -> None:
    from portproof.maps._print import lines_of, map_source
    from portproof.render._terminal import output

    console = output()
    if not quiet:
        console.print(f"port {port}")
    for line in ["map: " + found.said] if quiet else lines_of(found):
        console.print(line, overflow="fold")
    if not quiet and found.verdict != "crossed":
        console.print("")
        for line in map_source(found).split("\n"):
            say(line)
