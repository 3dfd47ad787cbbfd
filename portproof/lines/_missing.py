"""Where Paddle's code misses what torch's computes: one of the lines that the value goes through without it."""

from __future__ import annotations

import linecache
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from portproof.lines._calls import RETURNED, Call, Given, Place
from portproof.lines._match import LAYOUT, Matched, base, one_function
from portproof.lines._stacks import on_line
from portproof.lines._values import is_constant
from portproof.lines._ways import Station, Ways


@dataclass(frozen=True)
class Missing:
    """A line that misses something.

    Attributes:
        place: the likeliest.
        others: the lines around it that it may be.
        torch: the line that Paddle's would be beside.
        certain: it is no other.
    """

    place: Place
    others: tuple[Place, ...]
    torch: Place
    certain: bool


def missing(
    ways: Ways, torch: Call, read: Sequence[tuple[Given, Call]], region: Sequence[Call],
    after: Sequence[Sequence[tuple[Given, Call]]] = (),
) -> Missing | None:  # fmt: skip
    """Return the line that misses a call of torch's; None where the ways of values tell nothing.

    Args:
        ways: of values.
        torch: the call, the first that is missing.
        read: what Paddle's calls are given without it.
        region: torch's calls that are missing.
        after: what is read where calls of Paddle's hand it on as it is, the last first.
    """
    stations = [
        station for some in (read, *reversed(after))
        for station in _common([ways.way("paddle", given, user) for given, user in some[:6]])
    ]  # fmt: skip
    beside = ways.m.of["torch"].places[torch.places[0]] if torch.places else None
    twin = _twin(ways, torch, {station.frame for station in stations})
    if twin is not None and beside is not None:
        return Missing(twin, tuple(station.place for station in stations), beside, certain=False)
    asking = _asking(ways, torch, stations)
    if asking is not None and beside is not None:
        places = tuple(dict.fromkeys(station.place for station in stations[::-1]))
        return Missing(asking, places, beside, certain=True)
    used = after[0] if after else read
    users, given = [user for _, user in used], _Given(ways, torch, used)
    level, own = _where(ways, torch, given.late(stations), given, users)
    return _Level(ways, torch, level, own, region, given).chosen() if own else None


def _asking(ways: Ways, torch: Call, stations: Sequence[Station]) -> Place | None:
    """Return Paddle's one condition, on the way of the value, that asks for the module whose call is missing."""
    m, path = ways.m, ways.m.idle(torch.module)
    if path is None or not stations:
        return None
    frames, until = {station.frame for station in stations}, max(station.at for station in stations)
    found = dict[Place, None]()
    for one in m.of["paddle"].asked:
        place = m.of["paddle"].places[one.place]
        own = path.removeprefix(f"{place.module}.") if place.module else path
        is_inside = own != path or not place.module
        if one.frame in frames and one.at <= until and is_inside and own.split(".")[0] in one.attributes:
            found[place] = None
    return next(iter(found)) if len(found) == 1 else None


def _twin(ways: Ways, torch: Call, frames: Set[int]) -> Place | None:
    """Return Paddle's line that arranges one value as torch's code does several beside each other.

    The line does only that; what it is given has been made before. The nearest before torch's call, else after it.
    """
    m, found = ways.m, list[tuple[bool, int, Place]]()
    alike = [
        one for one in m.of["torch"].calls
        if one is not torch and not one.part and one.made
        and (one.name, one.arguments, one.frames[:1]) == (torch.name, torch.arguments, torch.frames[:1])
    ]  # fmt: skip
    kinds = {m.kind("torch", one.made[0]): one for one in alike if torch.frames and base(torch.name) in LAYOUT}
    for call in m.of["paddle"].calls:
        other = kinds.get(m.kind("paddle", call.made[0])) if call.made and not call.part else None
        if other is None or not set(call.frames[:1]) & frames or not one_function(call.name, other.name):
            continue
        if not _makes_its_own(m, call):
            place = m.of["paddle"].places[call.places[0]]
            found.append((other.index > torch.index, abs(other.index - torch.index), place))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _makes_its_own(m: Matched, call: Call) -> bool:
    """Whether the line of a call makes what the call is given, too."""
    places = m.of["paddle"].places
    makers = [maker for given in call.given if (maker := m.call("paddle", given.maker)) is not None]
    above = [n for maker in makers for n, f in zip(maker.places, maker.frames, strict=False) if f in call.frames[:1]]
    return any(on_line(places[call.places[0]], places[n]) for n in above)


