"""Where Paddle's code comes to another tensor than torch's: a name for another, on the line of its use or before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portproof.lines._calls import RETURNED, Call, Given, Place
from portproof.lines._match import LAYOUT, base, one_function
from portproof.lines._ways import Station, Ways


@dataclass(frozen=True)
class OtherTensor:
    """A line that hands on another tensor than it should.

    Attributes:
        place: the likeliest.
        others: that it may be.
        torch: the line beside it.
        certain: it is no other.
    """

    place: Place
    others: tuple[Place, ...]
    torch: Place | None
    certain: bool


def other_tensor(
    ways: Ways, right: Given, owner: Call, wrong: Given, user: Call, *, named: bool = False
) -> OtherTensor | None:
    """Return the line where a wrong tensor comes in; None where the ways of values tell nothing.

    Args:
        ways: of values.
        right: what torch's call is given.
        owner: torch's call.
        wrong: what Paddle's call is given in its place.
        user: Paddle's call.
        named: only where a name tells.
    """
    m = ways.m
    if not named:
        right, owner, wrong, user = _first(ways, right, owner, wrong, user)
    kinds = _as_made(ways, right), m.kind("paddle", wrong.value)
    stations = ways.way("paddle", wrong, user)
    named_kinds = m.kind("torch", right.value), kinds[1]
    twice = _reads_it_twice(stations, wrong, user)
    station = None if twice else _overwriting(ways, stations, kinds[0]) or _misnamed(ways, stations, *named_kinds)
    if station is not None:
        maker = (
            m.call("torch", right.maker) if station.how in ("silent", "made") else None
        )  # a name alone, or another's: it should make the value
        return _found(ways, station, stations, maker or owner, certain=False)
    if named:
        return None
    frames = list(dict.fromkeys(station.frame for station in reversed(stations)))
    for frame in frames:  # from the use outwards: where the right one is at hand, it could have been taken
        if ways.held("paddle", kinds[0], frame, user.index):
            own = [station for station in stations if station.frame == frame]
            meant = ways.names("torch", kinds[1])  # which torch gives the same tensor, too
            copies = [s for s in own if s.copies and not s.returns and not set(s.names) <= meant]
            copies = [s for s in copies if not _is_read_rightly(ways, s, wrong, user)]
            chosen = copies[-1] if copies and not twice else own[-1]
            return _found(ways, chosen, own, owner, certain=chosen.how in ("used", "passed") and _is_plain(own))
    return None


def _reads_it_twice(stations: Sequence[Station], wrong: Given, user: Call) -> bool:
    """Whether the line of use has one name for two arguments: ``h + h``."""
    names = {name for station in stations for name in station.names} & set(stations[-1].place.reads)
    return user.given.count(wrong) > 1 and len(names) == 1


def _is_read_rightly(ways: Ways, copy: Station, wrong: Given, user: Call) -> bool:
    """Whether another call on a line that reads the copy's name is given the same tensor, as one of torch's is."""
    m = ways.m
    kind = m.kind("paddle", wrong.value)
    takers = {
        (base(call.name), place)
        for call in m.of["torch"].calls for place, given in enumerate(call.given)
        if m.kind("torch", given.value) == kind
    }  # fmt: skip
    for other in m.users("paddle", wrong.maker):
        here = [n for n, f in zip(other.places, other.frames, strict=False) if f == copy.frame]
        reads = {name for n in here for name in m.of["paddle"].places[n].reads}
        mine = {(base(other.name), place) for place, g in enumerate(other.given) if g.maker == wrong.maker}
        if other.index != user.index and mine & takers and reads & set(copy.names):
            return True
    return False


def _as_made(ways: Ways, right: Given) -> tuple[str, int]:
    """Return the kind of a value of torch's; where Paddle makes another in its place, that one's."""
    m = ways.m
    kind, maker = m.kind("torch", right.value), m.call("torch", right.maker)
    if maker is None or any(m.kind("paddle", value) == kind for call in m.of["paddle"].calls for value in call.made):
        return kind
    standing = m.counterpart(maker)
    return m.kind("paddle", standing.made[right.slot]) if standing and right.slot < len(standing.made) else kind


def _first(ways: Ways, right: Given, owner: Call, wrong: Given, user: Call) -> tuple[Given, Call, Given, Call]:
    """Go back through what only arranges the two tensors, as long as both sides do the same."""
    m = ways.m
    while True:
        mine, theirs = m.call("torch", right.maker), m.call("paddle", wrong.maker)
        if mine is None or theirs is None or not one_function(mine.name, theirs.name):
            return right, owner, wrong, user
        if base(mine.name) not in LAYOUT or not mine.given or not theirs.given:
            return right, owner, wrong, user
        if m.kind("torch", mine.given[0].value) == m.kind("paddle", theirs.given[0].value):
            return right, owner, wrong, user
        right, owner, wrong, user = mine.given[0], mine, theirs.given[0], theirs


def _overwriting(ways: Ways, stations: Sequence[Station], right: tuple[str, int]) -> Station | None:
    """Return the last station that only copies the wrong tensor to a name that held the right one."""
    m = ways.m
    for station in reversed(stations):
        if not station.copies or station.returns or station.how != "silent":
            continue
        for statement in m.of["paddle"].statements:
            before = statement.frame == station.frame and statement.ended <= station.at
            if before and any(
                one.name in station.names and m.kind("paddle", one.value) == right for one in statement.bound
            ):
                return station
    return None


def _misnamed(
    ways: Ways, stations: Sequence[Station], right: tuple[str, int], wrong: tuple[str, int]
) -> Station | None:
    """Return the first station that gives the wrong tensor a name that torch has for the right one."""
    goods, bads = ({_plain(name) for name in ways.names("torch", kind)} for kind in (right, wrong))
    if not goods or not bads:
        return None
    for station in stations:
        names = {_plain(name) for name in station.names if name != RETURNED}
        if any(_alike(name, goods - bads) and not _alike(name, bads) for name in names):
            return station
    return None


def _plain(name: str) -> str:
    return name.lower().strip("_").replace("_", "")


def _alike(name: str, others: set[str]) -> bool:
    """Whether a name is one of others, or either is the beginning of the other."""
    return any(name.startswith(other) or other.startswith(name) for other in others)


def _is_plain(stations: Sequence[Station]) -> bool:
    """Whether the tensor has its name from a line that makes it, or as a parameter: from none that takes it apart."""
    return all(station.how in ("made", "used", "passed") for station in stations)


def _found(ways: Ways, chosen: Station, stations: Sequence[Station], owner: Call, *, certain: bool) -> OtherTensor:
    others = {s.line: s.place for s in stations if s.line != chosen.line and s.place.module == chosen.place.module}
    near = sorted(others.values(), key=lambda place: abs(place.line - chosen.place.line))
    return OtherTensor(chosen.place, tuple(near), ways.level(owner, chosen.place.module, chosen.frame), certain)
