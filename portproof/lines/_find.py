"""The lines of a port that is another function, as a report has them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof.judge._report import Line, LinePair
from portproof.lines._blame import blame
from portproof.lines._calls import Place
from portproof.lines._gap import Blamed
from portproof.lines._match import Matched
from portproof.lines._recorder import Carried
from portproof.lines._repairs import Repair
from portproof.lines._search import Search
from portproof.lines._tasks import LineTasks, Recorded, Rerun
from portproof.lines._words import differ
from portproof.ports._inputs import take_rows
from portproof.sides._sides import Sides

#: Seconds that a search may take, and bytes of values that a side may write.
SECONDS, BYTES = 60.0, 2**30
#: Numbers of an input's row up to which two rows are run; of larger ones, one.
_LARGE = 2**15
#: Lines of one region that are named.
_NAMED = 3


#: Paths of Paddle's module and of torch's in which a pair of lines runs, and the pair.
Paired = tuple[tuple[tuple[str | None, str | None], ...], LinePair]


class SideForwards:
    """The forwards of a port's two sides, each in its own process.

    Args:
        sides: with the weights loaded on which they differ.
        inputs: file of rows.
        order: of its rows; the first few are run.
        name: of the folder for what is recorded.
    """

    def __init__(self, sides: Sides, inputs: Path, order: Sequence[int], name: str = "lines") -> None:
        self._sides = sides
        self.folder = sides.sessions.room(name, 2 * BYTES)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._inputs = self.folder / "rows.safetensors"
        arrays, port = load_file(inputs), sides.sessions.located.port
        large = any(arrays[name][0].size > _LARGE for name, declared in port.inputs.items() if declared.has_rows)
        save_arrays(self._inputs, take_rows(port, arrays, list(order[: 1 if large else 2])))

    def record(self, side: str, name: str, carried: Sequence[Carried] = ()) -> Future[Recorded]:
        """See :class:`portproof.lines._search.Forwards`."""
        return self._sides.do(
            side, "recording calls", LineTasks.record_calls,
            inputs=self._inputs, folder=self.folder / side, out=self.folder / f"{name}.safetensors",
            limit=BYTES, carried=carried,
        )  # fmt: skip

    def carry(self, name: str, carried: Sequence[Carried]) -> Rerun:
        """See :class:`portproof.lines._search.Forwards`."""
        out = self.folder / f"{name}.safetensors"
        task = self._sides.do(
            "paddle", "carrying values over", LineTasks.carry_over, inputs=self._inputs, out=out, carried=carried
        )
        return task.result()

    def close(self) -> None:
        """Give the room back."""
        self._sides.sessions.settle()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Lines:
    """What a search found.

    Attributes:
        pairs: in the order in which they were found.
        notes: for a person.
        seconds, runs: that it took.
    """

    pairs: tuple[Paired, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    runs: int = 0


def find_lines(sides: Sides, inputs: Path, order: Sequence[int], seconds: float = SECONDS) -> Lines:
    """Name the lines where the two sides part, on weights and rows on which they do.

    Args:
        sides: with these weights loaded.
        inputs: file of rows.
        order: of its rows, the most telling first.
        seconds: after which nothing new is begun.

    Raises:
        ModelRaised: a side's forward raised.
    """
    begun = time.monotonic()
    forwards = SideForwards(sides, inputs, order)
    try:
        search = Search(forwards, seconds, partners(sides))
        search.search()
        pairs = [_pair(repair) for repair in search.repairs]
        if search.unexplained is not None:
            pairs += _likely(search)
    finally:
        forwards.close()
    if search.late:
        search.notes.append(f"lines: the search ended after its {seconds:.0f} s; what it had not tried is not named")
    pairs = [(modules, pair) for modules, pair in pairs if pair.paddle or pair.torch]  # else all is a framework's own
    return Lines(tuple(_once(pairs)), tuple(search.notes), time.monotonic() - begun, search.runs)


def _once(pairs: Sequence[Paired]) -> list[Paired]:
    """Name a line once, where its value had to be carried over in two places; a confirmed pair before another."""
    found: dict[object, Paired] = {}
    for entry in pairs:
        pair = entry[1]
        key = (pair.paddle[0].file, pair.paddle[0].line) if pair.paddle else pair
        known = found.get(key)
        if known is None or (pair.confirmed and not known[1].confirmed):
            found[key] = entry
    return list(found.values())


def partners(sides: Sides) -> dict[str, str]:
    """Return the paths of torch's modules, and those of Paddle's that stand for them."""
    keys = sides.pairs().keys
    paths = {key: path for path, key in keys["paddle"].items()}
    return {path: paths[key] for path, key in keys["torch"].items() if key in paths}


def _pair(repair: Repair) -> Paired:
    blamed = blame(repair.candidate, repair.matched)
    said = differ(repair.candidate, repair.matched, *blamed.calls)
    return blamed.modules, _made(blamed, repair.confirmed and blamed.certain, said)


def _made(blamed: Blamed, confirmed: bool, said: str) -> LinePair:
    return LinePair(
        tuple(_line("paddle", place) for place in blamed.paddle[:_NAMED]),
        tuple(_line("torch", place) for place in blamed.torch[:_NAMED]),
        confirmed,
        said,
        blamed.times,
    )


def _line(side: str, place: Place) -> Line:
    return Line(side, place.file, place.line, place.text)


def _likely(search: Search) -> list[Paired]:
    """Return the first calls that differ, where nothing carried over made the outputs agree."""
    from portproof.lines._candidates import candidates

    assert search.unexplained is not None
    matched: Matched = search.unexplained
    found = candidates(matched)
    if not found:
        return []
    blamed = blame(found[0], matched)
    return [(blamed.modules, _made(blamed, False, differ(found[0], matched, *blamed.calls)))]
