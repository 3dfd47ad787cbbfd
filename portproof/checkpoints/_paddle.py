"""``.pdparams``: a pickled dictionary of NumPy arrays, read and written without Paddle."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from portproof._errors import BadInput
from portproof.checkpoints._pickle import Machine, long_bytes, numpy_names, only_tensors, piece
from portproof.checkpoints._stored import Checkpoint, Stored, notes

#: Paddle's table from names in the model to names of parameters, kept beside them.
NAME_TABLE = "StructuredToParameterName@@"
_TRAILER = b"\nportproof "


def read(path: Path) -> Checkpoint:
    """Read a state dict.

    Raises:
        BadInput: the file asks for more than arrays, or holds more than a dictionary of them.
    """
    content, rest = _load(path)
    content.pop(NAME_TABLE, None)
    about = notes(rest[len(_TRAILER) :]) if rest.startswith(_TRAILER) else {}
    return Checkpoint(path, only_tensors(content), "paddle", about)


def read_tree(path: Path) -> dict[Any, Any]:
    """Read all that a file holds: tensors are stand-ins, all else is plain.

    Raises:
        BadInput: the file asks for more than arrays.
    """
    return _load(path)[0]


def _load(path: Path) -> tuple[dict[Any, Any], bytes]:
    """Return the dictionary of a file, and what follows it."""
    with path.open("rb") as file:
        content = Machine(path, file, numpy_names()).load()
        rest = file.read(4096)
    if not isinstance(content, dict):
        raise BadInput(f"expected a dictionary of arrays, found {type(content).__name__}")
    return content, rest


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
