"""Answers on disk, each under the hash of what it follows from, with the files that it wrote and its side's code.

A folder may be read and written by any number of runs at once: what is in it appears whole, by a rename, and whatever
is damaged or gone is as good as absent. Nothing that goes wrong here is an error of a run, which goes on without, and
says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portproof._machine import size_of
from portproof.sides._reads import Read, digest_of, digest_of_file, read_of

#: How large the store may grow, in words such as 2GB; ``off`` keeps nothing.
VARIABLE, _DEFAULT = "PORTPROOF_CACHE", "4GB"
#: Raised where an entry means something else than before.
_VERSION = 1
#: What is left when the least recently used goes, and the most that one answer may take.
_LEFT, _SHARE = 0.8, 0.25
_CHUNK = 1 << 22
#: Looked at of one key: the code that was seen last comes first.
_MOST_CODES = 64


@dataclass(frozen=True)
class Piece:
    """A file that an answer wrote.

    Attributes:
        ending: what its path has beyond the argument that names it: "", ".data", "/00003.safetensors".
        digest: of its content, which the store has under this name.
        check: CRC-32 of it.
        size: in bytes.
    """

    ending: str
    digest: str
    check: int
    size: int


@dataclass(frozen=True)
class Answer:
    """What a task answered.

    Attributes:
        result: as JSON has it.
        files: argument to what was written under the path that it names.
        about: port, side and task, for people.
    """

    result: Any
    files: Mapping[str, Sequence[Piece]]
    about: Mapping[str, str] = field(default_factory=dict)


def default_folder() -> Path:
    """Return the folder that answers are kept in."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portproof" / "answers" / f"v{_VERSION}"


def limit_bytes() -> int:
    """Return how many bytes may be kept; 0 keeps nothing.

    Raises:
        BadInput: the variable holds no size.
    """
    text = os.environ.get(VARIABLE) or _DEFAULT
    return 0 if text == "off" else size_of(VARIABLE, text)


def open_store() -> Store | None:
    """Return the store; None where a person wants none.

    Raises:
        BadInput: the variable that says how large it may be holds no size.
    """
    limit = limit_bytes()
    if not limit:
        return None
    root = default_folder()
    store = Store(root, limit)
    store.make()
    return store


