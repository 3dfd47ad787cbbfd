"""A published Paddle program's parameters: ``.pdiparams`` beside a ``.json`` or ``.pdmodel`` that names them.

The file of parameters has no names: it holds the program's in sorted order, each with its dtype and shape. Formats:
https://github.com/PaddlePaddle/Paddle/blob/develop/paddle/phi/core/framework/dense_tensor_serialize.cc and
framework.proto there. Older programs have a ``.pdiparams.info`` beside them, with the names that the model had.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from portproof._disk import beneath
from portproof._errors import BadInput
from portproof.checkpoints._pickle import Machine
from portproof.checkpoints._protobuf import LEN, VARINT, Scanner, Span
from portproof.checkpoints._standins import checked_shape
from portproof.checkpoints._stored import Checkpoint, FilePart, Stored, dtype_of

#: VarType.Type of framework.proto.
_DTYPES = {0: "bool", 1: "int16", 2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64", 20: "uint8",
           21: "int8", 22: "bfloat16", 23: "complex64", 24: "complex128", 32: "float8_e4m3fn",
           33: "float8_e5m2"}  # fmt: skip
_PARAMETERS, _INFO = ".pdiparams", ".pdiparams.info"
_PROGRAMS = (".json", ".pdmodel")
#: A program, its values' depth of nesting left to the parser, and a description of one tensor.
_LONGEST, _LONGEST_DESCRIPTION = 64 << 20, 4096
_LOD_TENSOR = 7


def read(path: Path) -> Checkpoint:
    """Read a program's parameters, by the names that it gives them or, where they are known, by the model's.

    Args:
        path: of the parameters, or of the program.

    Raises:
        BadInput: one of the two files is missing or damaged, or they do not belong together.
    """
    stem = path.with_name(path.name.removesuffix(".info").rpartition(".")[0])
    beside = [stem.with_name(stem.name + suffix) for suffix in _PROGRAMS]
    program = path if path.suffix in _PROGRAMS else next((file for file in beside if file.is_file()), None)
    parameters = stem.with_name(stem.name + _PARAMETERS)
    if program is None:
        raise BadInput(
            f"the program that names its tensors is missing; put '{beside[0].name}' or '{beside[1].name}' beside it"
        )
    if not parameters.exists():
        raise BadInput(f"'{parameters.name}' with its parameters is missing beside it")
    for named in (parameters, program):
        beneath(path, named.name)
    names = sorted(_names_of_json(program) if program.suffix == ".json" else _names_of_pdmodel(program))
    with parameters.open("rb") as file:
        tensors = {name: _tensor(parameters, file, name) for name in names}
        if file.read(1):
            raise BadInput(
                f"'{parameters.name}' holds more than the {len(names)} parameters that '{program.name}' names"
            )
    info = stem.with_name(stem.name + _INFO)
    structured = _structured(info) if info.is_file() else {}
    if set(structured) == set(names) and len(set(structured.values())) == len(names):
        tensors = {structured[name]: stored for name, stored in tensors.items()}
        return Checkpoint(path, tensors, "paddle", {}, (f"names of the model by '{info.name}'",))
    return Checkpoint(path, tensors, "paddle", {}, (f"parameters by the names of '{program.name}'",))


def _names_of_json(path: Path) -> list[str]:
    """Return the parameters of a program of Paddle 3."""
    if path.stat().st_size > _LONGEST:
        raise BadInput(f"it is {path.stat().st_size} bytes long; at most {_LONGEST >> 20} MiB are read")
    document = json.loads(path.read_text(encoding="utf-8"))
    try:
        blocks = [block for region in document["program"]["regions"] for block in region["blocks"]]
        names = [op["A"][3] for block in blocks for op in block["ops"] if op["#"] == "p"]
    except (KeyError, TypeError, IndexError) as error:
        raise BadInput("it is no program of Paddle's") from error
    if not all(isinstance(name, str) and len(name) <= _LONGEST_DESCRIPTION for name in names):
        raise BadInput("it is no program of Paddle's")
    return names


def _names_of_pdmodel(path: Path) -> list[str]:
    """Return the parameters of a program before Paddle 3: what persists in its blocks and is a tensor."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        scanner = Scanner(data)
        found: list[str] = []
        for field, kind, block in scanner.fields((0, len(data))):
            for inner, wire, variable in scanner.fields(block) if (field, kind) == (1, LEN) else ():
                if (inner, wire) == (3, LEN):
                    found += _persistent(scanner, variable)
    return found


def _persistent(scanner: Scanner, span: Span) -> Iterator[str]:
    """Yield the name of a variable that is a parameter."""
    name, persists, kind_of = "", False, -1
    for field, kind, place in scanner.fields(span):
        if field == 1 and kind == LEN:
            name = scanner.text(place)
        elif field == 3 and kind == VARINT:
            persists = place[0] != 0
        elif field == 2 and kind == LEN:
            kind_of = next(
                (value[0] for inner, wire, value in scanner.fields(place) if (inner, wire) == (1, VARINT)), -1
            )
    if persists and kind_of == _LOD_TENSOR:
        yield name


def _tensor(path: Path, file: BinaryIO, name: str) -> Stored:
    """Read what stands before a tensor's numbers, and go past them."""
    what = f"its parameter '{name[:60]}'"
    version, levels = struct.unpack("<IQ", _exactly(file, 12))
    if version != 0 or levels != 0:
        raise BadInput(f"{what} is of version {version} with {levels} levels of offsets; parameters have none")
    version, length = struct.unpack("<Ii", _exactly(file, 8))
    if version != 0 or not 0 <= length <= _LONGEST_DESCRIPTION:
        raise BadInput(
            f"{what} has a description of {length} bytes; its program names other parameters, or it is damaged"
        )
    code, shape = _description(_exactly(file, length))
    if code not in _DTYPES:
        raise BadInput(f"{what} is of type {code}; {', '.join(_DTYPES.values())} are read")
    dtype, sizes = dtype_of(_DTYPES[code]), checked_shape(shape)
    begin, size = file.tell(), math.prod(sizes) * dtype.itemsize
    if begin + size > file.seek(0, 2):
        raise BadInput("it is cut short")
    file.seek(begin + size)
    return Stored.in_file(FilePart(path, begin, size), dtype, sizes)


def _description(content: bytes) -> tuple[int, tuple[int, ...]]:
    """Return type and shape of a TensorDesc."""
    code, shape = -1, []
    scanner = Scanner(content)
    for field, kind, place in scanner.fields((0, len(content))):
        if field == 1 and kind == VARINT:
            code = place[0]
        elif field == 2:
            shape += scanner.numbers(kind, place)
    return code, tuple(shape)


def _exactly(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise BadInput("it is cut short, or its program names more parameters")
    return found


def _structured(path: Path) -> dict[str, str]:
    """Return parameters' names to those in the model, as far as a file says."""
    with path.open("rb") as file:
        content: Any = Machine(path, file, {}).load()
    known = content.items() if isinstance(content, dict) else ()
    named = {name: said.get("structured_name") for name, said in known if isinstance(said, dict)}
    return {name: own for name, own in named.items() if isinstance(name, str) and isinstance(own, str)}
