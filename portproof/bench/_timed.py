"""What a fresh process does to be timed: build one runner, call it, and hand over what it measured and put out."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput, PortproofError, Unavailable, one_line, require_memory, require_packages
from portproof._machine import peak_memory
from portproof._numbers import Array
from portproof.bench import _clock
from portproof.bench._gpu import gpu_state
from portproof.bench._proof import busy_threads, involuntary_switches, thread_times
from portproof.runners import RunnerInfo, RunnerJob

#: Calls whose lateness is measured.
_LATE_CALLS = 5


def time_runner(
    info: RunnerInfo,
    job: RunnerJob,
    inputs: Path,
    out: Path,
    seconds: float,
    *,
    scenario: str = "single",
    boundary: str = "host",
    rate: float | None = None,
    seed: int = 0,
    slowdown: float = 0.0,
) -> dict[str, Any]:
    """Build a runner and time it between its first and its last result, which are both kept to be judged.

    Args:
        info, job: of the runner.
        inputs: file of one request.
        out: where the two results go, as ``-before`` and ``-after``.
        seconds: of timed calls.
        scenario, boundary, rate: of the suite.
        seed: of the arrivals of requests.
        slowdown: share by which each call is made longer, to learn what a comparison can tell.

    Raises:
        Unavailable: a package is missing, or the runner cannot do what was asked.
    """
    _require_packages(info)
    idle = gpu_state() if job.device == "cuda" else {}
    begun = time.perf_counter()
    kind = info.load()
    import_s = time.perf_counter() - begun
    rows = load_file(inputs)
    size = max((len(array) for name, array in rows.items() if job.port.inputs[name].has_rows), default=1)
    job = replace(job, rows=size)
    cached = job.cache is not None and job.cache.is_dir() and any(job.cache.iterdir())
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        runner: Any = _told(lambda: stack.enter_context(kind(job)))
        build_s = time.perf_counter() - begun
        begun = time.perf_counter()
        first = _told(lambda: runner.run(rows))
        first_call_ms = (time.perf_counter() - begun) * 1e3
        save_arrays(Path(f"{out}-before.safetensors"), job.port.rows_first(first))
        last: dict[str, Any] = {}
        marks: dict[str, Any] = {}

        def host() -> None:
            last["outputs"] = runner.run(rows)

        call = _bound(runner, rows) if boundary == "device" else host
        call = _slowed(call, slowdown) if slowdown else call

        def between() -> None:
            marks.update(at=time.perf_counter(), threads=thread_times(), switches=involuntary_switches())
            marks.update(gpu=gpu_state(), foreign=_foreign())

        if scenario == "offline" and hasattr(runner, "stream"):
            timed = _clock.offline(lambda s: runner.stream(rows, s), seconds, size, between)
        elif scenario == "server":
            timed = _clock.server(call, seconds, size, rate, seed, between)
        else:
            timed = _clock.single(call, seconds, size, between)
        after = thread_times()
        # Between the two readings, not the timed calls alone: threads that spin go on in between.
        busy, at_once = busy_threads(marks["threads"], after, time.perf_counter() - marks["at"])
        foreign = _foreign()
        answer: dict[str, Any] = {
            "import_s": import_s, "cached": cached, "build_s": build_s, "first_call_ms": first_call_ms, **asdict(timed),
            "threads_at_once": at_once, "threads_busy": busy, "counted": bool(after),
            "switches": involuntary_switches() - marks["switches"],
            "late_share": _late(runner, call) if boundary == "device" else None,
            "foreign_share": _share(marks["foreign"], foreign), "evidence": runner.evidence(),
            "event_ms": _events(runner, rows) if boundary == "device" else [],
            "gpu": {"idle": idle, "before": marks["gpu"], "after": gpu_state()} if job.device == "cuda" else {},
        }  # fmt: skip
        final = last.get("outputs") or runner.run(rows)
        save_arrays(Path(f"{out}-after.safetensors"), job.port.rows_first(final))
    return answer | {"peak_memory": peak_memory()}


def _require_packages(info: RunnerInfo) -> None:
    require_packages(f"the runner {info.name}", *info.needs)


def _bound(runner: Any, rows: Mapping[str, Array]) -> Callable[[], object]:
    """Return a call on rows that lie on the device already."""
    if not hasattr(runner, "bind"):
        raise Unavailable("it cannot be timed where its data is: it has no bind()")
    call: Callable[[], object] = _told(lambda: runner.bind(rows))
    return call


def _told(step: Callable[[], Any]) -> Any:
    """Run a step of a runner; what it raises becomes the reason why there is no number."""
    try:
        return step()
    except PortproofError:
        raise
    except ImportError as error:
        raise Unavailable(f"it does not import: {one_line(error, 160)}") from error
    except Exception as error:
        require_memory(error)
        raise BadInput(f"it raised {one_line(error, 200)}") from error


def _slowed(call: Callable[[], object], share: float) -> Callable[[], object]:
    def slowed() -> None:
        begun = time.perf_counter()
        call()
        end = time.perf_counter()
        end += share * (end - begun)
        while time.perf_counter() < end:
            pass

    return slowed


def _late(runner: Any, call: Callable[[], object]) -> float | None:
    """Return the share of a call's work that is left when it has returned; None where a runner cannot say.

    One call at a time, from an idle device: of many in a row all but the last few are waited for by those behind them,
    because a device's queue is bounded.
    """
    framework = getattr(runner, "framework", None)
    finish = getattr(runner, "synchronise", None) or getattr(framework, "synchronise", None)
    if finish is None:
        return None
    shares = []
    finish()
    for _ in range(_LATE_CALLS):
        begun = time.perf_counter()
        call()
        returned = time.perf_counter()
        finish()
        ended = time.perf_counter()
        shares.append((ended - returned) / (ended - begun))
    return statistics.median(shares)


def _events(runner: Any, rows: Mapping[str, Array]) -> list[float]:
    """Return device times of a few calls by events, where the framework has them, to stand beside the wall clock."""
    timer = getattr(getattr(runner, "framework", None), "event_times", None)
    if timer is None or not hasattr(runner, "enqueue"):
        return []
    found: list[float] = timer(runner.enqueue(rows), 20)
    return found


def _foreign() -> tuple[float, float, float, float]:
    """Return the machine's busy and stolen seconds, this process's own, and the wall clock."""
    import os

    times = os.times()
    own, wall = times.user + times.system, time.monotonic()
    try:
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [int(field) / ticks for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0, own, wall
    return sum(fields) - fields[3] - fields[4], fields[7], own, wall


def _share(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Return the share of the machine that others took: stolen time, and what was busy beyond this process."""
    import os

    busy, stolen, own, wall = (b - a for a, b in zip(before, after, strict=True))
    capacity = max(1e-9, wall * (os.cpu_count() or 1))
    return max(0.0, stolen / capacity, (busy - own) / capacity)