def _where(
    ways: Ways, torch: Call, stations: list[Station], given: _Given, users: Sequence[Call]
) -> tuple[int, list[Station]]:
    """Return which of the frames around torch's call Paddle's line stands for, and the stations that it may be."""
    itself = [station for station in stations if station.is_itself]
    if itself:
        return 0, itself
    own = _around_idle(ways, torch, stations)
    if own:
        return _level(ways, torch, own[0].place.module), own
    if given.more and given.count > 1 and given.twice:  # ``h + h`` is torch's sum, and one of them should be another
        return 0, stations[-1:]
    if given.more and given.count > 1:
        idle = _renamed(ways, users)
        if len(idle) == 1:
            return 0, idle
    if given.count > 1 and given.is_made:
        stations = given.at_hand(stations)
        last = [station for station in stations if station.names and not station.returns][-1:]
        if last and last[0].copies and not given.more:
            return _level(ways, torch, last[0].place.module), last
    frame = _frame_of_next(ways.m, torch, users) if base(torch.name) in LAYOUT else None
    own = [station for station in stations if station.frame == frame]
    if own:
        return 0, own
    for module in dict.fromkeys([torch.module, *(_module(ways, number) for number in torch.places)]):
        path = ways.m.partner(module)
        while path is not None:  # where Paddle does not run it, whatever is around it
            own = [station for station in stations if station.place.module == path]
            if own:
                return _level(ways, torch, path), own
            path = path.rpartition(".")[0] if path else None
    return 0, stations if torch.places else []  # Paddle's module is none of torch's


def _around_idle(ways: Ways, torch: Call, stations: Sequence[Station]) -> list[Station]:
    """Return the lines in modules of Paddle's that have one for torch's function and never run it."""
    around = {
        path.rpartition(".")[0] for path, kind in ways.m.of["paddle"].idle if _plain(kind) == _plain(base(torch.name))
    }
    own = [station for station in stations if station.place.module in around]
    return [station for station in own if station.place.module == own[0].place.module]


def _plain(name: str) -> str:
    """Return what the name of a function and that of its module have in common: ``batch_norm``, ``BatchNorm2D``."""
    return re.sub(r"\dd$", "", name.replace("_", "").lower())


def _level(ways: Ways, torch: Call, path: str) -> int:
    """Return which of the frames around torch's call is in the module that stands for a path of Paddle's, else 0."""
    return next((i for i, number in enumerate(torch.places) if ways.m.partner(_module(ways, number)) == path), 0)


def _renamed(ways: Ways, users: Sequence[Call]) -> list[Station]:
    """Return the lines that only give a part of a sum another name, which torch has not for it."""
    found: dict[tuple[str, int, int], Station] = {}
    for user in users:
        for given in user.given:
            known = ways.names("torch", ways.m.kind("paddle", given.value))
            idle = (station for station in ways.way("paddle", given, user) if station.is_idle)
            found |= {station.line: station for station in idle if not set(station.names) & known}
    return list(found.values())


def _frame_of_next(m: Matched, torch: Call, users: Sequence[Call]) -> int | None:
    """Return the frame of Paddle's call that stands for the one after torch's, in its frame; None where none does."""
    near = [one for one in m.users("torch", torch.index) if one.frames[:1] == torch.frames[:1]]
    alike = [user for user in users if user.frames and any(one_function(one.name, user.name) for one in near)]
    return alike[0].frames[0] if alike else None


def _module(ways: Ways, number: int) -> str:
    return ways.m.of["torch"].places[number].module


class _Given:
    """What torch's call is given, as Paddle makes it.

    Attributes:
        count: of tensors that are computed.
        more: Paddle makes a call of the same function next.
        is_made: Paddle makes all of it.
        twice: Paddle's call is given the value twice, ``h + h``: what is missing of one comes after ``r = h``.
    """

    def __init__(self, ways: Ways, torch: Call, read: Sequence[tuple[Given, Call]]) -> None:
        self.more = bool(read) and all(base(user.name) == base(torch.name) for _, user in read)
        self.twice = any(user.given.count(given) > 1 for given, user in read)
        self._ways, m = ways, ways.m
        made: dict[tuple[str, int], int] = {}
        self._kinds = []
        for call in m.of["paddle"].calls:
            for value in call.made:
                made.setdefault(m.kind("paddle", value), call.index)
        computed = [given for given in torch.given if not given.leaf and given.maker >= 0]
        computed = [g for g in computed if not is_constant(m.of["torch"].values[g.value].features)]
        self._kinds = list(dict.fromkeys(m.kind("torch", given.value) for given in computed))
        self.count = len(computed)
        self.is_made = all(kind in made for kind in self._kinds)
        self._since = max((made.get(kind, -1) for kind in self._kinds), default=-1)

    def late(self, stations: list[Station]) -> list[Station]:
        """Leave out what is over before all of it has been made."""
        return [station for station in stations if station.at > self._since] or stations

    def at_hand(self, stations: list[Station]) -> list[Station]:
        """Leave out the frames in which some of it is in nobody's hands."""
        until = max((station.at for station in stations), default=0)
        frames = {
            frame: all(self._ways.held("paddle", kind, frame, until + 1) for kind in self._kinds)
            for frame in {station.frame for station in stations}
        }
        return [station for station in stations if frames[station.frame]] or stations


