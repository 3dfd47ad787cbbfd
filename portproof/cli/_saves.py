"""Which files a judgement read, and whether one of them says something else by now."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: Milliseconds in which what an editor does to a file counts as one save, and how often the system is asked for it.
_DEBOUNCE_MS, _STEP_MS, _SETTLED_MS = 200, 20, 1000


@dataclass(frozen=True)
class _Read:
    """A file as it was read: its time, and a hash of what it held then; "" where it was saved again since."""

    time_ns: int
    digest: str


class Saves:
    """Hears from processes which files they read (:func:`~portproof.sides._forks.note_files`), and of saves to them.

    Folders are watched, not files, since editors replace files, and each without those below it.

    Attributes:
        notes: the handle that processes write to.
        woken: a handle that can be read from when something may have been saved.
        heard: a handle that can be read from when there are notes.
    """

    def __init__(self) -> None:
        self.heard, self.notes = os.pipe()
        self.woken, self._wake = os.pipe()
        os.set_inheritable(self.notes, True)
        self._text = b""
        self._read: dict[Path, _Read] = {}
        self._fresh = set[Path]()
        self._new = set[Path]()
        self._folders = frozenset[Path]()
        self._watching: tuple[threading.Thread, threading.Event] | None = None

    @property
    def files(self) -> frozenset[Path]:
        """What was read so far."""
        return frozenset(self._read)

    def begin(self) -> None:
        """Take what is read from now on for one judgement; of each file, its first reading counts."""
        self._fresh.clear()
        self._new.clear()

    def hear(self) -> None:
        """Take in the notes that are there, and watch the folders of files that were read for the first time."""
        *notes, self._text = (self._text + os.read(self.heard, 2**16)).split(b"\0")
        for note in notes:
            time_ns, _, name = os.fsdecode(note).partition(" ")
            path = Path(name)
            if path not in self._fresh:
                self._fresh.add(path)
                self._read[path] = _Read(int(time_ns), _digest(path) if _time(path) == int(time_ns) else "")
        self._watch(frozenset(path.parent for path in self._read if path.parent.is_dir()))

    def changed(self, also_new: bool) -> list[Path]:
        """Return the files that are not what they were when they were read, and forget that something was saved.

        ``also_new``: and Python files beside them that were not there; an import may have missed them.
        """
        with suppress(BlockingIOError):
            os.set_blocking(self.woken, False)
            os.read(self.woken, 2**16)
        found = [path for path in self._read if self._differs(path)]
        self._read |= {path: _Read(_time(path) or 0, _digest(path)) for path in found}
        new, self._new = self._new - self._read.keys(), set()
        return sorted([*found, *(new if also_new else ())])

    def _differs(self, path: Path) -> bool:
        read, time_ns = self._read[path], _time(path) or 0
        if time_ns == read.time_ns:
            return False
        if time_ns and read.digest == _digest(path) != "":
            self._read[path] = _Read(time_ns, read.digest)
            return False
        return True

    def _watch(self, folders: frozenset[Path]) -> None:
        """Watch these folders in place of those before; what was saved in between wakes too."""
        if folders == self._folders:
            return
        self._stop()
        stop = threading.Event()
        thread = threading.Thread(target=self._follow, args=(sorted(folders), stop), daemon=True)
        self._folders, self._watching = folders, (thread, stop)
        thread.start()

    def _follow(self, folders: Iterable[Path], stop: threading.Event) -> None:
        from watchfiles import Change, watch

        changes = watch(
            *folders, recursive=False, debounce=_DEBOUNCE_MS, step=_STEP_MS, stop_event=stop, yield_on_timeout=True,
            rust_timeout=_SETTLED_MS, ignore_permission_denied=True,
        )  # fmt: skip
        settled = False
        with suppress(OSError):  # a folder is gone: its files are, and that was a save
            for saved in changes:
                self._new |= {Path(name) for kind, name in saved if kind == Change.added and name.endswith(".py")}
                if saved or not settled:  # what was saved before the system watched is asked for once
                    os.write(self._wake, b"\0")
                settled = True

    def rest(self) -> None:
        """Have no thread until something is heard; what is saved meanwhile is asked for then."""
        self._stop()
        self._folders = frozenset()

    def _stop(self) -> None:
        if self._watching is not None:
            thread, stop = self._watching
            stop.set()
            thread.join()
            self._watching = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        for handle in (self.heard, self.notes, self.woken, self._wake):
            os.close(handle)


def _time(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
