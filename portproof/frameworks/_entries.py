"""One tensor of a state dict, as both frameworks describe it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portproof._disk import Count


@dataclass(frozen=True)
class Entry:
    """One tensor of a state dict.

    Attributes:
        name: full dotted name.
        shape, dtype: as stored.
        layer: type of the module that owns it, by torch's name for it.
        module: path of that module.
        kind: ``"parameter"`` or ``"buffer"``.
        tied: an earlier name of the very same tensor, "" where it has none.
    """

    name: str
    shape: tuple[Count, ...]
    dtype: str
    layer: str
    module: str
    kind: str
    tied: str = ""


def further_names(tensors: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Return every further name of a tensor with its first one, from names and identities."""
    first: dict[int, str] = {}
    return {name: first[identity] for name, identity in tensors if first.setdefault(identity, name) != name}
