"""The loop that is timed."""

from __future__ import annotations

import time
from collections.abc import Callable

#: A warm-up ends when a call is no faster than the best before it by this share, three times running.
_STABLE_SHARE, _STABLE_CALLS = 0.05, 3


def warm_up_and_time(call: Callable[[], object], seconds: float) -> tuple[int, list[float]]:
    """Call until calls stop getting faster, then for ``seconds``, and return warm-up calls and samples.

    Args:
        call: one request, synchronous.
        seconds: wall time of the timed part; at least five calls are made.

    Returns:
        The number of warm-up calls and the timed calls in milliseconds.
    """
    best, stable, warming = float("inf"), 0, 0
    limit = time.perf_counter() + max(seconds, 1.0)
    while stable < _STABLE_CALLS and (warming < _STABLE_CALLS or time.perf_counter() < limit):
        taken = _timed(call)
        stable = 0 if taken < best * (1 - _STABLE_SHARE) else stable + 1
        best = min(best, taken)
        warming += 1
    samples: list[float] = []
    limit = time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < limit:
        samples.append(_timed(call) * 1e3)
    return warming, samples


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
