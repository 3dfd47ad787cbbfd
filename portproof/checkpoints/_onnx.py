"""The initialisers of an ``.onnx`` file, by name. The file does not say whose names and layouts they have.

Only the fields that lead to tensors are looked at; their bytes stay where they are. Fields:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from portproof._disk import beneath
from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.checkpoints._protobuf import LEN, VARINT, Scanner, Span
from portproof.checkpoints._stored import Checkpoint, FilePart, Stored, dtype_of, is_floating

#: TensorProto.DataType.
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
           11: "float64", 16: "bfloat16", 4: "uint16", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
           17: "float8_e4m3fn", 19: "float8_e5m2"}  # fmt: skip
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_DIMS, _TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _EXTERNAL, _LOCATION = 1, 2, 4, 5, 7, 8, 9, 10, 13, 14


def read(path: Path) -> Checkpoint:
    """Read the places of a file's initialisers.

    Raises:
        BadInput: the file is none, or names data outside of its folder.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        scanner = Scanner(data)
        tensors = {}
        for field, _, span in scanner.fields((0, len(data))):
            for inner, kind, tensor in scanner.fields(span) if field == _GRAPH else ():
                if inner == _INITIALIZER and kind == LEN:
                    name, stored = _tensor(scanner, path, tensor)
                    if name in tensors:
                        raise BadInput(f"it holds '{name[:60]}' twice; readers differ in which one they take")
                    tensors[name] = stored
    return Checkpoint(path, tensors, None, {})


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: its sizes, a name or None for those that are free, and its dtype's name."""

    shape: tuple[int | str | None, ...]
    dtype: str


def interface(path: Path) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return a graph's inputs, but for those that are weights, and its outputs.

    Raises:
        BadInput: the file is none.
    """
    inputs: dict[str, Value] = {}
    outputs: dict[str, Value] = {}
    weights: set[str] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        scanner = Scanner(data)
        for field, _, span in scanner.fields((0, len(data))):
            for inner, kind, place in scanner.fields(span) if field == _GRAPH else ():
                if kind == LEN and inner in (_INPUT, _OUTPUT):
                    name, value = _value(scanner, place)
                    (inputs if inner == _INPUT else outputs)[name] = value
                elif kind == LEN and inner == _INITIALIZER:
                    weights.add(next((scanner.text(t) for f, k, t in scanner.fields(place) if (f, k) == (8, LEN)), ""))
    return {name: value for name, value in inputs.items() if name not in weights}, outputs


def _value(scanner: Scanner, span: Span) -> tuple[str, Value]:
    """Read one ValueInfoProto; what is no tensor has no sizes."""
    name, code = "", 0
    sizes: list[int | str | None] = []
    for field, kind, place in scanner.fields(span):
        if (field, kind) == (1, LEN):
            name = scanner.text(place)
        for inner, _, tensor in scanner.fields(place) if (field, kind) == (2, LEN) else ():
            for part, wire, value in scanner.fields(tensor) if inner == 1 else ():
                if (part, wire) == (1, VARINT):
                    code = value[0]
                elif (part, wire) == (2, LEN):
                    sizes += [_size(scanner, size) for one, _, size in scanner.fields(value) if one == 1]
    return name, Value(tuple(sizes), _DTYPES.get(code, ""))


def _size(scanner: Scanner, span: Span) -> int | str | None:
    for field, kind, place in scanner.fields(span):
        if (field, kind) == (1, VARINT):
            return place[0]
        if (field, kind) == (2, LEN):
            return scanner.text(place)
    return None


def _tensor(scanner: Scanner, path: Path, span: Span) -> tuple[str, Stored]:
    """Read one TensorProto."""
    name, code, shape, location = "", 0, [], 0
    external: dict[str, str] = {}
    flat: Span | None = None
    integers: list[int] = []
    for field, kind, place in scanner.fields(span):
        if field == _NAME and kind == LEN:
            name = scanner.text(place)
        elif field == _TYPE and kind == VARINT:
            code = place[0]
        elif field == _LOCATION and kind == VARINT:
            location = place[0]
        elif field == _DIMS:
            shape += scanner.numbers(kind, place)
        elif field in (_RAW, _FLOATS, _DOUBLES) and kind == LEN:
            flat = place  # packed floats are raw data too
        elif field in (_INT32S, _INT64S):
            integers += scanner.numbers(kind, place)
        elif field == _EXTERNAL and kind == LEN:
            entry = {inner: scanner.text(text) for inner, wire, text in scanner.fields(place) if wire == LEN}
            external[entry.get(1, "")] = entry.get(2, "")
    what = f"its initialiser '{name[:60]}'"
    if code not in _DTYPES or len(shape) > 32 or any(not 0 <= size < 2**48 for size in shape):
        raise BadInput(f"{what} is of type {code} and shape {shape[:8]}; {', '.join(_DTYPES.values())} are read")
    dtype, sizes = dtype_of(_DTYPES[code]), tuple(shape)
    try:
        if location == 1:
            return name, Stored.in_file(external_part(path, external), dtype, sizes)
        if integers:
            return name, Stored.of(_unpacked(integers, dtype, sizes))
        begin, end = flat or (0, 0)
        return name, Stored.in_file(FilePart(path, begin, end - begin), dtype, sizes)
    except (BadInput, ValueError, OverflowError) as error:
        raise BadInput(f"{what}: {error}") from error


def _unpacked(values: list[int], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> Array:
    """Return integers as a tensor; floats of one or two bytes are stored as the integers that their bits make."""
    if dtype.name in ("float16", "bfloat16"):
        return np.array(values, np.uint16).view(dtype).reshape(shape)
    if dtype.itemsize == 1 and is_floating(dtype):
        return np.array(values, np.uint8).view(dtype).reshape(shape)
    return np.array(values, dtype).reshape(shape)


def external_part(path: Path, said: Mapping[str, str]) -> FilePart:
    """Return the part of a file beside a model that holds a tensor.

    Args:
        path: of the model.
        said: its tensor's ``external_data``: location, offset and length, the last two where they are not all of it.

    Raises:
        BadInput: there is no such file in the model's folder, or not so much of it.
    """
    location = said.get("location", "")
    file = beneath(path, location)
    size = file.stat().st_size
    try:
        begin = int(said.get("offset") or 0)
        length = int(said.get("length") or size - begin)
    except ValueError:
        begin = length = -1
    if begin < 0 or length < 0 or begin + length > size:
        raise BadInput(f"its data reaches beyond the end of '{location[:60]}'")
    return FilePart(file, begin, length)
