"""``.pt`` and ``.pth``: zip archives since PyTorch 1.6, bare pickles before, read and written without PyTorch.

The archive's members are stored, not packed, so that a tensor is a part of the file. Format:
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py and caffe2/serialize/inline_container.h.
"""

from __future__ import annotations

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
from portproof.checkpoints._chosen import Content
from portproof.checkpoints._pickle import Machine, piece
from portproof.checkpoints._script import Scripted, state_of
from portproof.checkpoints._standins import Described, Foreign, checked_shape, is_tensor, numpy_names, said
from portproof.checkpoints._stored import DTYPES, FilePart, Stored, dtype_of, notes
from portproof.checkpoints._zip import aligned, members_of, place

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items()}
#: A storage of bytes, whose tensors carry their dtypes with them.
_UNTYPED = "untyped"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
#: Suffixes of files that torch.save alone writes; other programs pickle into the rest.
_OWN = (".pt", ".pth")


@dataclass
class _Storage(Described):
    """A storage that tensors are views of; its bytes are placed when they are found."""

    dtype: str
    count: int
    part: FilePart | None = None

    @property
    def nbytes(self) -> int:
        """Size of the storage."""
        return self.count if self.dtype == _UNTYPED else self.count * dtype_of(self.dtype).itemsize

    def place(self, part: FilePart) -> None:
        """Say where its bytes are."""
        if part.length != self.nbytes:
            raise BadInput(f"a storage of {self.count} {self.dtype} needs {self.nbytes} bytes and has {part.length}")
        self.part = part


@dataclass(frozen=True)
class _Dtype:
    """Stands for one of torch's dtypes."""

    name: str


