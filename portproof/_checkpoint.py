"""Checkpoints on disk, read without running a line of theirs and written so that the same input gives the same bytes.

``.pdparams`` is a pickle: it is read by an unpickler that admits NumPy arrays and nothing else, without Paddle.
``.safetensors`` holds no code. ``.pt`` and ``.pth`` are read by torch with ``weights_only=True``, in torch's process.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from portproof._atomic import atomic_path
from portproof._errors import BadInput, one_line

Arrays = dict[str, np.ndarray[Any, Any]]

#: What each suffix is called, and the side whose names and layouts it holds (None: the file does not say).
FORMATS: dict[str, tuple[str, str | None]] = {
    ".pdparams": ("a Paddle checkpoint", "paddle"),
    ".pt": ("a PyTorch checkpoint", "torch"),
    ".pth": ("a PyTorch checkpoint", "torch"),
    ".safetensors": ("a safetensors file", None),
}

#: Key under which a safetensors file of ours says whose names and layouts it holds.
SIDE_KEY = "portproof.side"
_NAME_TABLE = "StructuredToParameterName@@"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file and the side whose names and layouts they have, None where the file does not say."""

    path: Path
    tensors: Arrays
    side: str | None


def checkpoint_format(path: Path) -> str:
    """Return the suffix of a checkpoint's format.

    Raises:
        BadInput: the suffix is none that portproof reads or writes.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BadInput(f"'{path}': expected one of {', '.join(FORMATS)}, found '{suffix or 'no suffix'}'.")
    return suffix


def read_checkpoint(path: Path) -> Checkpoint:
    """Read any supported checkpoint. ``.pt`` and ``.pth`` need torch in this process.

    Raises:
        BadInput: the file is missing, cut short, of another format, or holds more than tensors.
    """
    suffix = checkpoint_format(path)
    if not path.is_file():
        raise BadInput(f"'{path}': no such file.")
    readers = {".pdparams": _read_pdparams, ".safetensors": _read_safetensors, ".pt": _read_torch, ".pth": _read_torch}
    try:
        tensors, side = readers[suffix](path)
    except BadInput:
        raise
    except MemoryError as error:
        raise BadInput(f"'{path}': it declares more than memory holds; the file is damaged or hostile.") from error
    except Exception as error:  # every parser of foreign bytes fails in ways of its own; none is a verdict
        raise BadInput(f"'{path}' is not {FORMATS[suffix][0]}, or is cut short ({one_line(error, 120)}).") from error
    if not tensors:
        raise BadInput(f"'{path}': expected tensors by name, found none.")
    return Checkpoint(path, tensors, side)


def write_checkpoint(path: Path, tensors: Mapping[str, np.ndarray[Any, Any]], side: str) -> None:
    """Write a checkpoint atomically; the same tensors give the same bytes. ``.pt`` needs torch in this process.

    Raises:
        BadInput: the place cannot be written, or the format belongs to the other side.
    """
    suffix = checkpoint_format(path)
    owner = FORMATS[suffix][1]
    if owner not in (None, side):
        raise BadInput(f"'{path}': {suffix} is {owner}'s format and these are {side} tensors.")
    with atomic_path(path) as temporary:
        if suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file({k: np.asarray(v, order="C") for k, v in tensors.items()}, temporary, {SIDE_KEY: side})
        elif suffix == ".pdparams":
            with temporary.open("wb") as file:
                pickle.dump({**tensors, _NAME_TABLE: {name: name for name in tensors}}, file, protocol=4)
        else:
            import torch

            with temporary.open("wb") as file:
                torch.save({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}, file)


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy arrays and the containers around them; any other name in the file is refused."""

    _ALLOWED = frozenset(
        {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("collections", "OrderedDict"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise BadInput(
                f"it asks for '{module}.{name}'; weights need NumPy arrays only, and nothing in the file is run"
            )
        if name == "ndarray":
            return np.ndarray
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_pdparams(path: Path) -> tuple[Arrays, str | None]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file).load()
    except BadInput as error:
        raise BadInput(f"'{path}' was refused: {error}.") from error
    if not isinstance(content, dict):
        raise BadInput(f"'{path}': expected a dictionary of arrays, found {type(content).__name__}.")
    content.pop(_NAME_TABLE, None)
    return _only_arrays(path, content), "paddle"


def _only_arrays(path: Path, content: Mapping[Any, Any]) -> Arrays:
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise BadInput(
                f"'{path}': expected arrays by name, found {type(value).__name__} under {str(name)[:60]!r}; "
                "is it an optimiser's state or a whole training checkpoint?"
            )
    return dict(content)


def _read_safetensors(path: Path) -> tuple[Arrays, str | None]:
    from safetensors import safe_open

    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size - 8:
            raise BadInput(f"'{path}': its header declares {length} bytes, more than the file has; it is cut short.")
        side = json.loads(file.read(length)).get("__metadata__", {}).get(SIDE_KEY)
    with safe_open(path, framework="np") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, side  # noqa: SIM118 - not a mapping


def _read_torch(path: Path) -> tuple[Arrays, str | None]:
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise BadInput(f"'{path}': expected a state dict, found {type(content).__name__}.")
    arrays = {name: v.numpy() if isinstance(v, torch.Tensor) else v for name, v in content.items()}
    return _only_arrays(path, arrays), "torch"
