"""Checkpoints on disk: read without running a line of theirs or loading a framework, written so that the same tensors
give the same bytes. Nothing of a tensor is in memory before it is used, and then one tensor at a time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from portproof._disk import atomic_path, beneath, require_itself, write_text
from portproof._errors import BadInput, PortproofError, one_line
from portproof.checkpoints import _npz, _onnx, _paddle, _program, _safetensors, _torch
from portproof.checkpoints._chosen import Content, choose, under
from portproof.checkpoints._stored import DTYPES, Checkpoint, Stored, dtype_of, is_floating

__all__ = [
    "DTYPES", "FORMATS", "Checkpoint", "Stored", "dtype_of", "files_of", "format_of", "is_floating", "open_checkpoint",
    "reading", "unheld", "write_checkpoint",
]  # fmt: skip

_TORCH = ("a PyTorch checkpoint", "torch")
_INDEX = ".safetensors.index.json"
#: A folder such as Hugging Face's; no file has a suffix like it.
_FOLDER = "/"
#: Suffix to what it is called and the side whose names and layouts it holds (None: the file may say, or not).
FORMATS: dict[str, tuple[str, str | None]] = {
    ".pdparams": ("a Paddle checkpoint", "paddle"),
    ".pt": _TORCH, ".pth": _TORCH, ".pth.tar": _TORCH, ".bin": _TORCH, ".ckpt": _TORCH,
    ".pkl": ("a pickle of arrays", None),
    ".safetensors": ("a safetensors file", None),
    _INDEX: ("an index of safetensors files", None),
    ".bin.index.json": ("an index of PyTorch checkpoints", "torch"),
    ".npz": ("a file of numpy.savez", None),
    ".onnx": ("an ONNX file", None),
    ".pdiparams": ("a Paddle program's parameters", "paddle"),
    ".pdmodel": ("a Paddle program", "paddle"), ".json": ("a Paddle program", "paddle"),
    _FOLDER: ("a folder with a checkpoint", None),
}  # fmt: skip


def _read_torch_index(path: Path) -> Checkpoint:
    return _safetensors.read_index(path, ".bin", lambda file: choose(file, _torch.read(file)))


_READERS: dict[str, Callable[[Path], Checkpoint | Content]] = {
    ".pdparams": _paddle.read, ".pt": _torch.read, ".pth": _torch.read, ".pth.tar": _torch.read, ".bin": _torch.read,
    ".ckpt": _torch.read, ".pkl": _torch.read, ".safetensors": _safetensors.read, _INDEX: _safetensors.read_index,
    ".npz": _npz.read, ".onnx": _onnx.read, ".pdiparams": _program.read, ".pdmodel": _program.read,
    ".json": _program.read, ".bin.index.json": _read_torch_index,
}  # fmt: skip
_WRITERS = {
    ".pdparams": _paddle.write, ".pt": _torch.write, ".pth": _torch.write, ".bin": _torch.write,
    ".safetensors": _safetensors.write, ".npz": _npz.write,
}  # fmt: skip
#: Dtypes that a format has not, with what its own tools make of them.
_UNHELD = {
    ".pdparams": ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64"),
    ".npz": ("bfloat16", "float8_e4m3fn", "float8_e5m2"),
    ".safetensors": ("complex128",), _INDEX: ("complex128",), _FOLDER: ("complex128",),
}  # fmt: skip
#: Bytes of each file of a checkpoint that is written as several, as Hugging Face's are.
SHARD = 5_000_000_000
#: What a folder is looked through for, the first that is there.
_IN_FOLDER = (
    "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin",
    "model_state.pdparams", "inference.json", "inference.pdmodel",
)  # fmt: skip


def format_of(path: Path, *, written: bool = False) -> str:
    """Return the suffix of a checkpoint's format; a folder has one of its own.

    Args:
        path: of the file.
        written: whether it is to be written.

    Raises:
        BadInput: the suffix is none that is read, or written.
    """
    if path.is_dir():
        return _FOLDER
    written_ = {*_WRITERS, _INDEX}
    known = [suffix for suffix in FORMATS if suffix != _FOLDER and (not written or suffix in written_)]
    name = path.name.lower()
    suffix = max((known_ for known_ in known if name.endswith(known_)), key=len, default=None)
    if suffix is None or (suffix == ".json" and written):
        found = path.suffix or "no suffix, and no folder that exists"
        raise BadInput(f"'{path}': expected one of {', '.join(known)}, or a folder, found '{found}'.")
    return suffix


def files_of(path: Path) -> list[Path]:
    """Return the files that a checkpoint consists of, its own first; it has been read, and they are there."""
    suffix, stem = format_of(path), path.name.rpartition(".")[0]
    if suffix.endswith(".index.json"):
        placed = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return [path, *(beneath(path, file) for file in sorted(set(placed.values())))]
    beside = [path.with_name(stem + end) for end in (".pdiparams", ".json", ".pdmodel", ".pdiparams.info")]
    programs = suffix in (".json", ".pdmodel", ".pdiparams")
    return [path, *(file for file in beside if programs and file.is_file() and file != path)]


def unheld(path: Path) -> tuple[str, ...]:
    """Return the dtypes that the format of a file to be written does not have."""
    return _UNHELD.get(format_of(path, written=True), ())


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
    require_itself(path)
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


def open_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Open a checkpoint; its tensors stay in the file.

    Args:
        path: of the file, or of a folder that holds one.
        key: of the weights among what the file holds; see :func:`portproof.checkpoints._chosen.choose`.

    Raises:
        BadInput: the file is missing, cut short, of another format, or holds no tensors.
    """
    suffix = format_of(path)
    if suffix == _FOLDER:
        return open_checkpoint(_in_folder(path), key)
    with reading(path, FORMATS[suffix][0]):
        content = _READERS[suffix](path)
        if isinstance(content, Content):
            found = choose(path, content, key)
        else:
            placed = {name: replace(stored, place=(name,)) for name, stored in content.tensors.items()}
            found = replace(content, tensors=placed)
            found = found if key is None else under(found, key)
    if not found.tensors:
        raise BadInput(f"'{path}': expected tensors by name, found none.")
    return found


def _in_folder(path: Path) -> Path:
    found = next((path / name for name in _IN_FOLDER if (path / name).is_file()), None)
    if found is None:
        raise BadInput(f"'{path}' is a folder with none of {', '.join(_IN_FOLDER)}; name the file.")
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
    for name, stored in tensors.items():
        if stored.dtype.name in unheld(path):
            raise BadInput(f"'{path}': {what} cannot hold '{name}', which is {stored.dtype.name}.")
    said = {**(about or {}), **({"side": side} if owner is None else {})}
    if suffix == _FOLDER:
        whole = sum(stored.nbytes for stored in tensors.values())
        path, suffix = (
            (path / "model.safetensors", ".safetensors") if whole <= shard else (path / f"model{_INDEX}", _INDEX)
        )
    if suffix == _INDEX:
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
