"""Runners: each is one way to execute a side. Parity and benchmarks use the very same ones.

A runner of somebody else's is a class like those here, named by an entry point of the group ``portproof.runners``
whose value is a :class:`RunnerInfo`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from portproof._errors import BadInput
from portproof.ports._hints import near
from portproof.runners._info import Runner, RunnerInfo, RunnerJob
from portproof.runners._table import OWN as _OWN

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["Runner", "RunnerInfo", "RunnerJob", "find_runner", "registered", "runners"]


@functools.cache
def registered() -> tuple[EntryPoint, ...]:
    """Return what installed packages register, looked for once in a process and its forks."""
    from importlib.metadata import entry_points

    return tuple(entry_points(group="portproof.runners"))


def runners() -> dict[str, RunnerInfo]:
    """Return every runner by name: portproof's and those of installed packages.

    Raises:
        BadInput: two packages register one name.
    """
    table = {info.name: info for info in _OWN}
    for point in registered():
        info = point.load()
        if info.name in table:
            raise BadInput(f"runner '{info.name}' is registered twice; '{point.value}' must choose another name.")
        table[info.name] = info
    return table


def find_runner(name: str) -> RunnerInfo:
    """Return a runner by name.

    Raises:
        BadInput: there is none; the message lists those there are.
    """
    table = runners()
    if name not in table:
        listed = f"; there are {', '.join(table)}."
        raise BadInput(f"no runner '{name}'{near(name, table) or listed} `portproof ports` lists them.")
    return table[name]
