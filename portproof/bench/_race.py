"""Finding the fastest runner and settings without measuring all of them well: successive halving.

Every candidate gets one fresh process and a short time; the slower half is left out, and what remains gets more time,
until the last are compared properly. The first heat is run with all threads; those that it leaves are tried with fewer.
Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", 2016.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import Literal

from portproof._errors import Unavailable
from portproof.bench._choose import sweep, thread_counts
from portproof.bench._result import BenchResult, Objective, Suite
from portproof.bench._run import Stage, Watch
from portproof.ports._locate import Located
from portproof.runners._choice import with_threads

#: Timed seconds in each process of the first heat; each heat doubles it.
_FIRST_S = 0.25
#: What is measured properly at the end: candidates and rounds.
_FINALISTS, _FINAL_ROUNDS, _FINAL_S = 4, 5, 0.5
#: A candidate so many times slower than the fastest is left out though it is in the faster half; after the first heat
#: more is forgiven, since fewer threads may suit it better.
_HOPELESS, _HOPELESS_AT_FIRST = 1.3, 1.5


@dataclass(frozen=True)
class Raced:
    """A race.

    Attributes:
        result: of the final, with all samples.
        candidates: that took part.
        seconds: that it took.
        history: the heats in words.
    """

    result: BenchResult
    candidates: int
    seconds: float
    history: str


def race(
    located: Located, names: tuple[str, ...], batch: int, device: str, objective: Objective, watch: Watch
) -> Raced:
    """Race runners with their settings.

    Args:
        located: the port.
        names: of the candidates; none for all that there are.
        batch: rows in a request.
        device: ``cpu`` or ``cuda``.
        objective: ``latency``, ``throughput`` or ``contended``.
        watch: told how far it is.
    """
    begun = time.perf_counter()
    scenario: Literal["single", "offline"] = "offline" if objective == "throughput" else "single"
    counts = thread_counts()
    candidates = names or sweep(located.port, device, scenario, ("float32",), counts[-1:])
    heat = Suite(
        located.port.name, candidates, (batch,), 1, _FIRST_S, None, device, scenario=scenario, objective=objective
    )
    with Stage.of(located, heat, watch) as stage:
        left = _better_half(stage.run(heat), _HOPELESS_AT_FIRST)
        history, tried = [f"{len(candidates)} at first", f"{len(left)} left"], len(candidates)
        if not names and len(counts) > 1:
            fewer = [with_threads(name, count) for name in left for count in counts[:-1]]
            left, tried = [*left, *fewer], tried + len(fewer)
            history[-1] += f" and {len(fewer)} with fewer threads"
        while len(left) > _FINALISTS:
            heat = replace(heat, runners=tuple(left), seconds=heat.seconds * 2)
            left = _better_half(stage.run(heat), _HOPELESS)
            history.append(f"{len(left)} left")
        if not left:
            raise Unavailable("no candidate has a number: see `portproof bench run` for the reasons")
        final = replace(heat, runners=tuple(left), processes=_FINAL_ROUNDS, seconds=_FINAL_S)
        result = stage.run(final)
    return Raced(result, tried, time.perf_counter() - begun, ", ".join(history))


def _better_half(result: BenchResult, hopeless: float) -> list[str]:
    """Return the names of the faster half, at least as many as a final takes, without those that are far behind."""
    offline = result.suite.scenario == "offline"
    cost = {row.runner: 1 / (row.rows_per_s or 1e-9) if offline else statistics.median(row.compared_ms)
            for row in result.rows if row.processes}  # fmt: skip
    ordered = sorted(cost, key=lambda name: cost[name])
    half = ordered[: max(_FINALISTS, len(ordered) // 2)]
    return [name for name in half if cost[name] <= cost[ordered[0]] * hopeless]
