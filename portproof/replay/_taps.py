"""What is tapped at a module: its tensors on disk, and how another run's differ from them."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from portproof._disk import unwritable
from portproof._numbers import Array, Difference, as_pairs

#: Roles of a tap. ``LOUD``: what a layer without weights returns where its input is ``LOUDNESS`` times as large, so
#: that saturation shows (ReLU6 beside ReLU, a clip), which unit variance hardly reaches.
RECEIVED, RETURNED, LOUD = "received", "returned", "loud"
#: Role of what is no tensor: that only one side writes into an argument, which others may read.
WROTE = "wrote"
LOUDNESS = 16.0
#: How the type of a complex tensor ends in the index; the file holds it as pairs.
_COMPLEX = " complex"
#: Bytes that a tensor begins at a multiple of, so that it can be computed with where it lies.
_ALIGNED = 64
#: Bytes by which a tensor is known that may have been written before.
_SAMPLED = 256
#: How a difference begins that is only another number of tensors.
OTHER_COUNT = " tensors where "
#: How what is said of such a difference begins where it is in what a module is given.
RECEIVES = "it receives"
#: How one begins that is another shape.
OTHER_SHAPE = "shape ["
#: How one ends that is only another shape of as many elements.
SAME_SIZE = ", of as many elements"
#: Said after that of a tensor whose rows are the same, too: only its leading axes are cut otherwise.
SAME_ROWS = " in rows of the same length"


@dataclass(frozen=True)
class TapDifference:
    """How a forced module's input or output differs from the recording.

    Attributes:
        key: torch path of the module, "" for the root.
        call: which call of the module, from 0.
        role: ``"received"``, ``"returned"`` or ``"loud"``.
        index: which tensor of that call.
        difference: against the recording.
        cap: how far float32 can honestly carry this tensor, where that is known; it may be less than that where no side
            errs by so much (:mod:`portproof.replay._rounding`).
        picture: what it looks like, where that is asked for (:mod:`portproof._numbers`).
        acts_from: of a loud output with an element for each of its input: the smallest input at which the two differ.
        order: in which order it holds the recorded values, in words; "" where it does not.
    """

    key: str
    call: int
    role: str
    index: int
    difference: Difference
    cap: float | None = None
    picture: dict[str, Any] | None = None
    acts_from: float | None = None
    order: str = ""

    @property
    def name(self) -> tuple[str, int, str, int]:
        """What identifies the tensor across passes."""
        return self.key, self.call, self.role, self.index


class TapStore:
    """Taps on disk, in one file, written as they arrive and read one call at a time where they lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "index.json"
        held = json.loads(index.read_text()) if index.exists() else {"taps": {}, "names": {}, WROTE: []}
        #: A call to its taps: role, type, shape, and where its values begin.
        self._taps: dict[str, list[tuple[str, str, Sequence[int], int]]] = held["taps"]
        self._names: dict[str, list[str]] = held["names"]
        self._wrote: set[str] = set(held[WROTE])
        self._mapped: mmap.mmap | bytes = b""
        #: Where tensors lie that were written, by their size and some of their bytes.
        self._places: dict[tuple[int, bytes], int] = {}

    @property
    def _values(self) -> Path:
        return self.folder / "taps.bin"

    def write(
        self, key: str, call: int, *, names: Sequence[str] = (), wrote: bool = False, **taps: list[Array]
    ) -> None:
        """Add one call of a module: role to tensors, the names of its arguments, and whether it wrote into them."""
        held = self._taps[f"{key}#{call}"] = []
        with _written(self._values), self._values.open("ab") as file:
            for role, arrays in taps.items():
                for array in arrays:
                    values = _shrink(as_pairs(array))
                    kind = f"{values.dtype.str}{_COMPLEX if array.dtype.kind == 'c' else ''}"
                    held.append((role, kind, values.shape, self._placed(values, file)))
        self._names[f"{key}#{call}"] = list(names)
        if wrote:
            self._wrote.add(f"{key}#{call}")

    def _placed(self, values: Array, file: BinaryIO) -> int:
        """Return where a tensor lies, once it does: what one module returned the next one receives, and its whole."""
        flat = values.reshape(-1).view(np.uint8)
        some = flat[:: max(1, flat.size // _SAMPLED)].tobytes()
        place = self._places.setdefault((flat.size, some), file.tell() + -file.tell() % _ALIGNED)
        if place < file.tell():
            file.flush()
            if np.array_equal(self._array(flat.dtype.str, flat.shape, place), flat):
                return place
            place = file.tell() + -file.tell() % _ALIGNED
        file.write(bytes(place - file.tell()))
        file.write(flat.data)
        return place

    def wrote(self, key: str, call: int) -> bool:
        """Whether a call wrote into its arguments."""
        return f"{key}#{call}" in self._wrote

    def names(self, key: str, call: int) -> list[str]:
        """Return the names of what a call received."""
        return self._names[f"{key}#{call}"]

    def close(self) -> None:
        """Write the index, without which the store is empty to readers."""
        held = {"taps": self._taps, "names": self._names, WROTE: sorted(self._wrote)}
        with _written(index := self.folder / "index.json"):
            index.write_text(json.dumps(held))

    def read(self, key: str, call: int) -> tuple[list[Array], list[Array], list[Array]] | None:
        """Return what a call received, returned, and returned loudly; None where there was no such call."""
        taps = self._taps.get(f"{key}#{call}")
        if taps is None:
            return None
        received, returned, loud = (
            [self._array(kind, shape, begin) for found, kind, shape, begin in taps if found == role]
            for role in (RECEIVED, RETURNED, LOUD)
        )
        return received, returned, loud

    def _array(self, kind: str, shape: Sequence[int], begin: int) -> Array:
        """Return a tensor as it lies on disk; what is written into it stays in memory."""
        dtype, count = np.dtype(kind.removesuffix(_COMPLEX)), math.prod(shape)
        if begin + count * dtype.itemsize > len(self._mapped):
            with self._values.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        values = np.frombuffer(self._mapped, dtype, count, begin) if count else np.empty(0, dtype)
        array: Array = values.reshape(shape)
        return _as_complex(array) if kind.endswith(_COMPLEX) else array

    def calls(self) -> list[tuple[str, int]]:
        """Return every recorded call."""
        split = (name.rpartition("#") for name in self._taps)
        return [(key, int(call)) for key, _, call in split]


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from error


def _as_complex(pairs: Array) -> Array:
    return np.asarray(pairs[..., 0] + 1j * pairs[..., 1])


def _shrink(array: Array) -> Array:
    """Store a float64 tensor that float32 holds exactly in half the space."""
    if array.dtype == np.float64:
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = array.astype(np.float32)
        if np.array_equal(narrow, array):
            return np.asarray(narrow, order="C")
    return np.asarray(array, order="C")
