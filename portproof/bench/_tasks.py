"""What a side's process answers to ``bench``: a runner timed, the machine probed, work counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof.bench._probe import Probe, probe
from portproof.frameworks._model import count_work
from portproof.runners import find_runner
from portproof.sides._roles import never_kept
from portproof.sides._workplace import Workplace


@never_kept
class BenchTasks:
    """Measurements. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    def time(
        self, runner: str, inputs: Path, out: Path, seconds: float, scenario: str, boundary: str, rate: float | None,
        seed: int, artefact: Path | None, cache: Path | None, settings: Mapping[str, Any], slowdown: float = 0.0,
    ) -> dict[str, Any]:  # fmt: skip
        """Time a runner that this fresh process builds; see :func:`portproof.bench._timed.time_runner`."""
        from portproof.bench._timed import time_runner

        info = find_runner(runner)
        job = replace(
            self.place.job,
            side=info.side,
            precision=info.precisions[-1],
            artefact=artefact,
            settings=settings,
            cache=cache,
        )
        return time_runner(
            info, job, inputs, out, seconds, scenario=scenario, boundary=boundary, rate=rate, seed=seed,
            slowdown=slowdown,
        )  # fmt: skip

    def probe(self, threads: int, seconds: float) -> Probe:
        """Measure the machine's peak."""
        return probe(threads, seconds)

    def work(self, inputs: Path) -> float:
        """Count the multiply-adds of one row in linear and convolutional layers, times two, in 1e9."""
        model, rows = self.place.model("float32"), load_file(inputs)
        one = {n: a[:1] if self.place.job.port.inputs[n].has_rows else a for n, a in rows.items()}
        return count_work(model, one) / 1e9
