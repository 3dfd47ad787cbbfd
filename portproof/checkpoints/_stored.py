"""Tensors where they lie in a file, and the checkpoint that they make."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array

#: The dtypes that are read, as NumPy and ml_dtypes name them. The first ten every format holds; see :func:`unheld`.
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "float8_e4m3fn", "float8_e5m2", "complex64", "complex128", "uint16", "uint32", "uint64",
)  # fmt: skip
_OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def dtype_of(name: str) -> np.dtype[Any]:
    """Return one of :data:`DTYPES`; NumPy itself has no bfloat16 and no float8."""
    if name in _OF_ML_DTYPES:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found
    return np.dtype(name)


def notes(text: bytes) -> dict[str, str]:
    """Read what portproof wrote beside a checkpoint's tensors; nothing where it is something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    plain = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if plain else {}


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype holds floating point numbers, bfloat16 and float8 included."""
    return dtype.kind == "f" or dtype.name in _OF_ML_DTYPES


@dataclass(frozen=True)
class FilePart:
    """Bytes of a file."""

    path: Path
    offset: int
    length: int

    def map(self) -> Array:
        """Return the bytes, mapped and not read; the file is opened anew, so that pages do not stay mapped."""
        if self.length == 0:
            return np.empty(0, np.uint8)
        return np.memmap(self.path, np.uint8, "r", self.offset, (self.length,))


@dataclass(frozen=True)
class EncodedPart:
    """Bytes that protocol 2 of pickle wrote as a text: each a letter of Latin-1, in UTF-8.

    Attributes:
        part: the text's bytes.
    """

    part: FilePart

    def fits(self, size: int) -> bool:
        """Whether the text may stand for so many bytes: a letter takes one or two."""
        return size <= self.part.length <= 2 * size

    def map(self) -> Array:
        """Return the bytes, in memory.

        Raises:
            BadInput: it is no such text.
        """
        text = self.part.map()
        lead, follows = text & 0xFE == 0xC2, text & 0xC0 == 0x80
        whole = not follows[0] and not lead[-1] and bool((follows[1:] == lead[:-1]).all())
        if not whole or ((text >= 0x80) & ~lead & ~follows).any():
            raise BadInput("it holds a text that stands for no bytes")
        found: Array = text[~follows]
        two = found >= 0x80
        found[two] = (found[two] << 6) | (text[follows] & 0x3F)  # C2 or C3, and the lower six bits
        return found


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint; nothing of it is in memory until it is read.

    Attributes:
        dtype: one of :data:`DTYPES`.
        shape: of the tensor.
        read: returns it, mapped where the file allows it; do not write to it.
        place: the keys that lead to it in its file; empty where it is no single thing of one.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], Array]
    place: tuple[str | int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Size of the tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    def bytes(self) -> memoryview:
        """Return the tensor's bytes in C order, whether it is mapped or made on the way."""
        array = np.ascontiguousarray(self.read())
        if array.dtype != self.dtype or (array.shape != self.shape and self.shape):
            raise AssertionError(f"expected {self}, read {list(array.shape)} {array.dtype}")
        return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype.name}"

    @classmethod
    def in_file(
        cls, part: FilePart | EncodedPart, dtype: np.dtype[Any], shape: tuple[int, ...], order: str = "C"
    ) -> Stored:
        """Describe a contiguous tensor.

        Raises:
            BadInput: the bytes are not as many as the shape needs; of a text this may show when it is read.
        """
        size = math.prod(shape) * dtype.itemsize

        def read() -> Array:
            found = part.map()
            if found.size != size:
                raise BadInput(f"a tensor of {list(shape)} {dtype.name} needs {size} bytes and has {found.size}")
            return found.view(dtype).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]

        fits = part.fits(size) if isinstance(part, EncodedPart) else part.length == size
        if not fits:
            held = part.part.length if isinstance(part, EncodedPart) else part.length
            raise BadInput(f"a tensor of {list(shape)} {dtype.name} needs {size} bytes and has {held}")
        return cls(dtype, shape, read)

    @classmethod
    def of(cls, array: Array) -> Stored:
        """Describe an array in memory."""
        return cls(array.dtype, array.shape, lambda: array)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file by name.

    Attributes:
        path: of the file.
        tensors: as they are stored.
        side: whose names and layouts they have, None where the file does not say.
        about: what the file says of where it comes from: of one that ``convert`` wrote, the hashes of its source and
            of the map, and portproof's version.
        said: what was chosen of what the file holds, a line each, for a person to read.
        odd: what stands among the tensors and is a tensor of a kind that is not read, by name: what it is.
    """

    path: Path
    tensors: Mapping[str, Stored]
    side: str | None
    about: Mapping[str, str]
    said: tuple[str, ...] = ()
    odd: Mapping[str, str] = field(default_factory=dict)

    def arrays(self) -> dict[str, Array]:
        """Return all tensors."""
        return {name: stored.read() for name, stored in self.tensors.items()}
