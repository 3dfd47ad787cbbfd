"""``.safetensors``, one file or several behind an index, mapped and not read.

Format: https://github.com/huggingface/safetensors#format. An index is a JSON file ``*.safetensors.index.json`` whose
``weight_map`` says which file beside it holds each tensor.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from portproof._disk import beneath
from portproof._errors import BadInput
from portproof.checkpoints._standins import checked_shape
from portproof.checkpoints._stored import Checkpoint, FilePart, Stored, dtype_of

_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip
_CODES = {name: code for code, name in _NAMES.items()}
#: The longest header or index: more than 100,000 tensors'. What it can make this process hold is bounded by it.
_LONGEST = 16 << 20
_KEY = "portproof."


def read(path: Path) -> Checkpoint:
    """Read a file's header; its tensors stay where they are.

    Raises:
        BadInput: the header is not that of such a file, or its tensors do not fill the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if length > size - 8:
            raise BadInput(f"its header declares {length} bytes, more than the file has; it is cut short")
        if length > _LONGEST:
            raise BadInput(f"its header is {length} bytes long; at most {_LONGEST >> 20} MiB are read")
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise BadInput("its header is no object")
    about = header.pop("__metadata__", {})
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise BadInput("its metadata are no strings by name")
    spans: list[tuple[int, int]] = []
    tensors = {}
    for name, entry in header.items():
        begin, end = _span(name, entry)
        spans.append((begin, end))
        part = FilePart(path, 8 + length + begin, end - begin)
        tensors[name] = Stored.in_file(part, dtype_of(_NAMES[entry["dtype"]]), checked_shape(tuple(entry["shape"])))
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise BadInput("its tensors overlap, or leave bytes between them")
        reached = end
    if reached != size - 8 - length:
        raise BadInput(f"its tensors take {reached} bytes and the file has {size - 8 - length}; it is cut short")
    said = {key.removeprefix(_KEY): value for key, value in about.items() if key.startswith(_KEY)}
    return Checkpoint(path, tensors, said.pop("side", None), said)


def _span(name: str, entry: Any) -> tuple[int, int]:
    plain = (
        isinstance(entry, dict) and entry.get("dtype") in _NAMES
        and _counts(entry.get("shape")) and _counts(entry.get("data_offsets")) and len(entry["data_offsets"]) == 2
    )  # fmt: skip
    if not plain or entry["data_offsets"][0] > entry["data_offsets"][1]:
        said = entry.get("dtype") if isinstance(entry, dict) else type(entry).__name__
        raise BadInput(f"its entry '{name[:60]}' is none of {', '.join(_NAMES)} ({str(said)[:20]})")
    begin, end = entry["data_offsets"]
    return begin, end


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadInput("a name stands in its header twice; readers differ in which one they take")
    return found


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**48 for size in value)


def write(file: BinaryIO, tensors: Mapping[str, Stored], about: Mapping[str, str]) -> None:
    """Write a file, tensor by tensor, in the reference writer's order: wide dtypes first, so that each is aligned."""
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    said = {f"{_KEY}{key}": value for key, value in sorted(about.items())}
    if about.get("side") == "torch":
        said["format"] = "pt"  # transformers reads no file without it
    entries: dict[str, Any] = {"__metadata__": said}
    reached = 0
    for name in names:
        stored = tensors[name]
        offsets = [reached, reached + stored.nbytes]
        entries[name] = {"dtype": _CODES[stored.dtype.name], "shape": list(stored.shape), "data_offsets": offsets}
        reached += stored.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name in names:
        file.write(tensors[name].bytes())


def read_index(path: Path, suffix: str = ".safetensors", read: Callable[[Path], Checkpoint] = read) -> Checkpoint:
    """Read a checkpoint of several files by its index.

    Args:
        path: of the index.
        suffix: of its files.
        read: reads one of them.

    Raises:
        BadInput: a file is missing or lies elsewhere, or its tensors are not those that the index names.
    """
    if path.stat().st_size > _LONGEST:
        raise BadInput(f"it is {path.stat().st_size} bytes long; at most {_LONGEST >> 20} MiB are read")
    document = json.loads(path.read_text(encoding="utf-8"))
    placed = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise BadInput("it has no weight_map of tensors to files")
    shards: dict[str, Checkpoint] = {}
    for file in sorted(set(placed.values())):
        if Path(file).name != file or not file.endswith(suffix):
            raise BadInput(f"its weight_map names '{file[:60]}'; files lie beside the index and end in {suffix}")
        if not (path.parent / file).exists():
            raise BadInput(f"its file '{file}' is missing")
        try:
            shards[file] = read(beneath(path, file))
        except BadInput as error:
            raise BadInput(f"its file '{file}': {error}") from error
    tensors = {}
    for name, file in placed.items():
        if name not in shards[file].tensors:
            raise BadInput(f"its file '{file}' does not hold '{name[:60]}', as its weight_map says")
        tensors[name] = shards[file].tensors[name]
    surplus = [name for shard in shards.values() for name in shard.tensors if name not in tensors]
    if surplus:
        raise BadInput(f"'{surplus[0][:60]}' is in a file and not in its weight_map")
    sides = {shard.side for shard in shards.values()}
    first = next(iter(shards.values())) if shards else None
    return Checkpoint(path, tensors, sides.pop() if len(sides) == 1 else None, first.about if first else {})


def split(tensors: Mapping[str, Stored], limit: int) -> Sequence[list[str]]:
    """Return the names of each file of a checkpoint, in order, so that none is larger than a limit if it can be."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, stored in tensors.items():
        if shards[-1] and size + stored.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += stored.nbytes
    return shards
