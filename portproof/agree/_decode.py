"""What processes below a worker do: read, hash and decode images; run a runner on rows."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.agree._images import DataImage, read_bytes
from portproof.ports._inputs import decode_photograph, preprocessing
from portproof.ports._port import Port


def image_input(port: Port) -> str:
    """Return the name of a port's one input, an image.

    Raises:
        BadInput: it takes something else.
    """
    names = list(port.inputs)
    if len(names) != 1 or not port.inputs[names[0]].is_image:
        raise BadInput(f"port '{port.name}' must take one image, (batch, 3, H, W), to agree on images.")
    return names[0]


@dataclass(frozen=True)
class Read:
    """The hash of each image that was read, and the seconds it took."""

    hashes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Decoded:
    """Why images have no row, by their number in the unit, and the seconds it took."""

    unreadable: dict[int, str]
    seconds: float


class Pictures:
    """Images of the units that a worker is at: their bytes between reading and decoding."""

    def __init__(self, port: Port) -> None:
        self._name = image_input(port)
        declared = port.inputs[self._name]
        self._transform = preprocessing(declared)
        self._shape = declared.concrete(1)[1:]
        self._held: dict[int, list[bytes]] = {}

    def read(self, unit: int, pictures: Sequence[DataImage]) -> Read:
        """Read a unit's images."""
        begun = time.perf_counter()
        self._held[unit] = [read_bytes(picture) for picture in pictures]
        hashes = tuple(hashlib.sha256(content).hexdigest() for content in self._held[unit])
        return Read(hashes, time.perf_counter() - begun)

    def decode(self, unit: int, pictures: Sequence[DataImage], out: Path) -> Decoded:
        """Write a unit's rows, where any image has one."""
        if unit not in self._held:  # the process that read them has ended
            self.read(unit, pictures)
        begun = time.perf_counter()
        rows: list[Array] = []
        unreadable: dict[int, str] = {}
        for number, (picture, content) in enumerate(zip(pictures, self._held.pop(unit), strict=True)):
            try:
                # The same bytes may have many names.
                row = self._transform(decode_photograph(io.BytesIO(content), "it"))
            except BadInput as error:
                unreadable[number] = str(error).removeprefix("'it' ").partition(";")[0]
                continue
            if row.shape != self._shape:
                raise BadInput(
                    f"preprocess made shape {list(row.shape)} of '{picture.name}', the input takes {list(self._shape)}."
                )
            rows.append(np.asarray(row, np.float32))
        if rows:
            save_arrays(out, {self._name: np.stack(rows)})
        return Decoded(unreadable, time.perf_counter() - begun)

    def drop(self, unit: int) -> None:
        """Forget a unit's images."""
        self._held.pop(unit, None)


def predict(runner: Any, inputs: Path, out: Path, batch: int, output: str) -> float:
    """Run rows in batches that all have the same size: the last is filled up with its own last row."""
    begun = time.perf_counter()
    rows = load_file(inputs)
    count = len(next(iter(rows.values())))
    found: list[Array] = []
    for first in range(0, count, batch):
        numbers = [min(number, count - 1) for number in range(first, first + batch)]
        whole = {
            name: array[first : first + batch] if first + batch <= count else array[numbers]
            for name, array in rows.items()
        }
        scores = runner.job.port.rows_first(runner.run(whole))[output]
        if scores.ndim != 2 or len(scores) != batch or scores.dtype.kind != "f":
            raise BadInput(
                f"output '{output}' has shape {list(scores.shape)} for {batch} images; classes are compared over "
                "(batch, classes): name another --output."
            )
        found.append(scores[: count - first])
    save_arrays(out, {"scores": np.concatenate(found)})
    return time.perf_counter() - begun
