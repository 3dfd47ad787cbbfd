"""``.pt`` and ``.pth``: zip archives since PyTorch 1.6, bare pickles before, read and written without PyTorch.

The archive's members are stored, not packed, so that a tensor is a part of the file. Format:
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py and caffe2/serialize/inline_container.h.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from portproof._errors import BadInput
from portproof._numbers import Array
from portproof.checkpoints._pickle import LIMIT, Described, Machine, checked_shape, numpy_names, only_tensors, piece
from portproof.checkpoints._stored import Checkpoint, FilePart, Stored, dtype_of, notes

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items()}
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ALIGNMENT = 64
#: Keys under which training scripts keep a state dict among other things.
_INSIDE = ("state_dict", "model")


@dataclass
class _Storage(Described):
    """A storage that tensors are views of; its bytes are placed when they are found."""

    dtype: str
    count: int
    part: FilePart | None = None

    def place(self, part: FilePart) -> None:
        size = self.count * dtype_of(self.dtype).itemsize
        if part.length != size:
            raise BadInput(f"a storage of {self.count} {self.dtype} needs {size} bytes and has {part.length}")
        self.part = part


class _Tensor(Described):
    """A view of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> None:
        if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0:
            raise BadInput("it holds a tensor without a storage")
        self.storage, self.offset = storage, offset
        self.shape, self.stride = checked_shape(shape), checked_shape(stride)
        if len(self.shape) != len(self.stride):
            raise BadInput(f"it holds a tensor of shape {list(self.shape)} and strides {list(self.stride)}")
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        count = math.prod(self.shape)
        if count and offset + last >= storage.count:
            raise BadInput("it holds a tensor that reaches beyond its storage")
        if count > storage.count:
            raise BadInput(f"it holds a tensor of {count} elements over {storage.count}; save a copy of it")

    def stored(self) -> Stored:
        if self.storage.part is None:
            raise BadInput("it holds a tensor whose storage is missing")
        dtype, part = dtype_of(self.storage.dtype), self.storage.part
        if self.stride == _contiguous(self.shape) or 0 in self.shape:
            begin = part.offset + self.offset * dtype.itemsize
            return Stored.in_file(FilePart(part.path, begin, math.prod(self.shape) * dtype.itemsize), dtype, self.shape)
        steps = tuple(step * dtype.itemsize for step in self.stride)

        def read() -> Array:
            whole = part.map().view(dtype)[self.offset :]
            return np.ascontiguousarray(np.lib.stride_tricks.as_strided(whole, self.shape, steps, writeable=False))

        return Stored(dtype, self.shape, read)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _names() -> dict[tuple[str, str], Any]:
    """Return the stand-ins of what PyTorch's own files ask for."""
    names: dict[tuple[str, str], Any] = numpy_names() | {
        ("torch._utils", "_rebuild_tensor"): _Tensor, ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter, ("torch", "Size"): tuple,
    }  # fmt: skip
    return names | {("torch", name): dtype for name, dtype in _STORAGES.items()}


class _Storages:
    """The storages that a file's tensors refer to, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, _Storage] = {}

    def __call__(self, identifier: Any) -> _Storage:
        try:
            what, dtype, key, _, count = identifier[:5]
        except (TypeError, ValueError):
            raise BadInput("it refers to something that is no storage") from None
        plain = what == "storage" and isinstance(key, str) and type(count) is int and 0 <= count < 2**48
        if not plain or not isinstance(dtype, str) or dtype not in _STORAGE_OF:
            raise BadInput(f"it refers to a storage of an unknown kind ({str(dtype)[:40]})")
        if len(identifier) > 5 and identifier[5] is not None:
            raise BadInput("it holds views of storages, as files before PyTorch 0.4 did; save it anew")
        return self.by_key.setdefault(key, _Storage(dtype, count))


def read(path: Path) -> Checkpoint:
    """Read a state dict.

    Raises:
        BadInput: the file asks for more than tensors, or holds more than a state dict.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            content, about = _read_archive(path, file)
        else:
            file.seek(0)
            content, about = _read_legacy(path, file), {}
    for key in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise BadInput(f"expected a state dict, found {type(content).__name__}")
    return Checkpoint(path, only_tensors(content), "torch", about)


