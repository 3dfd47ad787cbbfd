"""Did what was timed run as it was asked to? Each claim is verified, refuted, or said to be unverified."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portproof._machine import process_status
from portproof.bench._result import Claim
from portproof.judge._floor import FLOOR_MULTIPLE

#: A thread is busy that works for this share of the timed part: spinning counts, waking up does not.
_BUSY = 0.2
#: Vectors of half the width that reach this share of the peak are as good as the wide ones.
_ALIKE = 0.9
#: The share of a call that may be left when it returns: asking an idle device whether it has finished takes a while.
_LATE = 0.1
#: A call shorter than this may be too small to share among threads.
_SHARED_MS = 5.0


@dataclass(frozen=True)
class Asked:
    """What a process was asked to be.

    Attributes:
        threads, device, precision, boundary, scenario: of the suite.
        claims: of the runner: what its evidence must say, by name.
    """

    threads: int
    device: str
    precision: str
    boundary: str
    scenario: str
    claims: Mapping[str, Any]


def thread_times() -> dict[int, tuple[float, float]]:
    """Return the seconds that every thread of this process ran, and waited for a core; empty where nothing says so."""
    found: dict[int, tuple[float, float]] = {}
    for task in Path("/proc/self/task").glob("*"):
        try:
            ran, waited, _ = (task / "schedstat").read_text().split()
            found[int(task.name)] = (int(ran) / 1e9, int(waited) / 1e9)
        except (OSError, ValueError):
            continue  # it has ended, or this is not Linux
    return found


def busy_threads(
    before: Mapping[int, tuple[float, float]], after: Mapping[int, tuple[float, float]], wall_s: float
) -> tuple[int, float]:
    """Count the threads that ran, or wanted to, through a good part of the time between two readings.

    Returns:
        How many, and how many there were at once on average: those of two pools may take turns. A thread that a
        neighbour keeps waiting is busy all the same.
    """
    spent = [
        sum(now - then for now, then in zip(times, before.get(thread, (0.0, 0.0)), strict=True))
        for thread, times in after.items()
    ]
    return sum(one >= _BUSY * wall_s for one in spent), sum(spent) / wall_s


def involuntary_switches() -> int:
    """Return how often this process's main thread was taken off its core."""
    return process_status("nonvoluntary_ctxt_switches") or 0


@dataclass(frozen=True)
class Speed:
    """How fast a process computed, beside what vectors of half the width can do at most.

    Attributes:
        gflops: of the process.
        bits: of the widest vectors that the processor has.
        peak_gflops: with those.
        narrow_gflops: with vectors of half that width.
    """

    gflops: float
    bits: int
    peak_gflops: float
    narrow_gflops: float


def prove(
    asked: Asked, answer: Mapping[str, Any], ratio32: float | None, speed: Speed | None = None
) -> tuple[Claim, ...]:
    """Hold what a process measured against what it was asked to be.

    Args:
        asked: of it.
        answer: what it measured: ``threads_at_once``, ``threads_busy``, ``samples_ms``, ``wall_s``, ``cpu_s``,
            ``late_share``, ``evidence``.
        ratio32: the farthest error of what it put out, in float32's noise floors.
        speed: that it computed at, where that was measured.
    """
    evidence = answer["evidence"]
    claims = [_clock(asked, answer), _threads(asked, answer)]  # a clock that does not wait refutes all the rest
    device = evidence.get("device")
    claims.append(_equal("device", asked.device, device))
    # A quantised graph errs by no more than its own floors, and says what it ran in; weights that are stored in a lower
    # precision, which the file says, may show less than float32's rounding does.
    effect = _precision(asked.precision, ratio32)
    if asked.precision != "int8" and ("stored" not in asked.claims or effect.state == "verified"):
        claims.append(effect)
    claims += [_equal(name, value, evidence.get(name)) for name, value in asked.claims.items()]
    claims.append(_instructions(evidence.get("instruction_set"), speed))
    return tuple(claims)


def _threads(asked: Asked, answer: Mapping[str, Any]) -> Claim:
    busy, said = int(answer["threads_busy"]), answer["evidence"].get("threads")
    cores = answer["cpu_s"] / answer["wall_s"]
    text = f"{busy} busy of {asked.threads} asked for, {cores:.1f} cores"
    if said is not None and said != asked.threads:
        return Claim("threads", "refuted", f"the runner says {said}, {asked.threads} were asked for")
    if asked.device != "cpu":
        return Claim("threads", "unverified", f"{text}; the work is the GPU's")
    if not answer["counted"]:
        return Claim("threads", "unverified", "this system does not count the threads of a process")
    dispatcher = int(asked.scenario == "offline")  # one more hands out the requests
    if round(answer["threads_at_once"]) > asked.threads + dispatcher:  # nearer to one more
        return Claim("threads", "refuted", text)
    if busy > asked.threads:
        return Claim("threads", "unverified", f"{text}; they take turns, {answer['threads_at_once']:.1f} at once")
    if busy < asked.threads:
        if asked.scenario == "single" and statistics.median(answer["samples_ms"]) > _SHARED_MS:
            return Claim("threads", "refuted", text)
        return Claim("threads", "unverified", f"{text}; calls this short may not be shared")
    return Claim("threads", "verified", text)


def _clock(asked: Asked, answer: Mapping[str, Any]) -> Claim:
    if asked.boundary == "host":
        return Claim("clock", "verified", "each call ends with its outputs in the process's memory")
    late = answer["late_share"]
    if late is None:
        return Claim("clock", "unverified", "the runner cannot be asked to finish")
    if late > _LATE:
        return Claim("clock", "refuted", f"{late:.0%} of a call was still to be done when it had returned")
    return Claim("clock", "verified", f"{late:.1%} of a call was still to be done when it had returned")


def _precision(asked: str, ratio32: float | None) -> Claim:
    """Read the precision from its effect: TF32 and bfloat16 lie thousands of float32's floors out."""
    if ratio32 is None:
        return Claim("precision", "unverified", "the error cannot be counted")
    text = f"{asked}: the error is {ratio32:.1f} of float32's noise floors"
    lower = asked not in ("float32", "float64")
    if lower == (ratio32 > FLOOR_MULTIPLE):
        return Claim("precision", "verified", text)
    return Claim("precision", "refuted", text)


def _instructions(said: str | None, speed: Speed | None) -> Claim:
    """Read the width of the vectors from their effect; a processor that pairs narrow units shows none."""
    what = "instruction set"
    if speed is not None and speed.narrow_gflops > _ALIKE * speed.peak_gflops:
        return Claim(what, "unverified", f"this processor computes as fast with {speed.bits // 2}-bit vectors")
    if speed is not None and speed.gflops > speed.narrow_gflops > 0:
        narrow = f"{speed.bits // 2}-bit ones reach {speed.narrow_gflops:.0f} at most"
        return Claim(what, "verified", f"{speed.bits}-bit vectors: {speed.gflops:.0f} GFLOP/s, where {narrow}")
    if said is not None:
        return Claim(what, "unverified", f"{said}, says the runner")
    if speed is None:
        return Claim(what, "unverified", "the peak of narrower vectors was not measured")
    return Claim(what, "unverified", f"no faster than {speed.bits // 2}-bit vectors can be")


def _equal(what: str, asked: Any, found: Any) -> Claim:
    if found is None:
        return Claim(what, "unverified", f"{asked} was asked for; the runner does not say")
    state: Any = "verified" if found == asked else "refuted"
    return Claim(what, state, f"{asked} was asked for, {found} found")
