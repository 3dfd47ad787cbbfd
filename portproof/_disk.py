"""Arrays and JSON on disk, and files that appear whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from portproof._errors import BadInput, Unavailable, one_line

if TYPE_CHECKING:
    from portproof._numbers import Array

T = TypeVar("T")

#: A document is held in memory several times over while it is read.
_LONGEST_JSON = 256 << 20
_MOST_LINKS = 40


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that takes its place when the block ends well.

    A file that was there leaves its mode and owner to the new one; of a link the target is replaced, not the link; a
    device or a pipe is written to.

    Raises:
        BadInput: the folder does not exist or cannot be written. The old file is left as it was.
    """
    path = Path(target)
    require_writable(path)
    place = path.resolve() if path.is_symlink() else path
    special = is_special(path)
    folder = Path(tempfile.gettempdir()) if special else place.parent
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=path.suffix[:20], dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
            if special:
                number = _open_file(path)
                with path.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as device:
                    shutil.copyfileobj(written, device)
        if not special:
            _as_before(temporary, place)
            temporary.replace(place)
    except OSError as error:
        raise BadInput(f"cannot write '{path}': {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _as_before(temporary: Path, place: Path) -> None:
    """Give a new file the mode and, as far as this user may, the owner of the one that it replaces."""
    if not place.exists():
        temporary.chmod(0o666 & ~_umask())
        return
    before = place.stat()
    with suppress(PermissionError):
        os.chown(temporary, before.st_uid, before.st_gid)
    temporary.chmod(stat.S_IMODE(before.st_mode))


def require_writable(path: Path) -> None:
    """Raise :class:`BadInput` where a file cannot be made at ``path``, before any work is spent on it."""
    try:
        reason = _unwritable(path)
    except OSError as error:  # a name that no file can have, a number of no open file
        reason = error.strerror or str(error)
    if reason is not None:
        raise BadInput(f"cannot write '{path}': {reason}.")


def _unwritable(path: Path) -> str | None:
    number = _open_file(path)
    if number is not None:
        reads = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        return "it is open to be read only" if reads else None
    if path.is_dir():
        return "it is a folder; give the name of a file"
    folder = path.resolve().parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        return f"the folder '{folder}' does not exist; make it first"
    return None if os.access(path if is_special(path) else folder, os.W_OK) else f"no permission to write in '{folder}'"


def is_special(path: Path) -> bool:
    """Whether a path is a device or a pipe, or an open file of this process: it is written to, not replaced."""
    return _open_file(path) is not None or (path.exists() and not path.is_file())


def _open_file(path: Path) -> int | None:
    """Return the number of the open file of this process that a path leads to: /dev/stdout, bash's >(…)."""
    own = Path(f"/proc/{os.getpid()}/fd")
    for _ in range(_MOST_LINKS):
        folder = path.absolute().parent.resolve()
        if folder == own and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = folder / path.readlink()
    return None


#: Whether files that exist are kept: the command line's rule. In Python, a path that is given means what it says.
_keeps: ContextVar[bool] = ContextVar("keeps", default=False)
#: Whether a person named a file that is written.
_named: ContextVar[bool] = ContextVar("named", default=False)


@contextmanager
def keeping_files() -> Iterator[None]:
    """Keep files that exist, in the block, until :func:`replace_files` is called."""
    tokens = _keeps.set(True), _named.set(False)
    try:
        yield
    finally:
        _keeps.reset(tokens[0])
        _named.reset(tokens[1])


def replace_files() -> None:
    """From now on let files that exist be replaced: a person said --force."""
    _keeps.set(False)


def files_named() -> bool:
    """Whether :func:`require_new` was asked for a file since :func:`keeping_files`: what is written goes there too."""
    return _named.get()


def require_new(path: Path) -> None:
    """Raise :class:`BadInput` where a file cannot be made at ``path``, or would replace one that a person may want.

    A file without a byte is nothing to keep.
    """
    require_writable(path)
    _named.set(True)
    if _keeps.get() and _open_file(path) is None and path.is_file() and path.stat().st_size:
        raise BadInput(f"'{path}' exists and is kept; --force replaces it, or name another file.")


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path, what: str, made_by: str = "") -> Any:
    """Read a JSON document that may come from a stranger.

    Args:
        path: of the file.
        what: it is not, then, for people: ``"no result of `portproof bench run`"``.
        made_by: the command that writes one, with its options; "" where nobody names such a file.

    Raises:
        BadInput: it is missing, no JSON, too deep, or larger than any that is written here.
    """
    if not path.is_file():
        raise BadInput(f"'{path}': no such file{f'; `{made_by} {path}` writes one' if made_by else ''}.")
    try:
        size = path.stat().st_size
        if size > _LONGEST_JSON:
            raise BadInput(f"'{path}' is {what}: it has {size >> 20} MiB, at most {_LONGEST_JSON >> 20} are read.")
        return parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadInput(
            f"'{path}' is damaged: no whole JSON document ({one_line(error, 100)}); make it again."
        ) from error


def parse_json(text: str) -> Any:
    """Return a JSON document whose numbers are all numbers: none is infinite, and every integer has a float.

    Raises:
        ValueError: it is none, or too deep.
    """
    try:
        return json.loads(text, parse_float=_number, parse_int=_integer, parse_constant=_number)
    except RecursionError as error:
        raise ValueError("it is too deep") from error


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"'{text[:20]}' is no number")
    return value


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number has {len(text)} digits, at most {_DIGITS} are read")
    return int(text)


