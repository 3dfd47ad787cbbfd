"""A pickle machine for files from strangers: it builds containers, numbers and strings, and stand-ins for tensors.

It is Python's own machine (``pickle._Unpickler``, the reference of ``pickle.loads``) with every name that a file may
ask for replaced by a stand-in that only describes a tensor. Long byte strings are not read: their place in the file is
kept. A file may have at most ``LIMIT`` bytes beside those, which bounds what it can make this process hold.
"""

from __future__ import annotations

import math
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from portproof._errors import BadInput
from portproof.checkpoints._stored import FilePart, Stored, dtype_of

#: Bytes of a pickle beside its tensors: enough for some 50,000. Each makes an object of some hundred bytes at most.
LIMIT = 8 << 20
_LONG = 256


class _Budgeted:
    """A file of which no more than a limit is read; the rest can only be passed over."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._left = file, limit
        self.size = file.seek(0, 2)
        file.seek(0)

    def read(self, count: int) -> bytes:
        self._spend(count)
        return self._file.read(count)

    def readinto(self, buffer: Any) -> int:
        self._spend(len(buffer))
        return self._file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def readline(self) -> bytes:
        line = self._file.readline(self._left + 1)
        self._spend(len(line))
        return line

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise BadInput(f"it holds more than {LIMIT >> 20} MiB beside its tensors; that is no checkpoint")

    def tell(self) -> int:
        return self._file.tell()

    def pass_over(self, count: int) -> int:
        """Go past some bytes; returns where they begin."""
        begin = self._file.tell()
        if count > self.size - begin:
            raise BadInput("it is cut short")
        self._file.seek(count, 1)
        return begin


class Machine(pickle._Unpickler):
    """Runs pickles of one file, one after the other.

    Args:
        path: of the file, for the places of its tensors.
        file: open, at its beginning.
        names: module and name to the stand-in that a file gets for it; every other name is refused.
        storage: answers a persistent identifier; None refuses them.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    # Python's machine makes these when it starts.
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        names: Mapping[tuple[str, str], Any],
        storage: Callable[[Any], Any] | None = None,
    ) -> None:
        self._budgeted = _Budgeted(file, LIMIT)
        super().__init__(self._budgeted, encoding="latin1")
        self._path, self._names, self._storage = path, names, storage

    def tell(self) -> int:
        """Return where in the file the machine is."""
        return self._budgeted.tell()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise BadInput(f"it asks for '{module}.{name}'; weights need arrays only, and nothing in the file is run")
        return self._names[module, name]

    def persistent_load(self, identifier: Any) -> Any:
        if self._storage is None:
            raise BadInput("it refers to storage outside of itself")
        return self._storage(identifier)

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Described):
            made.set(state)
        elif not isinstance(made, dict):  # a dictionary's own attributes (torch's _metadata) are of no use here
            raise BadInput(f"it gives a state to a {type(made).__name__}")

    def _bytes(self, length: int) -> None:
        if length < _LONG:
            self.append(self.read(length))
        else:
            self.append(FilePart(self._path, self._budgeted.pass_over(length), length))

    def _bytes4(self) -> None:
        self._bytes(int.from_bytes(self.read(4), "little"))

    def _bytes8(self) -> None:
        self._bytes(int.from_bytes(self.read(8), "little"))

    def _frame(self) -> None:
        self.read(8)  # frames only say how much could be read ahead

    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.BINBYTES[0]] = _bytes4
    dispatch[pickle.BINBYTES8[0]] = _bytes8
    dispatch[pickle.BYTEARRAY8[0]] = _bytes8
    dispatch[pickle.FRAME[0]] = _frame


class Described:
    """Stands for an object that a pickle would build."""

    def set(self, state: Any) -> None:
        """Take what the pickle gives as its state."""
        raise BadInput(f"it gives a state to a {type(self).__name__.lower()}")


