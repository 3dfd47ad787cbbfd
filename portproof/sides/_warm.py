"""Warm parents: a process a side that has imported its framework, and forks for each session while it is kept."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Protocol, Self

from portproof.ports._port import SIDES
from portproof.sides._patience import says_something

#: Seconds that a parent has to end its children and itself, once nobody asks it any more.
_ENDING_S = 5.0
#: A parent says of a child its number, and how it ended.
_ALL_TOLD = 2
#: Threads that a process's BLAS and OpenMP runtimes may start, set before anything is imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


#: NVIDIA's libraries read it once in a process.
TF32 = "NVIDIA_TF32_OVERRIDE"


def waiting() -> dict[str, str]:
    """Return the variables of processes whose threads wait without computing."""
    policy = "OMP_WAIT_POLICY"
    return {policy: os.environ.get(policy, "PASSIVE")}


def side_environment(variables: Mapping[str, str], device: str) -> dict[str, str]:
    """Return the environment of a side's process; ``variables``: over this process's."""
    # One policy for all; TensorRT obeys nothing else, and nothing can switch TF32 on beside it.
    policy = {TF32: "0"} if device == "cuda" else {}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **policy, **variables}
    # Keep freed memory: every forward makes and frees hundreds of megabytes, and returning them costs page faults.
    return environment | dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**32))


class Process(Protocol):
    """What a session needs of the process that answers it: of :class:`subprocess.Popen`, and of :class:`Forked`."""

    @property
    def pid(self) -> int: ...
    @property
    def stdin(self) -> IO[str] | None: ...
    @property
    def stdout(self) -> IO[str] | None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


class Forked:
    """A process that a warm parent forks, with pipes to its standard input and from its output.

    Args:
        parent: the parent's number.
        control: where it is asked.
        told: what the child is told.
        errors: the handle that its standard error goes to.
    """

    def __init__(self, parent: int, control: socket.socket, told: Any, errors: int) -> None:
        self._parent = parent
        theirs_in, mine_in = os.pipe()
        mine_out, theirs_out = os.pipe()
        self._status, theirs_status = os.pipe()
        theirs = [theirs_in, theirs_out, errors, theirs_status]
        self.stdin: IO[str] = open(mine_in, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - closed with the session
        self.stdout: IO[str] = open(mine_out, encoding="utf-8")  # noqa: PTH123, SIM115
        self._lock, self._told = threading.Lock(), list[int]()  # its number, then how it ended
        try:
            line = json.dumps(told).encode() + b"\n"
            sent = socket.send_fds(control, [line], theirs)
            control.sendall(line[sent:])
        except OSError:
            for stream in (self.stdin, self.stdout):
                stream.close()
            os.close(self._status)
            raise
        finally:
            for handle in (theirs_in, theirs_out, theirs_status):
                os.close(handle)

    def _hear(self, place: int) -> int:
        """Return what the parent says of it, as if it had been killed where that is gone or hangs."""
        if len(self._told) > place:
            return self._told[place]
        with self._lock:
            while len(self._told) <= place:
                line = b""
                while not line.endswith(b"\n") and says_something(self._status, self._parent):
                    letter = os.read(self._status, 1)
                    if not letter:
                        break
                    line += letter
                self._told.append(int(line or (-signal.SIGKILL if self._told else 0)))
                if len(self._told) == _ALL_TOLD:
                    os.close(self._status)
            return self._told[place]

    @property
    def pid(self) -> int:
        """Its number, once the parent has forked; 0 where that ended before."""
        return self._hear(0)

    def wait(self) -> int:
        """Return its exit code, as :class:`subprocess.Popen` has it."""
        return self._hear(_ALL_TOLD - 1)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.pid and not self.ended_within(0):
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def ended_within(self, seconds: float) -> bool:
        """Wait for it so long, and say whether it has ended."""
        if self.pid and len(self._told) < _ALL_TOLD and not select.select([self._status], [], [], seconds)[0]:
            return False
        self.wait()
        return True

    def close(self) -> None:
        """Close its pipes, once it has ended."""
        self.wait()
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):
                stream.close()


class Parent:
    """A process that forks others.

    Args:
        pid: its number.
        control: where it is asked.
        ended: waits for it.
    """

    def __init__(self, pid: int, control: socket.socket, ended: Callable[[], object]) -> None:
        self.pid, self._control, self._ended = pid, control, ended
        self._one_at_a_time = threading.Lock()

    def fork(self, told: Any, errors: int) -> Forked:
        """Fork a child that is told something; raises OSError where this parent has ended.

        ``errors``: the handle that its standard error goes to.
        """
        with self._one_at_a_time:
            return Forked(self.pid, self._control, told, errors)

    def is_there(self) -> bool:
        """Say whether it can be asked still."""
        try:
            return self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:  # it says nothing here
            return True
        except OSError:
            return False

    def close(self) -> None:
        """End it, and the children that it has."""
        self._control.close()
        self._ended()


def parent_of_side(side: str, python: str, environment: Mapping[str, str], notes: int | None, ahead: bool) -> Parent:
    """Start a parent of sessions of one side.

    Args:
        side: whose framework it imports.
        python: the interpreter.
        environment: of the process; of threads it gets one, and its children as many as they are told.
        notes: the handle that is told which files its children read, None where nobody asks.
        ahead: import the framework before forking; else its children do.
    """
    control, theirs = socket.socketpair()
    handles = [theirs.fileno(), *([] if notes is None else [notes])]
    with theirs:
        process = subprocess.Popen(
            [python, "-P", "-m", "portproof.sides._forks", side if ahead else "", str(theirs.fileno()),
             str(-1 if notes is None else notes)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=handles,
            env={**environment, **dict.fromkeys(THREAD_VARIABLES, "1")},
        )  # fmt: skip

    def ended() -> None:
        try:
            process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    return Parent(process.pid, control, ended)


def forks_ahead(device: str) -> bool:
    """Whether a parent imports its framework before it forks.

    CUDA does not live through a fork, and Paddle's build for it asks for the GPUs when it is imported; frameworks of
    Apple's machines do not either. There a child imports its framework itself.
    """
    return device == "cpu" and sys.platform == "linux"


class Kept:
    """The warm parents that are kept, by side, interpreter and variables.

    Args:
        notes: the handle that is told which files the sides read.
    """

    def __init__(self, notes: int | None = None) -> None:
        self._notes = notes
        self._parents: dict[tuple[object, ...], Parent] = {}
        self._one_at_a_time = threading.Lock()

    def parent(self, side: str, python: str, variables: Mapping[str, str], device: str) -> Parent | None:
        """Return a side's parent, started where there is none yet; None for what is no side.

        Graphs are interpreted on a framework's kernels: a child of torch's parent has them, or one of Paddle's.
        """
        if side == "interpreter":
            there = {key[0]: other for key, other in self._parents.items() if key[1:3] == (python, True)}
            return there.get("torch") or there.get("paddle")
        if side not in SIDES:
            return None
        ahead = forks_ahead(device)
        given = {
            name: value for name, value in variables.items() if name not in THREAD_VARIABLES
        }  # a child has its own
        key = side, python, ahead, *sorted(given.items())
        with self._one_at_a_time:
            if key not in self._parents:
                environment = side_environment(variables, device)
                self._parents[key] = parent_of_side(side, python, environment, self._notes, ahead)
            return self._parents[key]

    def begin(self, pythons: Mapping[str, str], device: str) -> None:
        """Start the parents of both sides already; ``pythons``: side to an interpreter of its own."""
        for side in SIDES:
            with suppress(OSError):  # the session that asks for it says so
                self.parent(side, pythons.get(side, sys.executable), waiting(), device)

    def give_up(self, parent: Parent) -> None:
        """End one that forks no more; who asks next starts another."""
        with self._one_at_a_time:
            self._parents = {key: other for key, other in self._parents.items() if other is not parent}
        parent.close()

    def are_there(self) -> bool:
        """Say whether all can be asked still."""
        return all(parent.is_there() for parent in self._parents.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End them."""
        for parent in self._parents.values():
            parent.close()
        self._parents.clear()


