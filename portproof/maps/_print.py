"""A found map as a person reads it: what goes against the names first, then the verdict and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from portproof._numbers import EPSILON
from portproof.maps._find import FoundMap, Undecided
from portproof.maps._written import source_of
from portproof.ports._port import LEADING

#: Lines of one kind that are printed.
_SHOWN = 12


def lines_of(found: FoundMap) -> Iterator[str]:
    """Yield what is said about a map, but for the map itself."""
    if found.crossed and found.verdict in ("crossed", "proven", "proven but"):
        yield "only this pairing is the same function, and it goes against the names:"
        yield from _some(
            f"  {one.torch} ↔ {one.paddle}: crossed; its name is that of {one.named}" for one in found.crossed
        )
        yield "  a port with two of its parts exchanged looks like this; --accept-crossed takes the map all the same"
    yield f"map: {found.said}"
    outputs = max(found.outputs.values(), default=0.0)
    yield (
        f"  {_many(found.tensors, 'tensor')}, {_many(found.rules, 'rule')}; all values random and distinct, the "
        f"outputs are {_floors(outputs)} apart, the gradients at most {_floors(found.gradient[0])}"
        + (f" ('{found.gradient[1]}')" if found.gradient[0] > 1 and found.gradient[1] else "")
    )
    yield from _some(f"  but: {d.torch} ↔ {d.paddle}: {d.reason}" for d in found.doubts)
    for group in found.undecided:
        yield f"undecided: {group.reason}"
        yield from _group(group)
    for note in found.notes:
        yield f"note: {note}"
    yield f"{_many(found.passes, 'run')} of each side, {found.seconds:.0f} s"


def _many(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _floors(value: float) -> str:
    return f"{value:.1f} noise floors" if value < 1 / EPSILON["float16"] else f"{value:.0e} noise floors"


def _group(group: Undecided) -> Iterator[str]:
    for side in LEADING:
        named = group.names.get(side, ())
        yield from _some(f"  {side} {name} {list(shape)}" for name, shape in named)


def _some(lines: Iterator[str]) -> Iterator[str]:
    """Yield the first lines, and how many others there are."""
    yield from islice(lines, _SHOWN)
    rest = sum(1 for _ in lines)
    if rest:
        yield f"  and {rest} more"


def map_source(found: FoundMap) -> str:
    """Return the map as it is put into a port file; what is only guessed is said in comments above it."""
    guesses = [f"# guessed, check it: '{name}'" for name in found.guesses]
    return "\n".join([*guesses, f"weights={source_of(found.weights)},"])
