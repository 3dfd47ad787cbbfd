"""A side's own process: tasks sent to it one by one, and what becomes of it when it dies or hangs."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from portproof._errors import OutOfMemory, Unavailable, WorkerDied, WorkerHung
from portproof.ports._locate import Project
from portproof.ports._port import Part
from portproof.sides._patience import PATIENCE_VARIABLE, patience_s, says_something
from portproof.sides._warm import THREAD_VARIABLES, Kept, kept_now, start_side
from portproof.sides._wire import P, R, Task, name_of, pack, pack_arguments, revive, spoken, unpack_result


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

    @property
    def is_started(self) -> bool:
        """Whether it has begun to compute; one whose answers are kept may never have to."""
        return True

    def goes_beside(self, task: Task[P, R], /) -> bool:
        """Whether a task would be answered beside the others, and not in their turn."""
        return False

    def ahead(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have a task done that others are sooner done after, where they need not wait for it."""
        return

    @abstractmethod
    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Opening:
    """What a process is told first: the port that it finds, whose part is its own, and whether what it reads counts."""

    root: Path | None
    locator: str
    kwargs: Mapping[str, Any]
    side: str
    module: str
    device: str
    threads: int
    part: Part | None
    followed: bool = False


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
        variables: Mapping[str, str] | None = None, followed: bool = False, kept: Kept | None = None,
    ) -> None:  # fmt: skip
        python = place.project.python.get(side, sys.executable)
        self._side, self._python = side, python
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close
        given = {**dict.fromkeys(THREAD_VARIABLES, str(threads)), **(variables or {})}
        try:
            self._process = start_side(side, python, given, self._log, device, kept or kept_now())
        except OSError as error:
            self._log.close()
            raise Unavailable(
                f"the {side} side's interpreter '{python}' does not start ({error.strerror}); "
                f"see [tool.portproof.python] in pyproject.toml"
            ) from error
        self._died: WorkerDied | None = None
        self._queue = ThreadPoolExecutor(1, thread_name_prefix=f"portproof-{side}")
        opening = Opening(
            place.project.root, place.locator, dict(place.kwargs), side, module, device, threads, part,
            followed,
        )  # fmt: skip
        self._hello = self._queue.submit(self._exchange, "_open", "_open", pack(opening))

    def submit_watched(
        self, begun: Callable[[], None], task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        arguments = pack_arguments(task, args, kwargs)

        def exchange() -> R:
            begun()
            result: R = unpack_result(task, self.ask(name_of(task), spoken(task), arguments)["result"])
            return result

        return self._queue.submit(exchange)

    def ask(self, task: str, told: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Send a task, its name and arguments as the line has them, and wait for the answer.

        Args:
            task: its name.
            told: what people are told of it.
            arguments: packed.

        Returns:
            ``result``, and ``read``: what the process has read since its last answer (:mod:`portproof.sides._reads`).
        """
        self._hello.result()
        return self._exchange(task, told, arguments)

    def _exchange(self, task: str, told: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
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
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            error = revive(answer["error"])
            if type(error) is OutOfMemory:
                raise OutOfMemory(f"the {self._side} process, '{told}': {error}")
            raise error
        return answer

    def _wait(self, told: str) -> None:
        """Wait until an answer begins, or the process ends; end it where it has stopped computing."""
        assert self._process.stdout is not None
        if not says_something(self._process.stdout.fileno(), self._process.pid):
            self._process.kill()
            self._process.wait()
            self._died = WorkerHung(
                f"the {self._side} process has computed nothing for {patience_s():.0f} s during '{told}': "
                f"it hangs, and was ended; {PATIENCE_VARIABLE}=SECONDS waits longer"
            )

    def _obituary(self, told: str) -> str:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if code == -9:
            how += ", often out of memory"
        said = last_said(self._log)
        tail = f": {said}" if said else ""
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


def last_said(log: IO[str]) -> str:
    """Return the last line that a process left in its log, as far as people read; "" for none."""
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