_kept: list[Kept] = []
#: Told of files that this process rests on, where somebody asks.
_told: list[Callable[[str], None]] = []


def tell_files(tell: Callable[[str], None]) -> None:
    """From now on tell somebody which files this process rests on without reading them."""
    _told.append(tell)


def rests_on(paths: Iterable[str]) -> None:
    """Note files that an answer rests on which was taken from the store: nobody has opened them."""
    for tell in _told:
        for path in paths:
            tell(path)


@contextmanager
def forking_from(kept: Kept) -> Iterator[None]:
    """Fork the sides' sessions from warm parents, for the time of the block; those that are not there are started."""
    _kept.append(kept)
    try:
        yield
    finally:
        _kept.remove(kept)


def kept_now() -> Kept | None:
    """Return the warm parents of :func:`forking_from`; None outside of it."""
    return _kept[-1] if _kept else None


def start_side(
    side: str, python: str, variables: Mapping[str, str], errors: IO[str], device: str, kept: Kept | None
) -> Process:
    """Start the process of a session: forked where warm parents are kept, else by itself.

    Raises:
        OSError: the interpreter does not start.
    """
    environment = side_environment(variables, device)
    with suppress(OSError):  # it has ended
        parent = None if kept is None else kept.parent(side, python, variables, device)
        if kept is not None and parent is not None:
            forked = parent.fork(environment, errors.fileno())
            if forked.pid:
                return forked
            forked.close()  # it ended before, or hangs: by itself, the process will say why
            kept.give_up(parent)
    return subprocess.Popen(
        [python, "-P", "-m", "portproof.sides._worker"],  # nothing of the working directory is imported
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8", env=environment,
    )  # fmt: skip
