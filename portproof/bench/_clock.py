"""The loops that are timed. All are closed by a result in hand: what is not finished is not counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: A warm-up ends when a call is no faster than the best before it by this share, three times running.
_STABLE_SHARE, _STABLE_CALLS = 0.05, 3
#: A sample lasts at least this many seconds, so that reading the clock is less than a thousandth of it.
_SHORTEST_SAMPLE = 2e-4


@dataclass(frozen=True)
class Timed:
    """What a loop measured.

    Attributes:
        warm_up_calls: until calls stopped getting faster.
        warm_up_s: that they took.
        calls_per_sample: how many calls one sample is the mean of.
        samples_ms: of the timed part, in the order in which they were taken.
        wall_s: of the timed part.
        cpu_s: processor time of this process in it.
        rows: finished in the timed part.
    """

    warm_up_calls: int
    warm_up_s: float
    calls_per_sample: int
    samples_ms: tuple[float, ...]
    wall_s: float
    cpu_s: float
    rows: int


Call = Callable[[], object]


def single(call: Call, seconds: float, rows: int, between: Call | None = None) -> Timed:
    """Time requests one after the other.

    Args:
        call: one request, finished when it returns.
        seconds: wall time of the timed part; at least five samples are taken.
        rows: in one request.
        between: called when the warm-up is over, before the timed part.
    """
    warming, warm_up_s, best = warm_up(call, seconds)
    each = max(1, math.ceil(_SHORTEST_SAMPLE / best))
    if between is not None:
        between()
    samples: list[float] = []
    begun, busy = time.perf_counter(), time.process_time()
    while len(samples) < 5 or time.perf_counter() - begun < seconds:
        samples.append(_timed(call, each) * 1e3)
    wall, cpu = time.perf_counter() - begun, time.process_time() - busy
    return Timed(warming, warm_up_s, each, tuple(samples), wall, cpu, len(samples) * each * rows)


def server(call: Call, seconds: float, rows: int, rate: float | None, seed: int, between: Call | None = None) -> Timed:
    """Time requests that arrive at random (a Poisson process), one server, in the order of arrival.

    A request that comes while another runs waits, and its waiting counts: the clock starts when it arrives.

    Args:
        call, seconds, rows, between: see :func:`single`.
        rate: requests a second; None for half of what one after the other would reach.
        seed: of the arrivals.
    """
    warming, warm_up_s, best = warm_up(call, seconds)
    rate = rate or 0.5 / best
    if between is not None:
        between()
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, max(5, math.ceil(seconds * rate))))
    samples: list[float] = []
    begun, busy = time.perf_counter(), time.process_time()
    for arrival in arrivals:
        early = begun + arrival - time.perf_counter()
        if early > 0:
            time.sleep(early)
        call()
        samples.append((time.perf_counter() - begun - arrival) * 1e3)
    wall, cpu = time.perf_counter() - begun, time.process_time() - busy
    return Timed(warming, warm_up_s, 1, tuple(samples), wall, cpu, len(samples) * rows)


def offline(stream: Callable[[float], tuple[int, float]], seconds: float, rows: int, between: Call | None) -> Timed:
    """Time a runner that takes requests in parallel: one sample, the mean time a request took of the whole.

    Args:
        stream: runs for some seconds; returns how many requests finished and the seconds that they took.
        seconds, rows, between: see :func:`single`.
    """
    count, warm_up_s = stream(min(1.0, seconds))
    if between is not None:
        between()
    samples, done, wall = [], 0, 0.0
    busy = time.process_time()
    for _ in range(5):
        finished, taken = stream(seconds / 5)
        samples.append(taken / finished * 1e3)
        done, wall = done + finished, wall + taken
    return Timed(count, warm_up_s, 1, tuple(samples), wall, time.process_time() - busy, done * rows)


def warm_up(call: Call, seconds: float) -> tuple[int, float, float]:
    """Call until calls stop getting faster; returns how many, the seconds, and the fastest call's seconds."""
    best, stable, warming = math.inf, 0, 0
    begun = time.perf_counter()
    limit = begun + max(seconds, 1.0)
    while stable < _STABLE_CALLS and (warming < _STABLE_CALLS or time.perf_counter() < limit):
        taken = _timed(call, 1)
        stable = 0 if taken < best * (1 - _STABLE_SHARE) else stable + 1
        best = min(best, taken)
        warming += 1
    return warming, time.perf_counter() - begun, best


def _timed(call: Call, times: int) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begun) / times
