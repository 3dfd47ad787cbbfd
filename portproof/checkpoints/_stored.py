"""Tensors where they lie in a file, and the checkpoint that they make."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array

#: The dtypes that are read and written, as NumPy and ml_dtypes name them.
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip


def dtype_of(name: str) -> np.dtype[Any]:
    """Return one of :data:`DTYPES`; NumPy itself has no bfloat16."""
    if name == "bfloat16":
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
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
    """Whether a dtype holds floating point numbers, bfloat16 included."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


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
class Stored:
    """A tensor of a checkpoint; nothing of it is in memory until it is read.

    Attributes:
        dtype: one of :data:`DTYPES`.
        shape: of the tensor.
        read: returns it, mapped where the file allows it; do not write to it.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    read: Callable[[], Array]

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
    def in_file(cls, part: FilePart, dtype: np.dtype[Any], shape: tuple[int, ...], order: str = "C") -> Stored:
        """Describe a contiguous tensor.

        Raises:
            BadInput: the bytes are not as many as the shape needs.
        """
        found = cls(dtype, shape, lambda: part.map().view(dtype).reshape(shape, order=order))  # type: ignore[call-overload]
        if found.nbytes != part.length:
            raise BadInput(f"a tensor of {found} needs {found.nbytes} bytes and has {part.length}")
        return found

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
    """

    path: Path
    tensors: Mapping[str, Stored]
    side: str | None
    about: Mapping[str, str]

    def arrays(self) -> dict[str, Array]:
        """Return all tensors."""
        return {name: stored.read() for name, stored in self.tensors.items()}