def _indent(place: Place) -> int:
    """Return by how much the first line of an expression is indented."""
    line = linecache.getline(place.file, place.line)
    return len(line) - len(line.lstrip())


def _common(ways: Sequence[list[Station]]) -> list[Station]:
    """Return the stations that all ways have in common, the first's where there are none."""
    if not ways:
        return []
    lines = [{station.line for station in way} for way in ways]
    shared = [station for station in ways[0] if all(station.line in own for own in lines)]
    return shared or ways[0]


class _Level:
    """The stations of a way in the module whose forward has torch's call."""

    def __init__(
        self, ways: Ways, torch: Call, level: int, stations: Sequence[Station], region: Sequence[Call], given: _Given
    ) -> None:
        self.ways, self.m, self.torch, self.joins, self.more = ways, ways.m, torch, given.count > 1, given.more
        self.twice = given.twice
        self.region = {call.index for call in region} | {torch.index}
        for self.level in range(level, -1, -1):  # a line that makes, computes and uses it says nothing
            self.mine, self.returned = ways.statement("torch", torch, self.level)
            if not all(self._beside()):
                break
        level, stations = self.level, ways.in_functions(torch, stations)
        depth = ways.depth("torch", torch.frames[level]) if torch.frames[level] >= 0 else 0
        same = [station for station in stations if ways.depth("paddle", station.frame) == depth]
        self.own = same or list(stations)
        # A helper of one side need not be that of the other; a module's forward is.
        self.sure = level == 0 == depth and bool(same) and self.m.partner(self.mine.module) == same[0].place.module

    def chosen(self) -> Missing:
        station, certain = self._chosen()
        station = self._outside(station)
        lines = {other.line: other.place for other in self.own}
        others = [place for line, place in lines.items() if line != station.line]
        if station.how in ("used", "passed"):  # it is missing between them
            others += self._copied("paddle")
        near = sorted(others, key=lambda place: abs(place.line - station.place.line))
        sure = self.sure or (station.copies and not station.returns)
        return Missing(station.place, tuple(near), self._beside_it(station), sure and (certain or not others))

    def _beside_it(self, station: Station) -> Place:
        """Return torch's line: innermost, or where it calls a module that Paddle has, too, and does not run here."""
        places = [self.m.of["torch"].places[number] for number in self.torch.places]
        skipped = any(self.m.partner(place.module) is not None for place in places[: self.level])
        kinds = [self.m.kind("torch", given.value) for given in self.torch.given]
        own = station.is_idle and set(station.place.reads) & set().union(*(self.ways.names("paddle", k) for k in kinds))
        if self.more and not own:  # the sum of all of it
            last = self._last()
            return self.m.of["torch"].places[last.places[0]]
        return places[self.level] if skipped else places[0]

    def _last(self) -> Call:
        """Return the last call of torch's that does the same to the result, and to nothing else."""
        call = self.torch
        while True:
            users = self.m.users("torch", call.index)
            if len(users) != 1 or base(users[0].name) != base(call.name) or not users[0].places:
                return call
            call = users[0]

    def _outside(self, station: Station) -> Station:
        """Return the line before one in a block of its own (``if``), where there is one: it is missing between them."""
        if station.how not in ("used", "passed"):
            return station
        before = [
            one
            for one in self.own
            if one.frame == station.frame and one.at <= station.at and one.how in ("made", "silent") and not one.returns
        ]
        nested = bool(before) and _indent(station.place) > _indent(before[-1].place)
        return before[-1] if nested else station

    def _chosen(self) -> tuple[Station, bool]:
        own, copies = self.own, [station for station in self.own if station.copies]
        if self.joins and self.more:  # it is given one part too few
            return own[-1], False
        handed = [station for station in own if station.how == "handed"]
        returns = [station for station in copies if station.returns]
        bound = [station for station in copies if not station.returns]
        itself = [station for station in own if station.is_itself]
        if itself:
            return itself[-1], True
        sooner = any(index == self.torch.index for index, _ in self.m.of["torch"].handed)  # torch's dropout comes after
        if handed and base(self.torch.name) == "add" and not sooner:  # unless it is returned as it is made
            if self.returned and returns and returns[-1].at >= handed[-1].at:
                return returns[-1], self.joins
            if self._is_summed_below(handed[-1]):
                return own[-1], False
            return handed[-1], self.joins
        meant = [station for station in bound if self._is_meant(station)]
        if meant:
            return meant[-1], True
        above, below = self._beside()
        if below:
            return own[-1], False
        if returns and self.returned and not above:
            return returns[-1], True
        if above:  # to return what a name holds is no place for it
            return own[0], all(s.line == own[0].line or (s.copies and s.returns) for s in own)
        if self.joins and self._is_nearer_below():
            return own[-1], False
        before = [
            s for s in own if s.how not in ("used", "passed") and (self.returned or not s.returns) and not s.packs
        ]
        if handed and before and sooner:
            if self._is_nearer_to_dropout():
                return handed[0], False
            before = before[: before.index(handed[0])] or before
        if own[-1].how in ("used", "passed") and (self.twice or self._is_after_a_copy()):
            return own[-1], False
        return ((bound or before or own)[-1], False)

    def _is_after_a_copy(self) -> bool:
        """Whether each side gives what the call is given another name (``residual = h``), torch before the call."""
        return all(self._copied(side) for side in ("torch", "paddle"))

    def _copied(self, side: str) -> list[Place]:
        """Return the lines that give what the call is given another name before it, and do nothing else."""
        region = [call for call in self.m.of["torch"].calls if call.index in self.region]
        kinds = self.m.entering("torch", region)
        frame, until = (
            (self.torch.frames[self.level], region[0].index) if side == "torch"
            else (self.own[-1].frame, self.own[-1].at)
        )  # fmt: skip
        return [
            self.m.of[side].places[one.place] for one in self.m.of[side].statements
            if one.copies and one.frame == frame and one.begun == one.ended <= until
            and any(b.name != RETURNED and self.m.kind(side, b.value) in kinds for b in one.bound)
        ]  # fmt: skip

    def _is_nearer_to_dropout(self) -> bool:
        """Whether torch's line is nearer to the dropout that is handed its result than to what makes its argument."""
        places = [self.m.of["torch"].places[n] for index, own in self.m.of["torch"].handed if index == self.torch.index
                  for n in own]  # fmt: skip
        above, below = self._gaps([place for place in places if place.file == self.mine.file])
        return bool(below and above) and min(below) < min(above)

    def _is_meant(self, station: Station) -> bool:
        """Whether a line that copies a name is the one: of several parts, or to torch's name for the result alone."""
        if self.joins:
            return True
        made, given = (
            set().union(*(self.ways.names("torch", self.m.kind("torch", value)) for value in values))
            for values in (self.torch.made, [given.value for given in self.torch.given])
        )
        return bool(set(station.names) & (made - given))

    def _is_summed_below(self, handed: Station) -> bool:
        """Whether torch sums where it uses the result, and what a dropout's line makes is called a part of the sum.

        It has the name that torch has for one, or says that it is a dropout's.
        """
        result = [self.m.kind("torch", value) for value in self.torch.made]
        names = set(handed.names) - set().union(*(self.ways.names("torch", kind) for kind in result))
        parts = [self.m.kind("torch", given.value) for given in self.torch.given]
        named = any(names & self.ways.names("torch", kind) for kind in parts) or any("drop" in name for name in names)
        return self._beside()[1] and named

    def _beside(self) -> tuple[bool, bool]:
        """Whether torch's statement makes what its call is given, too, and whether it uses the result."""
        return any(on_line(self.mine, p) for p in self._above()), any(on_line(self.mine, p) for p in self._below())

    def _above(self) -> list[Place]:
        makers = [self.m.call("torch", given.maker) for given in self.torch.given]
        return self._here([maker for maker in makers if maker is not None])

    def _below(self) -> list[Place]:
        return self._here(self.m.users("torch", self.torch.index))

    def _here(self, calls: Sequence[Call]) -> list[Place]:
        """Return where calls are made in the frame of torch's own."""
        frame = self.torch.frames[self.level]
        return [
            self.m.of["torch"].places[place]
            for call in calls if call.index not in self.region
            for place, other in zip(call.places, call.frames, strict=False) if other == frame
        ]  # fmt: skip

    def _is_nearer_below(self) -> bool:
        above, below = self._gaps(self._below())
        return bool(below) and (not above or min(below) < min(above))

    def _gaps(self, below: Sequence[Place]) -> tuple[list[int], list[int]]:
        """Return how many lines torch's is below what makes its argument, and above some places."""
        return (
            [self.mine.line - place.end for place in self._above() if place.end < self.mine.line],
            [place.line - self.mine.end for place in below if place.line > self.mine.end],
        )
