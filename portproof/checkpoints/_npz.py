"""``.npz``: a zip archive of NumPy's ``.npy`` files, which does not say whose names and layouts it holds.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import io
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from portproof._errors import BadInput
from portproof.checkpoints._standins import checked_shape
from portproof.checkpoints._stored import DTYPES, Checkpoint, FilePart, Stored
from portproof.checkpoints._zip import aligned, members_of, place

#: Bytes before an array's numbers.
_LONGEST_HEADER = 4096


def read(path: Path) -> Checkpoint:
    """Read the headers of an archive's arrays.

    Raises:
        BadInput: a member is packed, or none of plain numbers.
    """
    tensors = {}
    with zipfile.ZipFile(path) as archive:
        members = members_of(archive)
    with path.open("rb") as file:
        for name, info in members.items():
            if not name.endswith(".npy"):
                raise BadInput(f"its {name[:60]!r} is no .npy; this is no file of numpy.savez")
            if info.compress_type != zipfile.ZIP_STORED:
                code = f"import numpy; numpy.savez('plain.npz', **numpy.load({path.name!r}))"
                raise BadInput(
                    f"its arrays are packed; this writes a file that can be read: python -c {shlex.quote(code)}"
                )
            tensors[name.removesuffix(".npy")] = _array(path, file, name, place(path, file, info))
    return Checkpoint(path, tensors, None, {})


def _array(path: Path, file: BinaryIO, name: str, part: FilePart) -> Stored:
    file.seek(part.offset)
    head = io.BytesIO(file.read(min(part.length, _LONGEST_HEADER)))  # a header may say that it has 4 GiB
    version = np.lib.format.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise BadInput(f"its {name[:60]!r} is of version {version}")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = reader(head, max_header_size=_LONGEST_HEADER)
    if dtype.name not in DTYPES or dtype.byteorder == ">":
        raise BadInput(f"its {name[:60]!r} holds {str(dtype)[:20]!r}; expected plain numbers")
    begin = part.offset + head.tell()
    held = FilePart(path, begin, part.offset + part.length - begin)
    return Stored.in_file(held, dtype, checked_shape(tuple(map(int, shape))), "F" if fortran else "C")


def write(file: BinaryIO, tensors: Mapping[str, Stored], about: Mapping[str, str]) -> None:
    """Write an archive as ``numpy.savez`` does, tensor by tensor; it has no place for ``about``."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, stored in tensors.items():
            with aligned(archive, file, f"{name}.npy", stored.nbytes + 4096) as member:
                header = {
                    "descr": np.lib.format.dtype_to_descr(stored.dtype),
                    "fortran_order": False,
                    "shape": stored.shape,
                }
                np.lib.format.write_array_header_1_0(member, header)
                member.write(stored.bytes())
