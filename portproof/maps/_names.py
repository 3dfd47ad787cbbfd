"""What names say: evidence where nothing else is, never a proof; and where a map goes against them."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

#: What people call the three projections of an attention: their first letter, once the rest is taken off.
_ROLE = re.compile(r"(?:to_|w_?|in_|linear_)?([qkv])(?:uery|ey|alue|s|_proj|_lin|_linear|_mlp|_w|_fc)*(?:_proj)?")


@functools.cache
def likeness(one: str, other: str) -> float:
    """Return how like two names are, from 0 to 1."""
    return difflib.SequenceMatcher(None, one.lower(), other.lower(), autojunk=False).ratio()


def role(name: str) -> str:
    """Return a component of a name without what authors add to it: ``q`` for ``query``, ``q_proj`` and ``to_q``."""
    found = _ROLE.fullmatch(name.lower())
    return found[1] if found else name


@dataclass(frozen=True)
class Crossed:
    """Parts of a module that a map pairs against their names.

    Attributes:
        torch, paddle: the modules or tensors, in full.
        named: the one in Paddle that torch's name fits.
    """

    torch: str
    paddle: str
    named: str


def crossed(pairs: Sequence[tuple[str, str, object]]) -> list[Crossed]:
    """Return where a map sends a name to another that stands beside its own: q to k, and k to q.

    Only closed circles count: where the layers of one side are numbered from 0 and those of the other from 1, no name
    is crossed.

    Args:
        pairs: torch name, Paddle name and sizes, of parameters; what has other sizes cannot be meant.
    """
    # Parent on each side, and what comes after the component in question, to what it is on each side.
    beside: dict[tuple[object, ...], dict[str, tuple[str, str, str]]] = {}
    for torch, paddle, sizes in pairs:
        a, b = torch.split("."), paddle.split(".")
        for cut in range(1, min(len(a), len(b)) + 1):
            head, tail = (a[:-cut], b[:-cut]), (a[len(a) - cut + 1 :], b[len(b) - cut + 1 :])
            key = (*map(".".join, (*head, *tail)), sizes)
            whole = ".".join(a[: len(a) - cut + 1]), ".".join(b[: len(b) - cut + 1])
            beside.setdefault(key, {})[role(a[-cut])] = (role(b[-cut]), *whole)
    found: dict[tuple[str, str], Crossed] = {}
    for group in beside.values():
        for start, (goes, torch, paddle) in group.items():
            seen, at = {start}, goes
            while at in group and at not in seen:
                seen.add(at)
                at = group[at][0]
            if at == start and len(seen) > 1:
                named = next(theirs for _, (own, _, theirs) in group.items() if own == start)
                found[torch, paddle] = Crossed(torch, paddle, named)
    return list(found.values())
