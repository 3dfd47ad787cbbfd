"""What a side's process answers to ``agree``: images decoded, rows predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from portproof._machine import trim_memory
from portproof.agree._decode import Decoded, Pictures, Read, predict
from portproof.agree._images import DataImage
from portproof.runners import find_runner
from portproof.sides._roles import never_kept
from portproof.sides._workplace import Workplace

#: Predictions between two returns of freed memory: it then costs nothing to speak of.
_TRIM_EVERY = 8


@never_kept
class PictureTasks:
    """Images. See :class:`Workplace`."""

    spoken = "pictures."

    def __init__(self, place: Workplace) -> None:
        self._pictures = Pictures(place.job.port)

    def read(self, unit: int, pictures: Sequence[DataImage]) -> Read:
        """Read a unit's images."""
        return self._pictures.read(unit, pictures)

    def decode(self, unit: int, pictures: Sequence[DataImage], out: Path) -> Decoded:
        """Write a unit's rows."""
        return self._pictures.decode(unit, pictures, out)

    def drop(self, unit: int) -> None:
        """Forget a unit's images."""
        self._pictures.drop(unit)


@never_kept
class AgreeTasks:
    """Predictions. See :class:`Workplace`."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._predicting: Any = None
        self._predictions = 0

    def predict(
        self, runner: str, precision: str, inputs: Path, out: Path, batch: int, output: str,
        settings: Mapping[str, Any], artefact: Path | None,
    ) -> float:  # fmt: skip
        """Write one output of a runner, which is kept, for rows in batches of a size; returns the seconds it took."""
        if self._predicting is None:
            options = {"rows": batch, "settings": dict(settings), "artefact": artefact}
            self._predicting = self.place.build(find_runner(runner), precision, options, self.place.open)
        self._predictions += 1
        if self._predictions % _TRIM_EVERY == 0:
            trim_memory()
        return predict(self._predicting, inputs, out, batch, output)