def _read_archive(path: Path, file: BinaryIO) -> tuple[Any, dict[str, str]]:
    storages = _Storages()
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        index = next((name for name in members if name.endswith("/data.pkl") or name == "data.pkl"), None)
        if index is None:
            raise BadInput("it is a zip archive without a data.pkl (TorchScript, or not PyTorch's)")
        root = index.removesuffix("data.pkl")
        if any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in members):
            raise BadInput("it is a TorchScript archive, which holds code; save the state dict instead")
        order = members.get(f"{root}byteorder")
        if order is not None and _small(path, file, order) != b"little":
            raise BadInput("it holds numbers in big-endian order")
        note = members.get(f"{root}portproof.json")
        about = notes(_small(path, file, note)) if note is not None else {}
        opened = io.BytesIO(_small(path, file, members[index], LIMIT))
        content = Machine(path, opened, _names(), storages).load()
    for key, storage in storages.by_key.items():
        info = members.get(f"{root}data/{key}")
        if info is None:
            raise BadInput(f"its storage '{key[:40]}' is missing")
        storage.place(_place(path, file, info))
    return content, about


def _small(path: Path, file: BinaryIO, info: zipfile.ZipInfo, limit: int = 1 << 16) -> bytes:
    """Return a member that is not packed: unpacking could fill memory."""
    part = _place(path, file, info)
    if part.length > limit:
        raise BadInput(f"its '{info.filename[:60]}' is {part.length} bytes long; that is no state dict")
    file.seek(part.offset)
    return file.read(part.length)


def _place(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> FilePart:
    """Return where a member's bytes lie: behind a header of its own, whose fields may differ from the directory's."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise BadInput(f"its '{info.filename[:60]}' is packed, which PyTorch's never are")
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise BadInput("it is cut short")
    begin = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if begin + info.file_size > file.seek(0, 2):
        raise BadInput("it is cut short")
    return FilePart(path, begin, info.file_size)


def _read_legacy(path: Path, file: BinaryIO) -> Any:
    storages = _Storages()
    machine = Machine(path, file, _names(), storages)
    if machine.load() != _MAGIC or machine.load() != _PROTOCOL:
        raise BadInput("it does not begin as a file of torch.save does")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise BadInput("it holds numbers in big-endian order")
    content, keys = machine.load(), machine.load()
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages.by_key):
        raise BadInput("its list of storages is not that of its tensors")
    position = machine.tell()
    for key in keys:
        storage = storages.by_key[key]
        file.seek(position)
        counted = file.read(8)
        size = storage.count * dtype_of(storage.dtype).itemsize
        if (
            len(counted) < 8
            or struct.unpack("<q", counted)[0] != storage.count
            or position + 8 + size > file.seek(0, 2)
        ):
            raise BadInput("it is cut short")
        storage.place(FilePart(path, position + 8, size))
        position += 8 + size
    return content


def write(file: BinaryIO, tensors: Mapping[str, Stored], about: Mapping[str, str]) -> None:
    """Write a state dict as torch.save does, tensor by tensor; ``about`` is a member that PyTorch does not look at."""
    index = [pickle.PROTO + b"\x02", pickle.GLOBAL + b"collections\nOrderedDict\n", pickle.EMPTY_TUPLE + pickle.REDUCE]
    index.append(pickle.MARK)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for number, (name, stored) in enumerate(tensors.items()):
            with _aligned(archive, file, f"archive/data/{number}", stored.nbytes) as member:
                member.write(stored.bytes())
            index.append(piece(name, 2) + _rebuilt(str(number), stored))
        index += [pickle.SETITEMS, pickle.STOP]
        members = {"data.pkl": b"".join(index), "byteorder": b"little", "version": b"3\n"}
        if about:
            members["portproof.json"] = json.dumps(dict(about), sort_keys=True).encode()
        for name, content in members.items():
            with _aligned(archive, file, f"archive/{name}", len(content)) as member:
                member.write(content)


def _aligned(archive: zipfile.ZipFile, file: BinaryIO, name: str, size: int) -> Any:
    """Open a member whose bytes begin at a multiple of 64, as PyTorch's do, so that they can be mapped."""
    info = zipfile.ZipInfo(name)  # its date is 1980: the same tensors give the same bytes
    info.file_size = size
    zip64 = size > zipfile.ZIP64_LIMIT // 2
    begin = file.tell() + 30 + len(name) + (20 if zip64 else 0) + 4
    padding = -begin % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    return archive.open(info, "w", force_zip64=zip64)


def _rebuilt(key: str, stored: Stored) -> bytes:
    """Return the opcodes of a call of ``torch._utils._rebuild_tensor_v2``."""
    storage = (
        pickle.MARK + piece("storage", 2) + pickle.GLOBAL + f"torch\n{_STORAGE_OF[stored.dtype.name]}\n".encode()
        + piece(key, 2) + piece("cpu", 2) + piece(math.prod(stored.shape), 2) + pickle.TUPLE + pickle.BINPERSID
    )  # fmt: skip
    hooks = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    return (
        pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n" + pickle.MARK + storage + piece(0, 2)
        + piece(stored.shape, 2) + piece(_contiguous(stored.shape), 2) + pickle.NEWFALSE + hooks
        + pickle.TUPLE + pickle.REDUCE
    )  # fmt: skip