class _Tensor(Described):
    """A view of a storage, as ``torch._utils._rebuild_tensor_v2`` and its kin are given it.

    Args:
        negative, conjugate: torch's lazy bits: the tensor is that of what the storage holds.
    """

    def __init__(
        self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: Any, *, negative: bool, conjugate: bool
    ) -> None:
        if not isinstance(storage, _Storage) or type(offset) is not int or not 0 <= offset < 2**48:
            raise BadInput("it holds a tensor without a storage")
        self.storage, self.offset, self.negative, self.conjugate = storage, offset, negative, conjugate
        self.dtype = dtype_of(dtype)
        if (negative and self.dtype.kind not in "fc") or (conjugate and self.dtype.kind != "c"):
            raise BadInput(f"it holds a tensor of {dtype} that is negated or conjugated, which torch's never are")
        self.shape, self.stride = checked_shape(shape), checked_shape(stride)
        if len(self.shape) != len(self.stride):
            raise BadInput(f"it holds a tensor of shape {list(self.shape)} and strides {list(self.stride)}")
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        count, held = math.prod(self.shape), storage.nbytes // self.dtype.itemsize
        if count and offset + last >= held:
            raise BadInput("it holds a tensor that reaches beyond its storage")
        if count > held:
            raise BadInput(f"it holds a tensor of {count} elements over {held}; save a copy of it")

    def stored(self) -> Stored:
        """Return the tensor."""
        if self.storage.part is None:
            raise BadInput("it holds a tensor whose storage is missing")
        found = self._viewed(self.storage.part)
        if not self.negative and not self.conjugate:
            return found

        def read() -> Array:
            array = np.conjugate(found.read()) if self.conjugate else found.read()
            return np.negative(array) if self.negative else array

        return Stored(found.dtype, found.shape, read)

    def _viewed(self, part: FilePart) -> Stored:
        dtype = self.dtype
        if self.stride == _contiguous(self.shape) or 0 in self.shape:
            begin = part.offset + self.offset * dtype.itemsize if math.prod(self.shape) else part.offset
            return Stored.in_file(FilePart(part.path, begin, math.prod(self.shape) * dtype.itemsize), dtype, self.shape)
        steps = tuple(step * dtype.itemsize for step in self.stride)

        def read() -> Array:
            whole = part.map()
            whole = whole[: len(whole) // dtype.itemsize * dtype.itemsize].view(dtype)[self.offset :]
            return np.ascontiguousarray(np.lib.stride_tricks.as_strided(whole, self.shape, steps, writeable=False))

        return Stored(dtype, self.shape, read)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _bits(metadata: Any) -> dict[str, bool]:
    """Return what a tensor's metadata say of its values.

    Raises:
        BadInput: they say something that is not known; without it the values would be other ones.
    """
    known = {"neg": "negative", "conj": "conjugate"}
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(key in known and type(on) is bool for key, on in metadata.items()):
        first = next((key for key in metadata if key not in known), None) if isinstance(metadata, dict) else metadata
        raise BadInput(f"it holds a tensor with metadata that are not known ({said(first)}); save a clone() of it")
    return {word: metadata.get(key, False) for key, word in known.items()}


def _v1(storage: Any, offset: Any, shape: Any, stride: Any) -> Any:
    return _v2(storage, offset, shape, stride, False, None)


def _v2(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, metadata: Any = None
) -> Any:  # fmt: skip
    if not isinstance(storage, _Storage) or storage.dtype == _UNTYPED:
        raise BadInput("it holds a tensor without a storage")
    return _Tensor(storage, offset, shape, stride, storage.dtype, **_bits(metadata))


def _v3(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> Any:  # fmt: skip
    if not isinstance(dtype, _Dtype):
        raise BadInput(f"it holds a tensor of a dtype that is not read ({said(dtype)})")
    return _Tensor(storage, offset, shape, stride, dtype.name, **_bits(metadata))


def _parameter(tensor: Any, _grad: Any, _hooks: Any, _state: Any = None) -> Any:
    return tensor


#: Kinds of tensors whose values are those of a plain one.
_PLAIN_KINDS = frozenset(("Tensor", "Parameter", "Buffer"))


def _of_type(function: Any, kind: Any, arguments: Any, _state: Any) -> Any:
    """Return a tensor that was saved with attributes of its own; one of a stranger's class may mean anything."""
    if (
        not isinstance(kind, str)
        or kind not in _PLAIN_KINDS
        or function not in (_v1, _v2, _v3)
        or not isinstance(arguments, tuple)
    ):
        return Foreign(f"a tensor of the class {said(kind)}")
    return function(*arguments)


def _from_numpy(array: Any, _dtype: Any, _device: Any, _grad: Any) -> Any:
    return array if is_tensor(array) else Foreign("a tensor of another device")


def _size(sizes: Any = ()) -> tuple[Any, ...]:
    return tuple(sizes) if isinstance(sizes, list | tuple) else (sizes,)


def _names() -> dict[tuple[str, str], Any]:
    """Return the stand-ins of what PyTorch's own files ask for."""
    names: dict[tuple[str, str], Any] = numpy_names() | {
        ("torch._utils", "_rebuild_tensor"): _v1, ("torch._utils", "_rebuild_tensor_v2"): _v2,
        ("torch._utils", "_rebuild_tensor_v3"): _v3, ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter, ("torch", "Size"): _size,
        ("torch._utils", "_rebuild_device_tensor_from_numpy"): _from_numpy,
        ("torch._tensor", "_rebuild_from_type_v2"): _of_type, ("torch", "Tensor"): "Tensor",
        ("torch._tensor", "Tensor"): "Tensor", ("torch.nn.parameter", "Parameter"): "Parameter",
        ("torch.nn.parameter", "Buffer"): "Buffer",
        ("torch.storage", "UntypedStorage"): _UNTYPED, ("torch", "UntypedStorage"): _UNTYPED,
    }  # fmt: skip
    names |= {("torch", name): _Dtype(name) for name in DTYPES}
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
        plain = (
            what == "storage" and isinstance(key, str) and len(key) < 256 and type(count) is int and 0 <= count < 2**48
        )
        if not plain or not isinstance(dtype, str) or dtype not in (_UNTYPED, *_STORAGE_OF):
            quantised = "; it holds quantised weights: dequantize() them first" if ".Q" in said(dtype) else ""
            raise BadInput(f"it refers to a storage of an unknown kind ({said(dtype)}){quantised}")
        if len(identifier) > 5 and identifier[5] is not None:
            raise BadInput("it holds views of storages, as files before PyTorch 0.4 did; save it anew")
        found = self.by_key.setdefault(key, _Storage(dtype, count))
        if (found.dtype, found.count) != (dtype, count):
            raise BadInput(f"it refers to its storage {said(key)} as two kinds of numbers")
        return found


def read(path: Path) -> Content:
    """Read all that a file holds.

    Raises:
        BadInput: it is no file of ``torch.save``, damaged, or asks for what only runs something.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            return _read_archive(path, file)
        file.seek(0)
        return _read_legacy(path, file)


def _read_archive(path: Path, file: BinaryIO) -> Content:
    storages = _Storages()
    with zipfile.ZipFile(path) as archive:
        root, members = _members(archive)
    order = members.get("byteorder")
    if order is not None and _small(path, file, order) != b"little":
        raise BadInput("it holds numbers in big-endian order")
    note = members.get("portproof.json")
    about = notes(_small(path, file, note)) if note is not None else {}
    index = place(path, file, members["data.pkl"])
    names: Mapping[tuple[str, str], Any] = _names()
    script = "constants.pkl" in members or any(name.startswith("code/") for name in members)
    if script:
        names = Scripted(names)
    content = Machine(path, file, names, storages, (index.offset, index.offset + index.length)).load()
    for key, storage in storages.by_key.items():
        info = members.get(f"data/{key}")
        if info is None:
            raise BadInput(f"its storage {said(key)} is missing from '{root}/data'")
        storage.place(place(path, file, info))
    if script:
        said_ = ("tensors of a TorchScript archive, whose code was not run",)
        return Content(state_of(content), "torch", about, said_, placed=False)
    return Content(content, "torch", about)


def _members(archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """Return the one folder of an archive, and what it holds by name.

    Raises:
        BadInput: two readers could find two different things in it, or it is none of PyTorch's.
    """
    members = members_of(archive)
    if not any(name.endswith("/data.pkl") for name in members):
        raise BadInput("it is a zip archive without a data.pkl, and so not PyTorch's")
    roots = sorted({name.partition("/")[0] for name in members})
    if len(roots) > 1:
        raise BadInput(
            f"its members lie in {len(roots)} folders ({roots[0][:40]!r}, {roots[1][:40]!r}); PyTorch's have one"
        )
    inside = {name.partition("/")[2]: info for name, info in members.items()}
    if "data.pkl" not in inside:
        raise BadInput("its data.pkl is not in its folder")
    return roots[0], inside


def _small(path: Path, file: BinaryIO, info: zipfile.ZipInfo, limit: int = 1 << 16) -> bytes:
    """Return a member that is not packed: unpacking could fill memory."""
    part = place(path, file, info)
    if part.length > limit:
        raise BadInput(f"its {info.filename[:60]!r} is {part.length} bytes long; that is no state dict")
    file.seek(part.offset)
    return file.read(part.length)


def _read_legacy(path: Path, file: BinaryIO) -> Content:
    storages = _Storages()
    machine = Machine(path, file, _names(), storages)
    first = machine.load()
    if first != _MAGIC and path.suffix.lower() not in _OWN:
        return Content(first, None, {})  # a pickle of arrays
    if first != _MAGIC or machine.load() != _PROTOCOL:
        raise BadInput("it does not begin as a file of torch.save does")
    system = machine.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise BadInput("it holds numbers in big-endian order")
    content, keys = machine.load(), machine.load()
    plain = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not plain or sorted(keys) != sorted(storages.by_key):
        raise BadInput("its list of storages is not that of its tensors")
    position = machine.tell()
    for key in keys:
        storage = storages.by_key[key]
        file.seek(position)
        counted = file.read(8)
        size, whole = storage.nbytes, len(counted) == 8 and struct.unpack("<q", counted)[0] == storage.count
        if not whole or position + 8 + size > file.seek(0, 2):
            raise BadInput("it is cut short")
        storage.place(FilePart(path, position + 8, size))
        position += 8 + size
    return Content(content, "torch", {})


def write(file: BinaryIO, tensors: Mapping[str, Stored], about: Mapping[str, str]) -> None:
    """Write a state dict as torch.save does, tensor by tensor; ``about`` is a member that PyTorch does not look at."""
    index = [pickle.PROTO + b"\x02", pickle.GLOBAL + b"collections\nOrderedDict\n", pickle.EMPTY_TUPLE + pickle.REDUCE]
    index.append(pickle.MARK)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for number, (name, stored) in enumerate(tensors.items()):
            with aligned(archive, file, f"archive/data/{number}", stored.nbytes) as member:
                member.write(stored.bytes())
            index.append(piece(name, 2) + _rebuilt(str(number), stored))
        index += [pickle.SETITEMS, pickle.STOP]
        members = {"data.pkl": b"".join(index), "byteorder": b"little", "version": b"3\n"}
        if about:
            members["portproof.json"] = json.dumps(dict(about), sort_keys=True).encode()
        for name, content in members.items():
            with aligned(archive, file, f"archive/{name}", len(content)) as member:
                member.write(content)


def _rebuilt(key: str, stored: Stored) -> bytes:
    """Return the opcodes of a call of ``torch._utils._rebuild_tensor_v2``, or v3 where no storage has the dtype."""
    name = stored.dtype.name
    typed = name in _STORAGE_OF
    kind = f"torch\n{_STORAGE_OF[name]}\n" if typed else "torch.storage\nUntypedStorage\n"
    count = math.prod(stored.shape) if typed else stored.nbytes
    storage = (
        pickle.MARK + piece("storage", 2) + pickle.GLOBAL + kind.encode()
        + piece(key, 2) + piece("cpu", 2) + piece(count, 2) + pickle.TUPLE + pickle.BINPERSID
    )  # fmt: skip
    hooks = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE
    return (
        pickle.GLOBAL + f"torch._utils\n_rebuild_tensor_v{2 if typed else 3}\n".encode() + pickle.MARK + storage
        + piece(0, 2) + piece(stored.shape, 2) + piece(_contiguous(stored.shape), 2) + pickle.NEWFALSE + hooks
        + (b"" if typed else pickle.GLOBAL + f"torch\n{name}\n".encode()) + pickle.TUPLE + pickle.REDUCE
    )  # fmt: skip
