"""What a side's process answers to ``agree``: images decoded, rows predicted."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from portproof._machine import trim_memory
from portproof.runners import find_runner
from portproof.sides._workplace import Workplace

#: Predictions between two returns of freed memory: it then costs nothing to speak of.
_TRIM_EVERY = 8


class AgreeTasks:
    """Images and predictions. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._predicting: Any = None
        self._predictions = 0

    @functools.cached_property
    def pictures(self) -> Any:
        """Tasks of images."""
        from portproof.agree._decode import Pictures

        return Pictures(self.place.job.port)

    def predict(
        self, runner: str, precision: str, inputs: str, out: str, batch: int, output: str, **options: Any
    ) -> float:
        """Write one output of a runner, which is kept, for rows in batches of a size; returns the seconds it took."""
        from portproof.agree._decode import predict

        if self._predicting is None:
            self._predicting = self.place.build(
                find_runner(runner), precision, {"rows": batch, **options}, self.place.open
            )
        self._predictions += 1
        if self._predictions % _TRIM_EVERY == 0:
            trim_memory()
        return predict(self._predicting, Path(inputs), Path(out), batch, output)