#: More than any count, size or seed has.
_DIGITS = 40


@dataclass(frozen=True)
class Checked:
    """What a value of a document must be beyond its type, as an annotation of its field.

    Attributes:
        check: returns the value; raises ValueError where it is something else.
    """

    check: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))


def within(low: float, high: float) -> Checked:
    """Bound a number; both ends belong to it."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"expected {low:g} to {high:g}, found {str(value)[:20]}")
        return value

    return Checked(check)


def among(*words: str) -> Checked:
    """Bound a text to some words."""

    def check(value: str) -> str:
        if value not in words:
            raise ValueError(f"expected {', '.join(map(repr, words))}, found '{value[:40]}'")
        return value

    return Checked(check)


def having(required: Mapping[str, Any], **kinds: Any) -> Checked:
    """Name keys of a dictionary with their types: those that must be there, then those that may."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        missing = required.keys() - value.keys()
        if missing:
            raise ValueError(f"'{min(missing)}' is missing")
        known = {**required, **kinds}
        return {key: as_kind(known[key], item) if key in known else item for key, item in value.items()}

    return Checked(check)


def _some(value: Any) -> Any:
    if not value:
        raise ValueError("expected at least one, found none")
    return value


several = Checked(_some)

#: What people have: seconds, milliseconds of a call (which takes some), counts and sizes, and what else is measured.
Seconds = Annotated[float, within(0, 1e9)]
Milliseconds = Annotated[float, within(1e-9, 1e12)]
Count = Annotated[int, within(0, 2**62)]
Measured = Annotated[float, within(0, 1e15)]


def as_kind(kind: type[T], document: Any) -> T:
    """Return a document as the dataclass that it should be.

    Raises:
        ValueError: a field is missing, or holds something else; it is said which.
        Unavailable: pydantic is not installed.
    """
    try:
        from pydantic import ValidationError
    except ImportError as error:
        raise Unavailable("reading a document needs pydantic: pip install pydantic") from error
    try:
        found: T = _adapter(kind).validate_python(document)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:120]
        raise ValueError(f"{where}: {first['msg'][:160].removeprefix('Value error, ').lower()}") from error
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    return found


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def beneath(document: Path, name: str) -> Path:
    """Return where a file lies that a document names: in the document's folder or below it, once links are followed.

    A file and its folder may come from a stranger. Hugging Face's cache makes folders of links, into its ``blobs``.

    Args:
        document: the file that names another.
        name: of the other, from the document's folder.

    Raises:
        BadInput: there is no such file, or it lies elsewhere.
    """
    try:
        folder = document.absolute().parent.resolve()
        place = (folder / name).resolve()
        if place.is_file() and (place.is_relative_to(folder) or place.parent == _blobs(folder)):
            return place
    except (OSError, ValueError, RuntimeError):  # names that no file can have, and links in a circle
        pass
    raise BadInput(f"'{name[:60]}' is no file of its folder; links that lead out of it are not followed.")


def _blobs(folder: Path) -> Path | None:
    """Return the folder that links of Hugging Face's cache lead to, of a folder in it."""
    for inner in (folder, *folder.parents):
        if inner.parent.name == "snapshots" and inner.parents[1].name.startswith(("models--", "datasets--")):
            return inner.parents[1] / "blobs"
    return None


def hash_json(document: Mapping[str, Any]) -> str:
    """Return the hash of a JSON document, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file or folder that is written to bit by bit for this process alone; a killed one lets go by itself.

    Raises:
        BadInput: another process holds it, or it is a device or a pipe.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not path.is_file() and not path.is_dir():
            raise BadInput(f"'{path}' is no file; results that are kept bit by bit need one.")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                yield  # a file system without locks: as before they were there
                return
            raise BadInput(f"another run is writing to '{path}'; wait for it, or name another -o.") from None
        yield
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def require_itself(path: Path) -> None:
    """See that a file is not what stands in its place where a download went wrong.

    Raises:
        BadInput: it is a pointer of Git LFS, or a web page.
    """
    try:
        with path.open("rb") as file:
            begun = file.read(64)
    except OSError:  # which the reader says in its own words
        return
    if begun.startswith(b"version https://git-lfs.github.com/spec/"):
        raise BadInput(f"'{path}' is a pointer of Git LFS and not the file itself; fetch it by `git lfs pull`.")
    if begun.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise BadInput(f"'{path}' is a web page; the download went wrong.")


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name.

    Raises:
        BadInput: they cannot be written, for instance because the disk is full.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, path)
    except SafetensorError as error:
        if "os error" not in str(error):
            raise
        raise unwritable(path, one_line(error, 120)) from error


def unwritable(path: Path, reason: str) -> BadInput:
    """Return what is said of a temporary file that could not be written."""
    return BadInput(f"cannot write '{path}' ({reason}); make room, or set TMPDIR.")


def hash_arrays(arrays: Mapping[str, Array]) -> str:
    """Hash names, shapes, dtypes and bytes, independent of the order of names."""
    import numpy as np

    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.data)
    return digest.hexdigest()


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON has no words for, by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
