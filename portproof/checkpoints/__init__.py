"""Checkpoints on disk: read without running a line of theirs or loading a framework, written so that the same tensors
give the same bytes. Nothing of a tensor is in memory before it is used, and then one tensor at a time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from portproof._disk import atomic_path, write_text
from portproof._errors import BadInput, PortproofError, one_line
from portproof.checkpoints import _onnx, _paddle, _safetensors, _torch
from portproof.checkpoints._stored import DTYPES, Checkpoint, Stored, dtype_of, is_floating

__all__ = [
    "DTYPES", "FORMATS", "Checkpoint", "Stored", "dtype_of", "format_of", "is_floating", "open_checkpoint",
    "reading", "write_checkpoint",
]  # fmt: skip

#: Suffix to what it is called and the side whose names and layouts it holds (None: the file may say, or not).
FORMATS: dict[str, tuple[str, str | None]] = {
    ".pdparams": ("a Paddle checkpoint", "paddle"),
    ".pt": ("a PyTorch checkpoint", "torch"),
    ".pth": ("a PyTorch checkpoint", "torch"),
    ".safetensors": ("a safetensors file", None),
    ".safetensors.index.json": ("an index of safetensors files", None),
    ".onnx": ("an ONNX file", None),
}
_READERS: dict[str, Callable[[Path], Checkpoint]] = {
    ".pdparams": _paddle.read, ".pt": _torch.read, ".pth": _torch.read,
    ".safetensors": _safetensors.read, ".safetensors.index.json": _safetensors.read_index, ".onnx": _onnx.read,
}  # fmt: skip
_WRITERS = {".pdparams": _paddle.write, ".pt": _torch.write, ".pth": _torch.write, ".safetensors": _safetensors.write}
#: Bytes of each file of a checkpoint that is written as several, as Hugging Face's are.
SHARD = 5_000_000_000


def format_of(path: Path, *, written: bool = False) -> str:
    """Return the suffix of a checkpoint's format.

    Args:
        path: of the file.
        written: whether it is to be written.

    Raises:
        BadInput: the suffix is none that is read, or written.
    """
    known = [suffix for suffix in FORMATS if not written or suffix in _WRITERS or suffix == ".safetensors.index.json"]
    name = path.name.lower()
    suffix = max((known_ for known_ in known if name.endswith(known_)), key=len, default=None)
    if suffix is None:
        raise BadInput(f"'{path}': expected one of {', '.join(known)}, found '{path.suffix or 'no suffix'}'.")
    return suffix


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Name the file in whatever goes wrong in the block, which reads a file from a stranger.

    Args:
        path: of the file.
        what: it should be, for people.

    Raises:
        BadInput: the file is missing, or the block raised.
    """
    if not path.is_file():
        raise BadInput(f"'{path}': no such file.")
    try:
        yield
    except BadInput as error:
        raise BadInput(f"'{path}' was refused: {str(error).rstrip('.')}.") from error
    except PortproofError:
        raise
    except MemoryError as error:
        raise BadInput(f"'{path}': it declares more than memory holds; the file is damaged or hostile.") from error
    except Exception as error:  # every parser of foreign bytes fails in ways of its own; none is a verdict
        raise BadInput(f"'{path}' is not {what}, or is cut short ({one_line(error, 120)}).") from error


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint; its tensors stay in the file.

    Raises:
        BadInput: the file is missing, cut short, of another format, or holds more than tensors.
    """
    suffix = format_of(path)
    with reading(path, FORMATS[suffix][0]):
        found = _READERS[suffix](path)
    if not found.tensors:
        raise BadInput(f"'{path}': expected tensors by name, found none.")
    return found


def write_checkpoint(
    path: Path,
    tensors: Mapping[str, Stored],
    side: str,
    about: Mapping[str, str] | None = None,
    shard: int = SHARD,
) -> None:
    """Write a checkpoint tensor by tensor; it takes its place when it is whole.

    Args:
        path: its suffix chooses the format.
        tensors: to write; each is read when its turn comes.
        side: whose names and layouts they have.
        about: kept in the file beside them.
        shard: bytes of each file behind an index.

    Raises:
        BadInput: the place cannot be written, or the format belongs to the other side.
    """
    suffix = format_of(path, written=True)
    what, owner = FORMATS[suffix]
    if owner not in (None, side):
        raise BadInput(f"'{path}': {what} holds {owner}'s layouts and these are {side} tensors.")
    said = {**(about or {}), **({"side": side} if owner is None else {})}
    if suffix == ".safetensors.index.json":
        _write_shards(path, tensors, said, shard)
        return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _WRITERS[suffix](file, tensors, said)


def _write_shards(path: Path, tensors: Mapping[str, Stored], about: Mapping[str, str], limit: int) -> None:
    """Write files of a limited size, and last the index that makes them a checkpoint."""
    stem = path.name.removesuffix(".safetensors.index.json")
    shards = _safetensors.split(tensors, limit)
    placed: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        with atomic_path(path.parent / file) as temporary, temporary.open("wb") as opened:
            _safetensors.write(opened, {name: tensors[name] for name in names}, about)
        placed |= dict.fromkeys(names, file)
    size = sum(stored.nbytes for stored in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": placed}
    write_text(path, json.dumps(index, indent=2, ensure_ascii=False) + "\n")
