"""A large wheel in pieces that a small doorway lets through, and a folder of packages from them.

Its files are compressed anew: a wheel's own compression leaves a third of what the libraries of a GPU provider could
shrink by. The other machine needs Python alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from portproof._disk import write_text
from portproof._errors import BadInput, one_line

#: Bytes of a piece.
SIZE = 58 << 20
_INDEX = "pieces.json"


def cut(wheel: Path, folder: Path, size: int = SIZE) -> list[Path]:
    """Write a wheel's files as pieces with an index.

    Raises:
        BadInput: it is no wheel, or the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"'{folder}' is not empty; name a new folder.")
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInput(f"'{wheel}' is no wheel ({one_line(error, 100)}).") from error
    folder.mkdir(parents=True, exist_ok=True)
    pieces = _Pieces(folder, size)
    with archive, _packing(pieces) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for member in archive.infolist():
            if member.is_dir():
                continue
            entry = tarfile.TarInfo(member.filename)
            entry.size, entry.mode = member.file_size, 0o755 if ".so" in member.filename else 0o644
            with archive.open(member) as file:
                tar.addfile(entry, file)
    pieces.close()
    index = {"wheel": wheel.name, "sha256": pieces.digest.hexdigest(), "pieces": [p.name for p in pieces.paths]}
    write_text(folder / _INDEX, json.dumps(index, indent=1))
    return pieces.paths


def join(folder: Path, out: Path) -> str:
    """Unpack pieces into a folder for ``PYTHONPATH``; returns the wheel's name.

    Raises:
        BadInput: a piece is missing or not what it was, or the folder is there already.
    """
    if out.exists():
        raise BadInput(f"'{out}' is there already; name a new folder.")
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_text())
        paths = [folder / Path(name).name for name in index["pieces"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"'{folder}' has no sound {_INDEX} ({one_line(error, 100)}); copy it along.") from error
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise BadInput(f"{len(missing)} of {len(paths)} pieces are missing in '{folder}', the first is {missing[0]}.")
    digest = hashlib.sha256()
    for data in _read(paths):
        digest.update(data)
    if digest.hexdigest() != index["sha256"]:
        raise BadInput(f"the pieces in '{folder}' are not those of {index['wheel']}: the hash is another; copy again.")
    stream = io.BufferedReader(_Joined(_read(paths)))
    with lzma.open(stream) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        tar.extractall(out, filter="data")
    return str(index["wheel"])


def _read(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                yield data


def _packing(pieces: _Pieces) -> lzma.LZMAFile:
    return lzma.open(cast(IO[bytes], pieces), "wb", preset=6)


class _Pieces(io.RawIOBase):
    """A file that goes on in another whenever one is full."""

    def __init__(self, folder: Path, size: int) -> None:
        self.digest = hashlib.sha256()
        self.paths: list[Path] = []
        self._folder, self._size, self._left = folder, size, 0
        self._file: Any = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.digest.update(view)
        while view:
            if not self._left:
                self._next()
            part = view[: self._left]
            self._file.write(part)
            self._left -= len(part)
            view = view[len(part) :]
        return len(memoryview(data))

    def _next(self) -> None:
        if self._file is not None:
            self._file.close()
        self.paths.append(self._folder / f"piece-{len(self.paths):02}")
        self._file, self._left = self.paths[-1].open("wb"), self._size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()


class _Joined(io.RawIOBase):
    """Blocks of bytes as one file to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._blocks, b"")
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)
