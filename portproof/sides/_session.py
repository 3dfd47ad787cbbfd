"""Sessions: a side's tasks, in this process or in one of its own, behind the same two calls."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from portproof._errors import require_packages
from portproof._machine import thread_budget
from portproof.ports._locate import Located
from portproof.ports._port import SIDES, Part
from portproof.sides._apart import ApartSession
from portproof.sides._kept import Digests, KeptSession, place_digest
from portproof.sides._process import Place, Session, WorkerSession
from portproof.sides._reads import IN_USE, SCRATCH
from portproof.sides._store import Store, open_store
from portproof.sides._warm import Kept, forks_ahead, kept_now
from portproof.sides._wire import P, R, Task, name_of, pack_arguments, unpack_result

#: Processes of a side beside its first, by what their tasks are marked with, and how many more than there are cores may
#: run then: an export is long, and nothing of its side waits for it.
_BESIDE = {"float64": 0, "export": 1}


class LocalSession(Session):
    """Tasks in this process: for ports that were made in it and cannot be found again from another."""

    def __init__(self, located: Located, side: str, module: str, device: str, threads: int) -> None:
        from portproof.sides._workplace import Workplace

        self.place = Workplace(located.port, side, module, device, threads)

    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        future: Future[R] = Future()
        begun()
        try:
            # What passes here must pass a line too: it is packed all the same.
            found = self.place.answer(name_of(task), pack_arguments(task, args, kwargs))
            future.set_result(unpack_result(task, found))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        self.place.close()


def frameworks_here(located: Located, sides: Iterable[str] | None = None) -> list[str]:
    """Return the frameworks of a port's models that must be in this environment; others have an interpreter of theirs.

    Args:
        located: the port.
        sides: of it; all if None.
    """
    asked = located.port.sides if sides is None else sides
    return [side for side in asked if not located.port.artefact(side) and side not in located.project.python]


class Sessions:
    """Opens sessions and a temporary folder, and closes them all.

    Args:
        located: the port. Without a locator its sides run in this process.
        kwargs: keyword arguments for both factories, over the port's own.
        device: ``"cpu"`` or ``"cuda"``.
        threads: compute threads of each process.
        on_disk: keep the temporary folder out of memory.
        keep: answer from the store what it has, and keep answers there (:mod:`portproof.sides._kept`).
        apart: give a side two processes where a core would wait (:mod:`portproof.sides._apart`), at the cost of forks;
            where warm parents are there anyway, that is done unasked.

    Raises:
        BadInput: the variable that says how large the store may be holds no size.
    """

    def __init__(
        self,
        located: Located,
        kwargs: Mapping[str, Any] | None = None,
        device: str = "cpu",
        threads: int = 1,
        on_disk: bool = False,
        keep: bool = False,
        apart: bool = False,
    ) -> None:
        port = replace(located.port, kwargs={**located.port.kwargs, **(kwargs or {})})
        self.located = replace(located, port=port)
        self.device, self.threads = device, threads
        self.part: Part | None = None
        # What runs on a GPU depends on more than is known here.
        self._store = open_store() if keep and device == "cpu" and located.locator is not None else None
        self._digests = Digests()
        #: Those whose answers are kept.
        self.kept: list[KeptSession] = []
        self._stack = contextlib.ExitStack()
        self._warm: Kept | None = None
        if self._store is not None and forks_ahead(device):
            self._warm = kept_now() or (self._stack.enter_context(Kept()) if apart else None)
        parent = None if on_disk else memory_folder()
        self.folder = Path(self._stack.enter_context(scratch_folder(parent)))

    def require(self, what: str, sides: Iterable[str], *packages: str) -> None:
        """See that the frameworks of some sides, and packages beside them, are installed, before anything is begun.

        Raises:
            Unavailable: they are not; all of them are named. A side with an interpreter of its own is not asked.
        """
        require_packages(what, *frameworks_here(self.located, sides), *packages)

    def room(self, name: str, size: int) -> Path:
        """Return a folder of that name: in memory where it leaves three quarters free, else on disk.

        Args:
            name: of a folder that is not there yet.
            size: about how many bytes it will hold.
        """
        statistics = os.statvfs(self.folder)
        if 4 * size < statistics.f_bavail * statistics.f_frsize:
            return self.folder / name
        return Path(self._stack.enter_context(scratch_folder(None))) / name

    @property
    def keeps(self) -> bool:
        """Whether answers are kept."""
        return self._store is not None

    def digest(self, file: Path) -> str:
        """Return the digest of a file's content."""
        return self._digests.content(str(file))

    def know(self, file: Path, digest: str) -> None:
        """Take for granted what a file holds that nobody but portproof writes."""
        self._digests.know(str(file), digest)

    def settle(self) -> None:
        """Wait until the store has what is to be kept of the answers so far; their files may be removed then."""
        for session in self.kept:
            session.settle()

    def narrow(self, part: Part) -> Located:
        """Make one module the whole of the port for the sessions opened from now on."""
        self.located = replace(self.located, port=part.of(self.located.port))
        self.part = part
        return self.located

    def open(
        self, side: str, module: str = "", threads: int | None = None, environment: Mapping[str, str] | None = None
    ) -> Session:
        """Start a session; its framework is imported when the first task asks for it.

        ``environment``: variables of its process, where it gets one.
        """
        session: Session
        threads = threads or self.threads
        if self.located.locator is None:
            session = LocalSession(self.located, side, module, self.device, threads)
        else:
            place = Place(self.located.project, self.located.locator, self.located.port.kwargs)
            given = place, side, module, self.device, threads, self.part, dict(environment or {})
            store = self._store
            session = WorkerSession(*given) if store is None else (first := self._open_kept(store, *given))
            if store is not None and self._warm is not None and side in SIDES:
                others = {name: (self._open_kept(store, *given), more) for name, more in _BESIDE.items()}
                session = ApartSession(first, others, self._has_room)
        self._stack.callback(session.close)
        return session

    def _has_room(self, more: int) -> bool:
        """Whether there is a core for one more process, so many apart."""
        return sum(session.is_started for session in self.kept) < thread_budget() + more

    def _open_kept(
        self, store: Store, place: Place, side: str, module: str, device: str, threads: int, part: Part | None,
        variables: Mapping[str, str],
    ) -> KeptSession:  # fmt: skip
        given = place, side, module, device, threads, part, variables
        about = {"port": self.located.port.name, "side": side}
        start = functools.partial(WorkerSession, *given, followed=True, kept=self._warm)
        session = KeptSession(about, place_digest(*given), start, store, self._digests)
        self.kept.append(session)
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if self._store is not None:
            self._store.trim()


