"""Stand-ins for what a pickle asks for: they describe tensors, or say what was asked for; none runs anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from portproof._errors import BadInput
from portproof.checkpoints._stored import EncodedPart, FilePart, Stored, dtype_of

#: Dimensions of a tensor, and elements, above which a shape is no tensor's; zeros among its sizes count as ones.
_DIMENSIONS, _ELEMENTS = 32, 2**48


class Described:
    """Stands for an object that a pickle would build."""

    def set(self, state: Any) -> None:
        """Take what the pickle gives as its state."""
        raise BadInput(f"it gives a state to a {type(self).__name__.lower()}")


class Foreign(Described):
    """Stands for a name that weights don't need, and for whatever is made of it: nothing is imported, made or run."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def set(self, state: Any) -> None:
        """Take no state."""


class Text:
    """Stands for a text that is too long for a name; it stays in the file."""

    __slots__ = ("part",)

    def __init__(self, part: FilePart) -> None:
        self.part = part


class NumpyDtype(Described):
    """Stands for ``numpy.dtype``; ``dtype`` is None, with a reason, where it is not that of plain numbers."""

    def __init__(self, name: Any, *_: Any) -> None:
        plain = isinstance(name, str) and name.lstrip("<|") in _NUMPY_DTYPES
        self.dtype = np.dtype(name) if plain else None
        self.reason = f"it holds a dtype {said(name)}; expected plain numbers"

    def set(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            self.dtype, self.reason = None, "it holds numbers in big-endian order, or a structured dtype"


_NUMPY_DTYPES = frozenset(("f2", "f4", "f8", "c8", "c16", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"))


class NumpyArray(Described):
    """Stands for ``numpy.ndarray``; what is wrong with it is said when it is asked for.

    Args:
        uint16: the dtype that NumPy's uint16 stands for in this kind of file.
    """

    def __init__(self, uint16: str) -> None:
        self.uint16 = uint16
        self._stored: Stored | str = "it holds an array without content"

    def set(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise BadInput("it holds an array of an unknown layout")
        _, shape, dtype, fortran, raw = state
        self.fill(raw, dtype, shape, "F" if fortran else "C")

    def fill(self, raw: Any, dtype: Any, shape: Any, order: str) -> NumpyArray:
        """Take the parts of an array."""
        if isinstance(raw, str):  # protocol 2 has no bytes
            raw = raw.encode("latin1")
        if not isinstance(raw, FilePart | EncodedPart | bytes) or not isinstance(dtype, NumpyDtype):
            self._stored = "it holds an array of objects, or of an unknown layout"
        elif dtype.dtype is None:
            self._stored = dtype.reason
        else:
            known = dtype_of(self.uint16) if dtype.dtype.name == "uint16" else dtype.dtype
            self._stored = _array(raw, known, checked_shape(shape), order)
        return self

    def stored(self) -> Stored:
        """Return the tensor.

        Raises:
            BadInput: it was never filled, holds no plain numbers, or not as many bytes as its shape needs.
        """
        if isinstance(self._stored, str):
            raise BadInput(self._stored)
        return self._stored


def _array(raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> Stored:
    if not isinstance(raw, bytes):
        return Stored.in_file(raw, dtype, shape, order)
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise BadInput(f"an array of shape {list(shape)} has {len(raw)} bytes")
    return Stored.of(np.frombuffer(raw, dtype).reshape(shape, order=order))


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape, or strides, that a file names.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(shape, tuple):
        raise BadInput(f"it holds a tensor of shape {said(shape)}")
    if len(shape) > _DIMENSIONS:
        raise BadInput(f"it holds a tensor of {len(shape)} dimensions")
    plain = all(type(size) is int and 0 <= size < _ELEMENTS for size in shape)
    if not plain or math.prod(max(1, size) for size in shape) > _ELEMENTS:
        raise BadInput(f"it holds a tensor of shape {[said(size) for size in shape[:8]]}")
    return shape


def said(value: object, limit: int = 60) -> str:
    """Return a word on a value of a stranger's: a text or a number itself, of all else the kind, never its content."""
    if isinstance(value, str):
        return repr(value[:limit])
    if isinstance(value, bool | float) or value is None or (isinstance(value, int) and abs(value) < 2**64):
        return str(value)
    if isinstance(value, Foreign):
        return value.name[:limit]
    return "a tensor" if is_tensor(value) else f"a {type(value).__name__}"


def is_tensor(value: object) -> bool:
    """Whether a stand-in describes a tensor."""
    return hasattr(value, "stored")


def numpy_names(uint16: str = "uint16") -> dict[tuple[str, str], Any]:
    """Return the stand-ins of what NumPy's own pickles, and containers, ask for.

    Args:
        uint16: the dtype that NumPy's uint16 stands for: Paddle writes bfloat16 so, and has no uint16 of its own.
    """

    def reconstruct(*_: Any) -> NumpyArray:
        return NumpyArray(uint16)

    def from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
        return NumpyArray(uint16).fill(raw, dtype, shape, "F" if order == "F" else "C")

    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): "ndarray", ("numpy", "dtype"): NumpyDtype, ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _pairs, ("collections", "defaultdict"): _empty,
    }  # fmt: skip
    for builtins in ("builtins", "__builtin__"):
        names[builtins, "tuple"] = _tuple
        names[builtins, "set"] = names[builtins, "frozenset"] = names[builtins, "list"] = _list
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = reconstruct
        names[f"{core}.multiarray", "scalar"] = _scalar
        names[f"{core}.numeric", "_frombuffer"] = from_buffer
    return names


def _scalar(*_: Any) -> Foreign:
    return Foreign("a NumPy scalar")


def _empty(*_: Any) -> dict[Any, Any]:
    return {}


def _tuple(items: Any = ()) -> tuple[Any, ...]:
    return tuple(_list(items))


def _list(items: Any = ()) -> list[Any]:
    if not isinstance(items, list | tuple):
        raise BadInput(f"it makes a list of {said(items)}")
    return list(items)


def _pairs(pairs: Any = ()) -> dict[Any, Any]:
    """Return a dictionary of pairs, which is how Python 2 wrote an OrderedDict."""
    found = {}
    for pair in _list(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadInput("it makes a dictionary of what are no pairs")
        found[checked_key(pair[0])] = pair[1]
    return found


def _encode(text: Any, encoding: Any = "latin1") -> Any:
    """Return bytes that protocol 2 wrote as a text."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str | Text):
        raise BadInput("it encodes a text")
    return text.encode("latin1") if isinstance(text, str) else EncodedPart(text.part)


#: Characters of a name, and values of a tuple that is one.
_LONGEST_KEY, _MOST_IN_KEY = 4096, 16


def checked_key(key: Any) -> Any:
    """Return a dictionary's key: a flat value of bounded length, of which hashing and printing cost next to nothing.

    Raises:
        BadInput: it is none.
    """
    if isinstance(key, tuple):
        if len(key) > _MOST_IN_KEY or any(isinstance(part, tuple) for part in key):
            raise BadInput("a key of it is no flat value")
        for part in key:
            checked_key(part)
    elif isinstance(key, str | bytes):
        if len(key) > _LONGEST_KEY:
            raise BadInput(f"a name of it has {len(key)} characters; at most {_LONGEST_KEY} are read")
    elif (
        not isinstance(key, bool | float | Foreign)
        and key is not None
        and not (isinstance(key, int) and abs(key) < 2**64)
    ):
        raise BadInput(f"a key of it is {said(key)} and no flat value")
    return key


def cost(function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    """Return about how many bytes a call makes at most."""
    longest = max((len(value) for value in arguments if isinstance(value, list | tuple)), default=0)
    text = max((len(value) for value in arguments if isinstance(value, str | bytes)), default=0)
    return 256 + text + (128 if function is _pairs else 8) * longest