class Store:
    """A folder of answers.

    Args:
        root: the folder.
        limit: bytes that it may hold.

    Attributes:
        problem: why nothing is kept any more; "" for no reason.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit
        self.problem = ""
        self._written = 0
        self._codes: dict[str, Sequence[Read] | None] = {}
        self._readable = True

    def make(self) -> None:
        """Make the folder where it is not there; one of another user's is neither read nor written."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.root.stat().st_uid != os.geteuid():
                self._readable = False
                self.problem = f"'{self.root}' belongs to another user"
        except OSError as error:
            self.problem = f"cannot make '{self.root}' ({error.strerror})"

    def find(self, key: str, holds: Callable[[Sequence[Read]], bool]) -> Answer | None:
        """Return the answer under a key whose code is as it was; None where there is none.

        Args:
            key: of what it follows from.
            holds: says of what was read whether it is there still.
        """
        if not self._readable:
            return None
        for file in self._newest(self.root / "found" / key[:2] / key):
            try:
                reads = self._code(file.name)
                if reads is not None and holds(reads):
                    found = self._read(file)
                    if found is not None:
                        _touch(file)
                        files = {name: [Piece(*piece) for piece in pieces] for name, pieces in found["files"].items()}
                        return Answer(found["result"], files, found["about"])
            except (TypeError, ValueError, KeyError):  # of another version
                continue
        return None

    def _code(self, digest: str) -> Sequence[Read] | None:
        """Return what was read, by its digest; None where that is gone or damaged."""
        if digest not in self._codes:
            found = self._read(self.root / "code" / digest[:2] / digest)
            self._codes[digest] = None if found is None else [read_of(read) for read in found]
        return self._codes[digest]

    def lay_out(self, answer: Answer, targets: Mapping[str, Path]) -> bool:
        """Write what an answer wrote; false, and nothing is written, where a piece of it is gone or damaged."""
        done: list[Path] = []
        try:
            for name, pieces in answer.files.items():
                for piece in pieces:
                    target = Path(f"{targets[name]}{piece.ending}")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    done.append(target)
                    self._copy_out(piece, target)
        except (OSError, ValueError, KeyError):
            for target in done:
                target.unlink(missing_ok=True)
            return False
        return True

    def keep(self, key: str, reads: Sequence[Read], answer: Answer, sources: Mapping[str, Path]) -> None:
        """Keep an answer.

        Args:
            key: of what it follows from.
            reads: of its process so far.
            answer: its pieces without their check.
            sources: argument to the path under which they lie.
        """
        size = sum(piece.size for pieces in answer.files.values() for piece in pieces)
        if self.problem or size > _SHARE * self.limit:
            return
        try:
            files = {
                name: [self._copy_in(piece, Path(f"{sources[name]}{piece.ending}")) for piece in pieces]
                for name, pieces in answer.files.items()
            }
            told = json.dumps([_listed(read) for read in sorted(reads, key=lambda read: (read.kind, read.path))])
            code = digest_of(told)
            self._write(self.root / "code" / code[:2] / code, told)
            self._codes.pop(code, None)
            entry = {
                "result": answer.result, "about": dict(answer.about),
                "files": {name: [_listed(piece) for piece in pieces] for name, pieces in files.items()},
            }  # fmt: skip
            self._write(self.root / "found" / key[:2] / key / code, json.dumps(entry))
        except OSError as error:
            made = (f"{sources[name]}{piece.ending}" for name, pieces in answer.files.items() for piece in pieces)
            if all(map(os.path.exists, made)):  # else who asked for it has cleared it away meanwhile
                self.problem = f"cannot write in '{self.root}' ({error.strerror or error})"

    def trim(self, limit: int | None = None) -> None:
        """Remove what was used longest ago, where the store has grown beyond its limit."""
        limit = self.limit if limit is None else limit
        if not self._written and limit:
            return
        found = list(self._files())
        left = sum(size for _, size, _ in found)
        if left <= limit:
            return
        for _, size, path in sorted(found):
            if left <= _LEFT * limit:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - thousands of them
                left -= size

    def by_port(self) -> list[tuple[str, int, int]]:
        """Return port and side, how many answers there are of them, and how many bytes those wrote."""
        answers: Counter[str] = Counter()
        pieces: dict[str, dict[str, int]] = defaultdict(dict)
        for file in (self.root / "found").glob("*/*/*"):
            entry = self._read(file)
            if entry is not None:
                who = f"{entry['about']['port']}, {entry['about']['side']}"
                answers[who] += 1
                pieces[who] |= {digest: size for made in entry["files"].values() for _, digest, _, size in made}
        return [(who, count, sum(pieces[who].values())) for who, count in sorted(answers.items())]

    def size(self) -> int:
        """Return the bytes that are kept."""
        return sum(size for _, size, _ in self._files())

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield time of last use, size and path of every file."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                with contextlib.suppress(OSError):
                    found = os.stat(path := f"{folder}/{name}")  # noqa: PTH116 - thousands of them
                    yield found.st_mtime, found.st_size, path

    def _newest(self, folder: Path) -> list[Path]:
        found: list[tuple[int, str]] = []
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            found = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if not entry.name.startswith(".")]
        return [Path(path) for _, path in sorted(found, reverse=True)[:_MOST_CODES]]

    def _read(self, file: Path) -> Any:
        """Return a document, None where it is gone or damaged."""
        try:
            check, _, text = file.read_text(encoding="utf-8").partition("\n")
            return json.loads(text) if check == digest_of(text) else None
        except (OSError, ValueError):
            return None

    def _write(self, file: Path, text: str) -> None:
        with self._placed(file) as temporary:
            temporary.write_text(f"{digest_of(text)}\n{text}", encoding="utf-8")

    @contextlib.contextmanager
    def _placed(self, file: Path) -> Iterator[Path]:
        """Yield a path whose file takes its place when the block ends well."""
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", dir=file.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            self._written += temporary.stat().st_size
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def _blob(self, digest: str) -> Path:
        return self.root / "files" / digest[:2] / digest

    def _copy_in(self, piece: Piece, source: Path) -> Piece:
        blob = self._blob(piece.digest)
        with contextlib.suppress(OSError):
            if blob.stat().st_size == piece.size:
                _touch(blob)
                return Piece(piece.ending, piece.digest, _copied(source, None), piece.size)
        with self._placed(blob) as temporary:
            check = _copied(source, temporary)
        return Piece(piece.ending, piece.digest, check, piece.size)

    def _copy_out(self, piece: Piece, target: Path) -> None:
        """Copy a file out of the store.

        Raises:
            OSError: it is gone, or cannot be written there.
            ValueError: it is damaged; it is removed, to be made anew.
        """
        blob = self._blob(piece.digest)
        if _copied(blob, target) != piece.check or target.stat().st_size != piece.size:
            blob.unlink(missing_ok=True)
            raise ValueError(f"'{blob}' is damaged")
        _touch(blob)


def _copied(source: Path, target: Path | None) -> int:
    """Copy a file, or only read it, and return its CRC-32."""
    check = 0
    with contextlib.ExitStack() as stack:
        reading = stack.enter_context(source.open("rb", buffering=0))
        writing = stack.enter_context(target.open("wb", buffering=0)) if target else None
        while chunk := reading.read(_CHUNK):
            check = zlib.crc32(chunk, check)
            if writing is not None and writing.write(chunk) != len(chunk):
                raise OSError(f"'{target}' could not be written whole")
    return check


def _touch(file: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(file)


def _listed(value: Read | Piece) -> list[Any]:
    return list(vars(value).values())


def piece_of(path: Path, ending: str, digest: str | None = None) -> Piece:
    """Return a file that an answer wrote as the store will have it; raises OSError."""
    return Piece(ending, digest or digest_of_file(path), 0, path.stat().st_size)