@contextlib.contextmanager
def scratch_folder(parent: str | None) -> Iterator[str]:
    """Yield a temporary folder, and clear away those of runs that were killed: in memory they would hold gigabytes.

    A folder is in use as long as somebody holds the lock on the file in it, whatever process or container that is.
    """
    for left in Path(parent or tempfile.gettempdir()).glob(f"{SCRATCH}*/{IN_USE}"):
        with contextlib.suppress(OSError):
            _clear_away(left)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=parent) as folder, Path(folder, IN_USE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _clear_away(left: Path) -> None:
    """Remove the folder of a run of this user's that was killed; others may put links and pipes of that name there."""
    handle = os.open(left, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        file, folder = os.fstat(handle), left.parent.lstat()
        own = file.st_uid == folder.st_uid == os.geteuid()
        if own and stat.S_ISREG(file.st_mode) and stat.S_ISDIR(folder.st_mode):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    finally:
        os.close(handle)


def memory_folder() -> str | None:
    """Return a memory-backed folder with room for taps, None for the system's choice or a person's (``TMPDIR``)."""
    if os.environ.get("TMPDIR"):
        return None
    shared = Path("/dev/shm")
    try:
        statistics = os.statvfs(shared)
    except OSError:
        return None
    return str(shared) if statistics.f_bavail * statistics.f_frsize > 2**31 and os.access(shared, os.W_OK) else None
