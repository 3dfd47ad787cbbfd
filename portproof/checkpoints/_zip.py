"""Members of zip archives that are parts of the file, not packed; what two readers could differ over is refused."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from portproof._errors import BadInput
from portproof.checkpoints._stored import FilePart

_ALIGNMENT = 64


def members_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's members by name.

    Raises:
        BadInput: two have one name, or names that differ by case alone: readers take the first, the last, or either.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    alike: set[str] = set()
    for info in archive.infolist():
        if info.filename.casefold() in alike:
            raise BadInput(f"it holds {info.filename[:60]!r} twice; readers differ in which one they take")
        alike.add(info.filename.casefold())
        found[info.filename] = info
    return found


def place(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> FilePart:
    """Return where a member's bytes lie: behind a header of its own, whose fields may differ from the directory's.

    Raises:
        BadInput: it is packed, cut short, or its own header gives it another name.
    """
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise BadInput(f"its {info.filename[:60]!r} is packed, which PyTorch's never are")
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise BadInput("it is cut short")
    name, extra = struct.unpack("<HH", header[26:30])
    if file.read(name) != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
        raise BadInput(f"its {info.filename[:60]!r} has two names; readers differ in which one they take")
    begin = info.header_offset + 30 + name + extra
    if begin + info.file_size > file.seek(0, 2):
        raise BadInput("it is cut short")
    return FilePart(path, begin, info.file_size)


def aligned(archive: zipfile.ZipFile, file: BinaryIO, name: str, size: int) -> Any:
    """Open a member whose bytes begin at a multiple of 64, as PyTorch's do, so that they can be mapped.

    Args:
        archive: to write to.
        file: that it is.
        name: of the member.
        size: bytes that it gets at most.
    """
    info = zipfile.ZipInfo(name)  # its date is 1980: the same tensors give the same bytes
    info.file_size = size
    zip64 = size > zipfile.ZIP64_LIMIT // 2
    begin = file.tell() + 30 + len(name.encode()) + (20 if zip64 else 0) + 4
    padding = -begin % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    return archive.open(info, "w", force_zip64=zip64)
