"""What a side's process answers to ``bench``: a runner timed, the machine probed, work counted."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from portproof.frameworks._model import count_work
from portproof.runners import find_runner
from portproof.sides._workplace import Workplace


class BenchTasks:
    """Measurements. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    def time(self, runner: str, inputs: str, out: str, seconds: float, **options: Any) -> dict[str, Any]:
        """Time a runner that this fresh process builds; see :func:`portproof.bench._timed.time_runner`."""
        from portproof.bench._timed import time_runner

        info = find_runner(runner)
        artefact, cache = options.pop("artefact", None), options.pop("cache", None)
        job = replace(
            self.place.job,
            side=info.side,
            precision=info.precisions[-1],
            artefact=Path(artefact) if artefact else None,
            settings=options.pop("settings", {}),
            cache=Path(cache) if cache else None,
        )
        return time_runner(info, job, Path(inputs), Path(out), seconds, **options)

    def probe(self, threads: int, seconds: float) -> dict[str, float]:
        """Measure the machine's peak."""
        from portproof.bench._probe import probe

        return asdict(probe(threads, seconds))

    def work(self, inputs: str) -> float:
        """Count the multiply-adds of one row in linear and convolutional layers, times two, in 1e9."""
        model, rows = self.place.model("float32"), load_file(inputs)
        one = {n: a[:1] if self.place.job.port.inputs[n].has_rows else a for n, a in rows.items()}
        return count_work(model, one) / 1e9
