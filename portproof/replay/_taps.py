"""What is tapped at a module: its tensors on disk, and how another run's differ from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from portproof._disk import save_arrays
from portproof._numbers import Array, Difference, as_pairs

#: Roles of a tap. ``LOUD``: what a layer without weights returns where its input is ``LOUDNESS`` times as large, so
#: that saturation shows (ReLU6 beside ReLU, a clip), which unit variance hardly reaches.
RECEIVED, RETURNED, LOUD = "received", "returned", "loud"
#: Role of what is no tensor: that only one side writes into an argument, which others may read.
WROTE = "wrote"
LOUDNESS = 16.0
#: How the name of a complex tensor ends in a file, which holds it as pairs.
_COMPLEX = ".complex"
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
        cap: how far float32 can honestly carry this tensor, where that is known (:mod:`portproof.replay._rounding`).
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
    """Taps on disk, one file a call, written as they arrive and read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "index.json"
        held = json.loads(index.read_text()) if index.exists() else {"files": {}, "names": {}, WROTE: []}
        self._files: dict[str, str] = held["files"]
        self._names: dict[str, list[str]] = held["names"]
        self._wrote: set[str] = set(held[WROTE])

    def write(
        self, key: str, call: int, *, names: Sequence[str] = (), wrote: bool = False, **taps: list[Array]
    ) -> None:
        """Add one call of a module: role to tensors, the names of its arguments, and whether it wrote into them."""
        name = f"{len(self._files):05d}.safetensors"
        tensors = {
            f"{role}.{i}{_COMPLEX if array.dtype.kind == 'c' else ''}": _shrink(as_pairs(array))
            for role, arrays in taps.items()
            for i, array in enumerate(arrays)
        }
        save_arrays(self.folder / name, tensors)
        self._files[f"{key}#{call}"] = name
        self._names[f"{key}#{call}"] = list(names)
        if wrote:
            self._wrote.add(f"{key}#{call}")

    def wrote(self, key: str, call: int) -> bool:
        """Whether a call wrote into its arguments."""
        return f"{key}#{call}" in self._wrote

    def names(self, key: str, call: int) -> list[str]:
        """Return the names of what a call received."""
        return self._names[f"{key}#{call}"]

    def close(self) -> None:
        """Write the index, without which the store is empty to readers."""
        held = {"files": self._files, "names": self._names, WROTE: sorted(self._wrote)}
        (self.folder / "index.json").write_text(json.dumps(held))

    def read(self, key: str, call: int) -> tuple[list[Array], list[Array], list[Array]] | None:
        """Return what a call received, returned, and returned loudly; None where there was no such call."""
        name = self._files.get(f"{key}#{call}")
        if name is None:
            return None
        tensors = {
            tap.removesuffix(_COMPLEX): _as_complex(array) if tap.endswith(_COMPLEX) else array
            for tap, array in load_file(self.folder / name).items()
        }
        received, returned, loud = (
            [tensors[f"{role}.{i}"] for i in range(sum(key.startswith(f"{role}.") for key in tensors))]
            for role in (RECEIVED, RETURNED, LOUD)
        )
        return received, returned, loud

    def calls(self) -> list[tuple[str, int]]:
        """Return every recorded call."""
        split = (name.rpartition("#") for name in self._files)
        return [(key, int(call)) for key, _, call in split]


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
