"""Modules of the two sides that stand for each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portproof._errors import BadInput, and_more
from portproof.frameworks._settings import SettingDifference, compare_settings
from portproof.ports._port import Port
from portproof.sides._tasks import Description

#: Side to the path, layer type and settings of every module.
Described = Mapping[str, Sequence[tuple[str, str, Mapping[str, Any]]]]


@dataclass(frozen=True)
class Pairs:
    """Modules that stand for each other.

    Attributes:
        keys: side to its module path to the common key, which is torch's path.
        unseen: modules without a partner, as a person would name them.
        settings: what paired modules were built with and do not share.
        described: side to key to layer type and settings.
    """

    keys: dict[str, dict[str, str]]
    unseen: tuple[str, ...]
    settings: tuple[SettingDifference, ...]
    described: dict[str, dict[str, tuple[str, Mapping[str, Any]]]]


def require_used(port: Port, described: Mapping[str, Description]) -> None:
    """See that every entry of a port's map fits something in its models: one that does not is a slip of the pen.

    Raises:
        BadInput: one fits nothing.
    """
    names = {
        side: {*(entry.name for entry in found.entries), *(path for path, *_ in found.modules)}
        for side, found in described.items()
    }
    unused = port.weights.unused(names)
    if unused:
        raise BadInput(f"port '{port.name}': weights.{and_more(unused)}. Correct it, or take it out.")


def pair_modules(described: Described, paddle_path: Callable[[str], str]) -> Pairs:
    """Pair the modules of two trees by path; nothing is paired by guess.

    Args:
        described: every module of both sides.
        paddle_path: torch path to Paddle path.
    """
    known = {path for path, _, _ in described["paddle"]}
    torch: dict[str, str] = {}
    paddle: dict[str, str] = {}
    for path, _, _ in described["torch"]:
        twin = paddle_path(path)
        if twin in known and twin not in paddle:
            torch[path], paddle[twin] = path, path
    keys = {"torch": torch, "paddle": paddle}
    unseen = [
        f"{side} '{path}' ({layer})" for side in keys for path, layer, _ in described[side] if path not in keys[side]
    ]
    by_key = {
        side: {keys[side][path]: (layer, settings) for path, layer, settings in described[side] if path in keys[side]}
        for side in keys
    }
    differences = [
        difference for key in torch for difference in compare_settings(key, by_key["torch"][key], by_key["paddle"][key])
    ]
    return Pairs(keys, tuple(unseen), tuple(differences), by_key)