class NumpyDtype(Described):
    """Stands for ``numpy.dtype``: a plain number's, in little-endian order."""

    def __init__(self, name: Any, *_: Any) -> None:
        plain = isinstance(name, str) and name.lstrip("<|") in _NUMPY_DTYPES
        if not plain:
            raise BadInput(f"it holds a dtype {str(name)[:20]!r}; expected plain numbers")
        self.dtype = np.dtype(name)

    def set(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise BadInput("it holds numbers in big-endian order, or a structured dtype")


_NUMPY_DTYPES = frozenset(("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "b1"))


class NumpyArray(Described):
    """Stands for ``numpy.ndarray``."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] | None = None
    raw: FilePart | bytes | None = None
    order = "C"

    def set(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise BadInput("it holds an array of an unknown layout")
        _, shape, dtype, fortran, raw = state
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: Any, dtype: Any, shape: Any, order: str) -> NumpyArray:
        """Take the parts of an array."""
        if isinstance(raw, str):  # protocol 2 has no bytes
            raw = raw.encode("latin1")
        if not isinstance(raw, FilePart | bytes | bytearray) or not isinstance(dtype, NumpyDtype):
            raise BadInput("it holds an array of objects, or of an unknown layout")
        self.raw = bytes(raw) if isinstance(raw, bytearray) else raw
        self.dtype, self.shape, self.order = dtype.dtype, checked_shape(shape), order
        return self

    def stored(self) -> Stored:
        """Return the tensor.

        Raises:
            BadInput: it was never filled, or its bytes are not as many as its shape needs.
        """
        if self.raw is None or self.dtype is None:
            raise BadInput("it holds an array without content")
        # Paddle hands bfloat16 to NumPy as uint16, and has no uint16 of its own.
        dtype = dtype_of("bfloat16") if self.dtype.name == "uint16" else self.dtype
        if isinstance(self.raw, FilePart):
            return Stored.in_file(self.raw, dtype, self.shape, self.order)
        if math.prod(self.shape) * dtype.itemsize != len(self.raw):
            raise BadInput(f"an array of shape {list(self.shape)} has {len(self.raw)} bytes")
        order: Any = self.order
        return Stored.of(np.frombuffer(self.raw, dtype).reshape(self.shape, order=order))


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape that a file names.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(shape, tuple) or not all(type(size) is int and 0 <= size < 2**48 for size in shape):
        raise BadInput(f"it holds a tensor of shape {str(shape)[:60]}")
    if len(shape) > 32:
        raise BadInput(f"it holds a tensor of {len(shape)} dimensions")
    return shape


def is_tensor(value: object) -> bool:
    """Whether a stand-in describes a tensor."""
    return hasattr(value, "stored")


def only_tensors(content: Mapping[Any, Any]) -> dict[str, Stored]:
    """Check that a file holds tensors by name, and nothing else.

    Raises:
        BadInput: it holds something else.
    """
    for name, value in content.items():
        if not isinstance(name, str) or not is_tensor(value):
            what = "an array" if is_tensor(value) else type(value).__name__
            raise BadInput(
                f"expected tensors by name, found {what} under {str(name)[:60]!r}; "
                "is it an optimiser's state or a whole training checkpoint?"
            )
    return {name: value.stored() for name, value in content.items()}


def _scalar(dtype: Any, raw: Any = b"") -> NumpyArray:
    return NumpyArray().fill(raw, dtype, (), "C")


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
    return NumpyArray().fill(raw, dtype, shape, "F" if order == "F" else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise BadInput("it encodes a text")
    return text.encode("latin1")


def numpy_names() -> dict[tuple[str, str], Any]:
    """Return the stand-ins of what NumPy's own pickles ask for."""
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): "ndarray", ("numpy", "dtype"): NumpyDtype, ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): dict,
    }  # fmt: skip
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = lambda *_: NumpyArray()
        names[f"{core}.multiarray", "scalar"] = _scalar
        names[f"{core}.numeric", "_frombuffer"] = _from_buffer
    return names


def piece(value: object, protocol: int = 3) -> bytes:
    """Return the opcodes that put a plain value on a pickle's stack, to be written into a larger one."""
    return pickle.dumps(value, protocol)[2:-1]


def long_bytes(length: int) -> bytes:
    """Return the opcode before that many bytes."""
    return pickle.BINBYTES8 + struct.pack("<Q", length)
