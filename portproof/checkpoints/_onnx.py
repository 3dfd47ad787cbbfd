"""The initialisers of an ``.onnx`` file, by name. The file does not say whose names and layouts they have.

The file is a protobuf message of which only the fields that lead to tensors are looked at; their bytes stay where they
are. Fields: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; encoding: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.checkpoints._stored import Checkpoint, FilePart, Stored, dtype_of

#: TensorProto.DataType.
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
           11: "float64", 16: "bfloat16"}  # fmt: skip
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _EXTERNAL, _LOCATION = 1, 2, 4, 5, 7, 8, 9, 10, 13, 14
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
#: Fields of a file, and bytes of integers that are packed one by one; more than any model has beside raw data.
_MOST, _PACKED = 2_000_000, 8 << 20

Span = tuple[int, int]


def read(path: Path) -> Checkpoint:
    """Read the places of a file's initialisers.

    Raises:
        BadInput: the file is none, or names data outside of its folder.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        scanner = _Scanner(data)
        tensors = {}
        for field, _, span in scanner.fields((0, len(data))):
            for inner, kind, tensor in scanner.fields(span) if field == _GRAPH else ():
                if inner == _INITIALIZER and kind == _LEN:
                    name, stored = _tensor(scanner, path, tensor)
                    tensors[name] = stored
    return Checkpoint(path, tensors, None, {})


class _Scanner:
    """Walks over the fields of protobuf messages."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self._left = data, _MOST

    def fields(self, span: Span) -> Iterator[tuple[int, int, Span]]:
        """Yield number, wire type and place of each field; for an integer the place is the number itself, twice."""
        at, end = span
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise BadInput(f"it has more than {_MOST} fields; that is no model")
            key, at = self.varint(at, end)
            field, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, at = self.varint(at, end)
                yield field, kind, (value, value)
                continue
            if kind == _LEN:
                size, at = self.varint(at, end)
            elif kind in (_I32, _I64):
                size = 4 if kind == _I32 else 8
            else:
                raise BadInput("it is no protobuf message")
            if size > end - at:
                raise BadInput("it is cut short")
            yield field, kind, (at, at + size)
            at += size

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Read a number of seven bits a byte; returns it and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise BadInput("it is cut short")
            byte = self.data[at]
            value, at = value | (byte & 127) << shift, at + 1
            if byte < 128:
                return value, at
        raise BadInput("it holds a number of more than 64 bits")

    def numbers(self, kind: int, span: Span) -> list[int]:
        """Return the integers of a field, which may be one or packed."""
        if kind == _VARINT:
            return [_signed(span[0])]
        at, end = span
        if end - at > _PACKED:
            raise BadInput("it packs a large tensor's integers one by one; save it with raw data")
        found = []
        while at < end:
            value, at = self.varint(at, end)
            found.append(_signed(value))
        return found

    def text(self, span: Span) -> str:
        """Return a short string."""
        if span[1] - span[0] > 4096:
            raise BadInput("it holds a name of more than 4096 bytes")
        return self.data[slice(*span)].decode("utf-8")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _tensor(scanner: _Scanner, path: Path, span: Span) -> tuple[str, Stored]:
    """Read one TensorProto."""
    name, code, shape, location = "", 0, [], 0
    external: dict[str, str] = {}
    flat: Span | None = None
    integers: list[int] = []
    for field, kind, place in scanner.fields(span):
        if field == _NAME and kind == _LEN:
            name = scanner.text(place)
        elif field == _TYPE and kind == _VARINT:
            code = place[0]
        elif field == _LOCATION and kind == _VARINT:
            location = place[0]
        elif field == _DIMS:
            shape += scanner.numbers(kind, place)
        elif field in (_RAW, _FLOATS, _DOUBLES) and kind == _LEN:
            flat = place  # packed floats are raw data too
        elif field in (_INT32S, _INT64S):
            integers += scanner.numbers(kind, place)
        elif field == _EXTERNAL and kind == _LEN:
            entry = {inner: scanner.text(text) for inner, wire, text in scanner.fields(place) if wire == _LEN}
            external[entry.get(1, "")] = entry.get(2, "")
    what = f"its initialiser '{name[:60]}'"
    if code not in _DTYPES or len(shape) > 32 or any(not 0 <= size < 2**48 for size in shape):
        raise BadInput(f"{what} is of type {code} and shape {shape[:8]}; {', '.join(_DTYPES.values())} are read")
    dtype, sizes = dtype_of(_DTYPES[code]), tuple(shape)
    try:
        if location == 1:
            return name, Stored.in_file(_beside(path, external, math.prod(sizes) * dtype.itemsize), dtype, sizes)
        if integers:
            return name, Stored.of(_unpacked(integers, dtype, sizes))
        begin, end = flat or (0, 0)
        return name, Stored.in_file(FilePart(path, begin, end - begin), dtype, sizes)
    except (BadInput, ValueError, OverflowError) as error:
        raise BadInput(f"{what}: {error}") from error


def _unpacked(values: list[int], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    """Return integers as a tensor; floats of two bytes are stored as the integers that their bits make."""
    if dtype.name in ("float16", "bfloat16"):
        return np.array(values, np.uint16).view(dtype).reshape(shape)
    return np.array(values, dtype).reshape(shape)


def _beside(path: Path, said: dict[str, str], size: int) -> FilePart:
    """Return the part of a file beside the model that holds a tensor."""
    folder, location = path.absolute().parent.resolve(), said.get("location", "")
    file = (folder / location).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        raise BadInput(f"its data lies in '{location[:60]}', which is no file of its folder")
    begin, length = int(said.get("offset") or 0), int(said.get("length") or size)
    if begin < 0 or length < 0 or begin + length > file.stat().st_size:
        raise BadInput(f"its data reaches beyond the end of '{location[:60]}'")
    return FilePart(file, begin, length)
