"""``.pdparams``: a pickled dictionary of NumPy arrays, read and written without Paddle."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from portproof._errors import BadInput
from portproof.checkpoints._chosen import Content
from portproof.checkpoints._pickle import Machine, long_bytes, piece
from portproof.checkpoints._standins import checked_shape, is_tensor, numpy_names, said
from portproof.checkpoints._stored import Stored, notes

#: Paddle's table from names in the model to names of parameters, kept beside them.
NAME_TABLE = "StructuredToParameterName@@"
#: Its table of tensors that were cut, as Paddle spells it.
_SLICES = "UnpackBigParamInfor@@"
_TRAILER = b"\nportproof "


def read(path: Path) -> Content:
    """Read all that a file holds.

    Raises:
        BadInput: the file is no dictionary, damaged, or asks for what only runs something.
    """
    content, rest = _load(path)
    if not isinstance(content, dict):
        return Content(content, "paddle", {})
    content.pop(NAME_TABLE, None)
    slices = content.pop(_SLICES, None)
    if slices is not None:
        content = _joined(content, slices)
    about = notes(rest[len(_TRAILER) :]) if rest.startswith(_TRAILER) else {}
    return Content(content, "paddle", about)


class _Joined:
    """A tensor that was cut into slices, as Paddle did with those of more than 1 GiB."""

    def __init__(self, slices: list[Any], shape: Any) -> None:
        self.slices, self.shape = slices, checked_shape(tuple(shape) if isinstance(shape, list) else shape)

    def stored(self) -> Stored:
        """Return the whole tensor.

        Raises:
            BadInput: its slices do not make it up.
        """
        parts = [one.stored() for one in self.slices]
        dtype, count = parts[0].dtype, sum(math.prod(part.shape) for part in parts)
        if any(part.dtype != dtype for part in parts) or count != math.prod(self.shape):
            raise BadInput(f"its slices hold {count} elements for a shape of {list(self.shape)}")
        return Stored(dtype, self.shape, lambda: np.concatenate([p.read().ravel() for p in parts]).reshape(self.shape))


def _joined(content: dict[Any, Any], cuts: Any) -> dict[Any, Any]:
    """Return a dictionary whose slices are joined."""
    for name, cut in cuts.items() if isinstance(cuts, dict) else ():
        names: Any = cut.get("slices") if isinstance(cut, dict) else None
        plain = isinstance(names, list) and names and all(isinstance(one, str) for one in names)
        if not plain or not all(is_tensor(content.get(one)) for one in names) or name in content:
            raise BadInput(f"it says that {said(name)} was cut into slices which it does not hold")
        if len({id(content[one]) for one in names}) < len(names):
            raise BadInput(f"its {said(name)} is one slice, again and again")
        content[name] = _Joined([content.pop(one) for one in names], cut.get("OriginShape"))
    return content


def read_tree(path: Path) -> dict[Any, Any]:
    """Read all that a file holds: tensors are stand-ins, all else is plain.

    Raises:
        BadInput: the file asks for more than arrays.
    """
    content, _ = _load(path)
    if not isinstance(content, dict):
        raise BadInput(f"expected a dictionary of arrays, found {said(content)}")
    return content


def _load(path: Path) -> tuple[Any, bytes]:
    """Return what a file's pickle makes, and what follows it."""
    with path.open("rb") as file:
        content = Machine(path, file, numpy_names("bfloat16")).load()
        return content, file.read(4096)


def write(
    file: BinaryIO, tensors: Mapping[str, Stored], about: Mapping[str, str], plain: Mapping[str, Any] | None = None
) -> None:
    """Write a state dict, tensor by tensor, in the form that Paddle's own are in.

    Args:
        file: to write to.
        tensors: to write; each is read when its turn comes.
        about: follows the pickle, where readers have stopped; Paddle's does not see it.
        plain: values beside the tensors, such as an optimiser's schedule.
    """
    file.write(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK)
    for name, stored in tensors.items():
        dtype = stored.dtype if stored.dtype.name != "bfloat16" else np.dtype("uint16")
        file.write(piece(name) + _HEAD + pickle.MARK + piece(1) + piece(stored.shape) + piece(dtype))
        file.write(pickle.NEWFALSE + long_bytes(stored.nbytes))
        file.write(stored.bytes())
        file.write(pickle.TUPLE + pickle.BUILD)
    for name, value in (plain or {}).items():
        file.write(piece(name) + piece(value))
    file.write(piece(NAME_TABLE) + piece({name: name for name in tensors}) + pickle.SETITEMS + pickle.STOP)
    if about:
        file.write(_TRAILER + json.dumps(dict(about), sort_keys=True).encode())


# numpy.core is what every NumPy reads; numpy._core only those from 2.0 on.
_HEAD = (
    pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n" + pickle.GLOBAL + b"numpy\nndarray\n"
    + piece((0,)) + piece(b"b") + pickle.TUPLE3 + pickle.REDUCE
)  # fmt: skip
