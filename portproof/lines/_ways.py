"""The way of a value through a model's own code: made, bound to names, handed on, returned, passed, used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from portproof.lines._calls import RETURNED, Bound, Call, Given, Place, Statement
from portproof.lines._match import Matched

#: The call of a decorator's wrapper.
_WRAPPER = re.compile(r"[\w.]+\(\*\w+, \*\*\w+\)")


@dataclass(frozen=True)
class Station:
    """A line on the way of a value.

    Attributes:
        place: of the statement; of the expression, where the value is passed or used.
        frame: in which it runs.
        how: "made" (by a call on this line), "handed" (given to a call that hands it on), "silent" (no call is made),
            "passed" (to a function of the model's own), "used" (by the call where the way ends).
        names: that are bound to it there.
        at: calls made until the line was over.
        copies: the line only hands on what one name holds.
        packs: it is put into a tuple or a list with others, by no call.
    """

    place: Place
    frame: int
    how: str
    names: tuple[str, ...]
    at: int
    copies: bool = False
    packs: bool = False

    @property
    def returns(self) -> bool:
        return RETURNED in self.names

    @property
    def is_idle(self) -> bool:
        """Whether the line does nothing but give the value another name."""
        return self.how == "silent" and self.copies and not self.returns

    @property
    def is_itself(self) -> bool:
        """Whether the line gives the value the name that it has: ``h = h``, which nobody means."""
        return self.is_idle and set(self.names) == set(self.place.reads)

    @property
    def line(self) -> tuple[str, int, int]:
        return self.place.file, self.place.line, self.frame


class Ways:
    """The ways of values in two recordings.

    Args:
        matched: both.
    """

    def __init__(self, matched: Matched) -> None:
        self.m = matched
        self._bound: dict[str, dict[tuple[int, int, str], list[tuple[Statement, Bound]]]] = {}

    def bound(self, side: str, given: Given | Bound) -> list[tuple[Statement, Bound]]:
        """Return the statements that bind a value to a name or return it."""
        if side not in self._bound:
            table = self._bound[side] = {}
            for statement in self.m.of[side].statements:
                for one in statement.bound:
                    table.setdefault((one.maker, one.slot, one.leaf), []).append((statement, one))
        return self._bound[side].get((given.maker, given.slot, given.leaf), [])

    def around(self, side: str, frame: int) -> list[int]:
        """Return a frame and those around it, the innermost first."""
        found = []
        while frame >= 0:
            found.append(frame)
            frame = self.m.of[side].frames[frame].parent
        return found

    def depth(self, side: str, frame: int) -> int:
        """Return how many frames of its module are around a frame, those of decorators apart."""
        frames = self.m.of[side].frames
        around = [frames[other] for other in self.around(side, frame)[1:]]
        return sum(one.module == frames[frame].module and not one.wraps for one in around)

    def way(self, side: str, given: Given, user: Call) -> list[Station]:
        """Return the stations of what a call is given, from where it is made to the call."""
        maker = self.m.call(side, given.maker)
        frames, places = self.m.of[side].frames, self.m.of[side].places
        where = {frame: places[place] for frame, place in zip(user.frames, user.places, strict=False) if frame >= 0}
        down = self.around(side, next(iter(where))) if where else ([0] if frames else [])
        up = self.around(side, next((f for f in maker.frames if f >= 0), -1)) if maker is not None else []
        if maker is None and down:
            up = down[-1:]
        common = next((frame for frame in up if frame in down), -1)  # none where a framework's own code is around them
        inner = down[: down.index(common)] if common in down else down
        outer = [*up[: up.index(common)], common] if common in up else up
        way = [*outer, *inner]
        found = [station for frame in outer for station in self._in(side, frame, given, user, way)]
        for frame in reversed(inner):
            parent = frames[frame].parent
            if parent in where:
                key = (given.maker, given.slot, given.leaf)
                names = tuple(b.name for b in frames[frame].given if (b.maker, b.slot, b.leaf) == key)
                found.append(Station(where[parent], parent, "passed", names, user.index))
            found += self._in(side, frame, given, user, way)
        if where:
            frame = next(iter(where))
            found.append(Station(where[frame], frame, "used", (), user.index))
        return self._read(side, found)

    def _in(self, side: str, frame: int, given: Given, user: Call, way: Sequence[int]) -> list[Station]:
        """Return the stations in a frame, and in those of functions that are called there and hand the value on.

        ``way`` has the frames that are looked at by themselves.
        """
        found: dict[int, Station] = {}
        for statement, one in self.bound(side, given):
            if statement.ended > user.index or not self._is_within(side, statement.frame, frame, way):
                continue
            how = "silent" if statement.begun == statement.ended else "handed"
            if statement.begun <= given.maker < statement.ended:
                how = "made"
            known = found.get(id(statement))
            names = (*known.names, one.name) if known is not None else (one.name,)
            place = self.m.of[side].places[statement.place]
            packs = how == "silent" and not one.whole
            found[id(statement)] = Station(place, statement.frame, how, names, statement.ended, statement.copies, packs)
        return list(found.values())

    def _is_within(self, side: str, inner: int, frame: int, way: Sequence[int]) -> bool:
        around = self.around(side, inner)
        return inner == frame or (frame in around and not set(around[: around.index(frame)]) & set(way))

    def _read(self, side: str, stations: Sequence[Station]) -> list[Station]:
        """Leave out what was bound to a name that nothing after it reads."""
        kept: list[Station] = []
        later: dict[int, set[str]] = {}
        for station in reversed(stations):
            names = set(station.names) - {RETURNED}
            read = later.setdefault(station.frame, set())
            if station.how == "silent" and not station.returns and not names & read:
                continue
            read.update(station.place.reads)
            kept.append(station)
        return kept[::-1]

    def statement(self, side: str, call: Call, level: int) -> tuple[Place, bool]:
        """Return the whole statement around a call, in one of the frames around it, and whether it returns the result.

        Without a statement that binds or returns something, the expression.
        """
        place = self.m.of[side].places[call.places[level]]
        frame = call.frames[level] if level < len(call.frames) else -1
        for one in self.m.of[side].statements:
            if one.frame == frame >= 0 and one.begun <= call.index < one.ended:
                returned = any(b.name == RETURNED and b.maker == call.index for b in one.bound)
                return self.m.of[side].places[one.place], returned
        return place, False

    def level(self, call: Call, module: str, frame: int) -> Place | None:
        """Return torch's place of a call in the module that stands for one of Paddle's, about as deep in it as a frame.

        A decorator's own line, which hands on all that it is given, is none.
        """
        depth = self.depth("paddle", frame) if frame >= 0 else 0
        found = []
        for number, other in zip(call.places, call.frames, strict=False):
            place = self.m.of["torch"].places[number]
            if self.m.partner(place.module) == module and not _WRAPPER.fullmatch(place.text):
                found.append((abs(self.depth("torch", other) - depth) if other >= 0 else 1, place))
        return min(found, key=lambda entry: entry[0])[1] if found else None

    def in_functions(self, torch: Call, stations: Sequence[Station]) -> Sequence[Station]:
        """Leave out stations in functions of a module that torch has by that name, too, and does not make a call in."""
        frames = {side: self.m.of[side].frames for side in ("torch", "paddle")}
        around = {frames["torch"][frame].function for frame in torch.frames if frame >= 0}
        others = {(self.m.partner(one.module), one.function) for one in frames["torch"] if one.function not in around}
        kept = []
        for station in stations:
            own = frames["paddle"][station.frame] if station.frame >= 0 else None
            if own is None or (own.module, own.function) not in others:
                kept.append(station)
        return kept or stations

    def names(self, side: str, kind: tuple[str, int]) -> set[str]:
        """Return the names of variables and parameters that a kind of value has on a side."""
        recording = self.m.of[side]
        bound = [one for statement in recording.statements for one in statement.bound]
        bound += [one for frame in recording.frames for one in frame.given]
        return {one.name for one in bound if one.name != RETURNED and self.m.kind(side, one.value) == kind}

    def held(self, side: str, kind: tuple[str, int], frame: int, until: int) -> bool:
        """Whether some name of a frame holds a kind of value before a call, or a call in it makes it."""
        recording = self.m.of[side]
        if any(self.m.kind(side, one.value) == kind for one in recording.frames[frame].given):
            return True
        for statement in recording.statements:
            named = (one for one in statement.bound if one.name != RETURNED)
            here = statement.frame == frame and statement.ended <= until
            if here and any(self.m.kind(side, one.value) == kind for one in named):
                return True
        return any(
            call.frames[:1] == (frame,) and call.index < until and any(self.m.kind(side, v) == kind for v in call.made)
            for call in recording.calls
        )  # fmt: skip
