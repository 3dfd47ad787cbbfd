"""Finding the fastest runner and settings without measuring all of them well: successive halving.

Every candidate gets one fresh process and a short time; the slower half is left out, and what remains gets more time,
until the last are compared properly. Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization", 2016.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

from portproof._errors import Unavailable
from portproof._resolve import Located
from portproof.bench._choose import sweep
from portproof.bench._result import BenchResult, Objective, Row, Suite
from portproof.bench._run import Stage, Watch

#: Timed seconds in each process of the first heat; each heat doubles it.
_FIRST_S = 0.25
#: What is measured properly at the end: candidates and rounds.
_FINALISTS, _FINAL_ROUNDS, _FINAL_S = 3, 5, 0.5
#: A candidate so many times slower than the fastest is left out though it is in the faster half.
_HOPELESS = 1.3


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
    candidates = names or sweep(located.port, device, scenario, ("float32",))
    heat = Suite(
        located.port.name, candidates, (batch,), 1, _FIRST_S, None, device, scenario=scenario, objective=objective
    )
    with Stage.of(located, heat, watch) as stage:
        rows = _ranked(stage.run(heat))
        history = [f"{len(candidates)} at first"]
        while len(rows) > _FINALISTS:
            fastest = rows[0].median_ms or 0.0
            half = rows[: max(_FINALISTS, (len(rows) + 1) // 2)]
            rows = [row for row in half if (row.median_ms or 0.0) <= fastest * _HOPELESS]
            history.append(f"{len(rows)} left")
            if len(rows) > _FINALISTS:
                heat = replace(heat, runners=tuple(row.runner for row in rows), seconds=heat.seconds * 2)
                rows = _ranked(stage.run(heat))
        if not rows:
            raise Unavailable("no candidate has a number: see `portproof bench run` for the reasons")
        final = replace(heat, runners=tuple(row.runner for row in rows), processes=_FINAL_ROUNDS, seconds=_FINAL_S)
        result = stage.run(final)
    return Raced(result, len(candidates), time.perf_counter() - begun, ", ".join(history))


def _ranked(result: BenchResult) -> list[Row]:
    return sorted((row for row in result.rows if row.processes), key=lambda row: row.median_ms or float("inf"))
