"""Sessions: a side's tasks, in this process or in one of its own, behind the same two calls."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import stat
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from portproof._errors import BadInput, OutOfMemory, Unavailable, WorkerDied, WorkerHung, require_packages
from portproof.ports._locate import Located, Project
from portproof.ports._port import Part
from portproof.sides._wire import P, R, Task, name_of, pack, pack_arguments, revive, spoken, unpack_result

#: Threads that a process's BLAS and OpenMP runtimes may start, set before anything is imported.
_PREFIX, _LOCK = "portproof-", "in-use"
#: Seconds that a process may owe an answer without computing anything, before it counts as hung.
PATIENCE_VARIABLE, _PATIENCE_S, _LOOK_S = "PORTPROOF_PATIENCE", 120.0, 1.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Session(ABC):
    """Answers tasks in the order in which they are submitted."""

    def submit(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue a task; its errors come out of the future."""
        return self.submit_watched(lambda: None, task, *args, **kwargs)

    def call(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a task and wait for its answer."""
        return self.submit(task, *args, **kwargs).result()

    @abstractmethod
    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        """Queue a task; ``begun`` is called when its turn comes."""

    @abstractmethod
    def close(self) -> None:
        """End it."""


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


@dataclass(frozen=True)
class Opening:
    """What a process is told first: the port that it finds, and whose part of it is its own."""

    root: Path | None
    locator: str
    kwargs: Mapping[str, Any]
    side: str
    module: str
    device: str
    threads: int
    part: Part | None


@dataclass(frozen=True)
class Place:
    """Where a process finds its port.

    Attributes:
        project: whose folder goes on the import path.
        locator: of the port.
        kwargs: of both factories.
    """

    project: Project
    locator: str
    kwargs: Mapping[str, Any]


class WorkerSession(Session):
    """Tasks in a process of their own, in the side's own interpreter where the project names one.

    One JSON document a line goes each way; what the framework prints goes to a log that is shown when it dies.
    """

    def __init__(
        self, place: Place, side: str, module: str, device: str, threads: int, part: Part | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        python = place.project.python.get(side, sys.executable)
        self._side, self._python = side, python
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close
        environment = dict(os.environ) | dict.fromkeys(_THREAD_VARIABLES, str(threads))
        environment |= {"PYTHONUNBUFFERED": "1", **(variables or {})}
        if device == "cuda":
            environment["NVIDIA_TF32_OVERRIDE"] = "0"  # one policy for all; TensorRT obeys nothing else
        # Keep freed memory: every forward makes and frees hundreds of megabytes, and returning them costs page faults.
        environment |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**32))
        try:
            self._process = subprocess.Popen(
                [python, "-P", "-m", "portproof.sides._worker"],  # nothing of the working directory is imported
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                text=True, encoding="utf-8", env=environment,
            )  # fmt: skip
        except OSError as error:
            self._log.close()
            raise Unavailable(
                f"the {side} side's interpreter '{python}' does not start ({error.strerror}); "
                f"see [tool.portproof.python] in pyproject.toml"
            ) from error
        self._died: WorkerDied | None = None
        self._queue = ThreadPoolExecutor(1, thread_name_prefix=f"portproof-{side}")
        opening = Opening(
            place.project.root, place.locator, dict(place.kwargs), side, module, device, threads, part
        )  # fmt: skip
        self._hello = self._queue.submit(self._exchange, "_open", "_open", pack(opening))

    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        arguments = pack_arguments(task, args, kwargs)

        def exchange() -> R:
            begun()
            if self._hello.exception() is not None:
                self._hello.result()
            result: R = unpack_result(task, self._exchange(name_of(task), spoken(task), arguments))
            return result

        return self._queue.submit(exchange)

    def _exchange(self, task: str, told: str, arguments: Mapping[str, Any]) -> Any:
        """Send a task and read its answer; ``told``: what people are told of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"task": task, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
            self._wait(told)
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line.endswith("\n"):  # it ended while it wrote, or before
            self._died = self._died or WorkerDied(self._obituary(told))
            raise type(self._died)(str(self._died))  # what waits for its turn hears the same
        answer = json.loads(line)
        if "error" in answer:
            error = revive(answer["error"])
            if type(error) is OutOfMemory:
                raise OutOfMemory(f"the {self._side} process, '{told}': {error}")
            raise error
        return answer["result"]

    def _wait(self, told: str) -> None:
        """Wait until an answer begins, or the process ends; end it where it has stopped computing.

        Looks are counted, not the clock: a machine that sleeps or a stopped terminal makes nobody late.
        """
        assert self._process.stdout is not None
        patience, idle, last = patience_s(), 0.0, None
        while not select.select([self._process.stdout], [], [], min(_LOOK_S, patience))[0]:
            used = processor_time(self._process.pid)
            idle = idle + min(_LOOK_S, patience) if used is not None and used == last else 0.0
            last = used
            if idle >= patience:
                self._process.kill()
                self._process.wait()
                self._died = WorkerHung(
                    f"the {self._side} process has computed nothing for {patience:.0f} s during '{told}': "
                    f"it hangs, and was ended; {PATIENCE_VARIABLE}=SECONDS waits longer"
                )
                return

    def _obituary(self, told: str) -> str:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if code == -9:
            how += ", often out of memory"
        self._log.seek(0)
        said = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        tail = f": {said[-1][:200]}" if said else ""
        if "No module named portproof" in tail:
            return f"the {self._side} interpreter '{self._python}' has no portproof; install it there, with its extra."
        return f"the {self._side} process ended during '{told}' ({how}){tail}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._queue.shutdown(wait=True, cancel_futures=True)
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


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
    """

    def __init__(
        self,
        located: Located,
        kwargs: Mapping[str, Any] | None = None,
        device: str = "cpu",
        threads: int = 1,
        on_disk: bool = False,
    ) -> None:
        port = replace(located.port, kwargs={**located.port.kwargs, **(kwargs or {})})
        self.located = replace(located, port=port)
        self.device, self.threads = device, threads
        self.part: Part | None = None
        self._stack = contextlib.ExitStack()
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
            session = WorkerSession(place, side, module, self.device, threads, self.part, environment)
        self._stack.callback(session.close)
        return session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


@contextlib.contextmanager
def scratch_folder(parent: str | None) -> Iterator[str]:
    """Yield a temporary folder, and clear away those of runs that were killed: in memory they would hold gigabytes.

    A folder is in use as long as somebody holds the lock on the file in it, whatever process or container that is.
    """
    for left in Path(parent or tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):
            _clear_away(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as folder, Path(folder, _LOCK).open("w") as lock:
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


def patience_s() -> float:
    """Return the seconds after which a process that computes nothing counts as hung.

    Raises:
        BadInput: the variable holds no number of seconds.
    """
    text = os.environ.get(PATIENCE_VARIABLE, str(_PATIENCE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInput(f"{PATIENCE_VARIABLE} takes a number of seconds, found '{text}'.")
    return seconds


def processor_time(process: int) -> int | None:
    """Return the clock ticks that a process and all below it have used; None where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        below = [Path(f"/proc/{process}/task/{task.name}/children").read_text().split()
                 for task in Path(f"/proc/{process}/task").iterdir()]  # fmt: skip
    except OSError:
        return None
    return sum(map(int, fields[11:15])) + sum(processor_time(int(child)) or 0 for each in below for child in each)


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
