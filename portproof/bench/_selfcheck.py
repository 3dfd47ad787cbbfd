"""``bench selfcheck``: how often this machine calls equal runners different, and what change it can tell.

A runner is compared with itself, and with itself made slower on purpose, over pairs of fresh processes that run next
to each other in random order; on a machine left alone, and beside a busy neighbour.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from portproof._errors import BadInput
from portproof._machine import host
from portproof.bench._prepare import prepare
from portproof.bench._result import Suite
from portproof.bench._run import Watch, neighbour, start_timing
from portproof.bench._stats import compare_paired, detectable, undisturbed
from portproof.ports._locate import Located
from portproof.runners._choice import parse
from portproof.sides._session import Sessions

SCHEMA_VERSION = 1
_KINDS = ("same", "slower")
_PLACES = ("quiet", "neighbour")


@dataclass(frozen=True)
class SelfCheck:
    """What is asked.

    Attributes:
        runner: compared with itself.
        comparisons: of each kind in each place.
        pairs: of processes in a comparison.
        seconds: of timed calls in each process.
        slowdown: share that is planted.
        kinds: of ``same``, ``slower``, ``quiet``, ``neighbour``: what is compared, and where.
        threads: of each process.
    """

    runner: str
    comparisons: int
    pairs: int
    seconds: float
    slowdown: float
    kinds: tuple[str, ...] = (*_KINDS, *_PLACES)
    threads: int = 1

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in (*_KINDS, *_PLACES):
                raise BadInput(f"--kinds are {', '.join((*_KINDS, *_PLACES))}, found '{kind}'.")
        if not set(self.kinds) & set(_KINDS) or not set(self.kinds) & set(_PLACES):
            raise BadInput("--kinds needs what is compared (same, slower) and where (quiet, neighbour).")


@dataclass(frozen=True)
class Outcome:
    """The comparisons of one kind in one place.

    Attributes:
        kind, place: see :class:`SelfCheck`.
        changes: what each comparison said of the second against the first.
        ratios: the second over the first.
        detectable: the smallest change that each could have told, nine times in ten.
        foreign_share: the median share of the machine that others took.
    """

    kind: str
    place: str
    changes: tuple[str, ...]
    ratios: tuple[float, ...]
    detectable: tuple[float, ...]
    foreign_share: float

    @property
    def wrong(self) -> int:
        """How many were called what they are not: different, or not slower."""
        if self.kind == "same":
            return sum(change in ("faster", "slower") for change in self.changes)
        return sum(change != "slower" for change in self.changes)

    @property
    def upper(self) -> float:
        """The upper 95% bound of the share that is wrong (Clopper and Pearson, 1934)."""
        from scipy import stats

        count = len(self.changes)
        return 1.0 if self.wrong == count else float(stats.beta.ppf(0.975, self.wrong + 1, count - self.wrong))


@dataclass(frozen=True)
class Checked:
    """What a self-check found; it holds where equal runners are called different in at most a twentieth."""

    asked: SelfCheck
    port: str
    outcomes: tuple[Outcome, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """1 where more than a twentieth of equal runners were called different, else 0."""
        same = [outcome for outcome in self.outcomes if outcome.kind == "same"]
        return int(any(outcome.wrong > 0.05 * len(outcome.changes) for outcome in same))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def run_selfcheck(located: Located, asked: SelfCheck, watch: Watch, keep: Callable[[dict[str, Any]], None]) -> Checked:
    """Run the comparisons.

    Args:
        located: the port.
        asked: what to compare.
        watch: told how far it is.
        keep: given the document after every comparison.

    Raises:
        BadInput: the runner does not exist or has nothing to run.
    """
    if located.locator is None:
        raise BadInput("a self-check runs fresh processes; name the port as module:NAME or file.py:NAME.")
    choice = parse(asked.runner)
    if choice.info.side not in located.port.sides:
        raise BadInput(f"runner '{choice.info.name}' has nothing to run in port '{located.port.name}'.")
    outcomes: list[Outcome] = []
    places = [place for place in _PLACES if place in asked.kinds]
    kinds = [kind for kind in _KINDS if kind in asked.kinds]
    with Sessions(located, {}, "cpu", asked.threads) as sessions:
        with Sessions(located, {}, "cpu", asked.threads) as preparing:
            prepared = prepare(preparing, sessions.folder, [choice.info])

        def once(slowdown: float) -> dict[str, Any]:
            suite = Suite(located.port.name, seconds=asked.seconds)
            return start_timing(sessions, suite, choice, prepared, 1, 0, slowdown=slowdown)

        for place in places:
            for kind in kinds:
                slowdown = asked.slowdown if kind == "slower" else 0.0
                rng = np.random.default_rng(len(outcomes))
                with neighbour(place == "neighbour"):
                    changes: list[str] = []
                    ratios: list[float] = []
                    smallest: list[float] = []
                    shares: list[float] = []
                    for number in range(asked.comparisons):
                        watch(f"{kind}, {place}", f"comparison {number + 1} of {asked.comparisons}")
                        pairs = [_pair(once, slowdown, bool(rng.integers(2))) for _ in range(asked.pairs)]
                        first, second = ([undisturbed(p[i]["samples_ms"]) for p in pairs] for i in (0, 1))
                        found = compare_paired(first, second)
                        changes.append(found.change)
                        ratios.append(round(found.ratio, 4))
                        smallest.append(round(detectable(first, second), 4))
                        shares += [answer["foreign_share"] for pair in pairs for answer in pair]
                        done = Outcome(kind, place, tuple(changes), tuple(ratios), tuple(smallest),
                                       round(statistics.median(shares), 3))  # fmt: skip
                        checked = Checked(asked, located.port.name, (*outcomes, done), host())
                        keep(checked.to_json())
                outcomes.append(done)
                watch(f"{kind}, {place}", None)
    return Checked(asked, located.port.name, tuple(outcomes), host())


Answer = dict[str, Any]


def _pair(once: Callable[[float], Answer], slowdown: float, swap: bool) -> tuple[Answer, Answer]:
    """Run two processes next to each other, in either order; returns the plain one first."""
    if swap:
        second = once(slowdown)
        return once(0.0), second
    return once(0.0), once(slowdown)
