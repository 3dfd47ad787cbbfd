"""A process that has imported what its children need, and forks one for whoever asks.

Importing a framework takes most of two seconds; a child of this process has it already, imports the code under edit
anew, and is thrown away. Nothing here starts a thread before it forks: a child would have its locks and not the thread.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import stat
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import source_from_cache
from typing import Any, Final, NoReturn

from portproof.sides._reads import in_scratch
from portproof.sides._warm import Parent, tell_files

#: A request brings a child's standard input, output and error, and where to say its number and how it ended.
_HANDLES: Final = 4
#: Of the engine, what every side's first tasks import.
_TASKS: Final = ("portproof.sides._workplace", "portproof.sides._tasks", "portproof.replay._tasks",
                 "portproof.runners._eager")  # fmt: skip


class _Requests:
    """What is asked through a socket: a line of JSON each, with its handles."""

    def __init__(self, control: socket.socket) -> None:
        self._control, self._text, self._handles = control, b"", list[int]()

    def read(self) -> list[tuple[Any, list[int]]] | None:
        """Return what has come, waiting for something; None where nobody is left to ask."""
        with suppress(ConnectionResetError):
            text, handles, _, _ = socket.recv_fds(self._control, 2**20, _HANDLES)
            *lines, self._text = (self._text + text).split(b"\n")
            self._handles += handles
            found = []
            for line in lines:
                found.append((json.loads(line), self._handles[:_HANDLES]))
                del self._handles[:_HANDLES]
            return found if text else None
        return None


def serve(control: socket.socket, run: Callable[[Any], None], ending: int = signal.SIGKILL) -> None:
    """Fork a child that runs what it is told, for each request, until nobody can ask any more.

    Args:
        control: where requests come from.
        run: in the child, called with what was told.
        ending: the signal that ends children which are left then.
    """
    requests, statuses = _Requests(control), dict[int, int]()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    gc.freeze()  # what children share stays shared: collecting would write to every page
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _reap(statuses)
        if control.fileno() not in ready:
            continue
        asked = requests.read()
        if asked is None:
            break
        for told, handles in asked:
            child = os.fork()
            if child == 0:
                _run(run, told, handles, [control.fileno(), woken, wake, *statuses.values()])
            statuses[child] = handles.pop()
            _say(statuses[child], child)
            for handle in handles:
                os.close(handle)
    for child in statuses:
        os.kill(child, ending)
        os.waitpid(child, 0)


def _reap(statuses: dict[int, int]) -> None:
    """Say of each child that has ended how it did."""
    for child in list(statuses):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            handle = statuses.pop(child)
            _say(handle, os.waitstatus_to_exitcode(status))
            os.close(handle)


def _say(handle: int, number: int) -> None:
    with suppress(BrokenPipeError):  # who asked is gone
        os.write(handle, b"%d\n" % number)


def _run(run: Callable[[Any], None], told: Any, handles: Sequence[int], others: Sequence[int]) -> NoReturn:
    """Be the child: with the streams that came with the request, and nothing of the parent's."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handle in enumerate(handles[:3]):
            os.dup2(handle, number)
        for handle in (*handles, *others):
            os.close(handle)
        importlib.invalidate_caches()
        run(told)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def note_files(notes: int, *apart: str) -> None:
    """From now on write ``mtime path``, ended by a zero, of each file that this process reads and nobody installed.

    What is temporary and younger than this process is its own, or that of a library that it calls.
    Modules are noted by their source. Nothing is written beside the sources either: a compiled file knows the time of
    its source to a second, and an edit may follow another within one.

    Args:
        notes: the handle that is written to.
        apart: folders whose files nobody edits.
    """
    engine = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120
    brought = tuple(
        f"{one}/" for one in (*sysconfig.get_paths().values(), engine, "/proc", "/sys", "/dev", "/etc", *apart)
    )
    noted, temporary, begun = set[str](), f"{tempfile.gettempdir()}/", time.time_ns()

    def rests(path: str) -> None:
        if path in noted:
            return
        noted.add(path)
        source = os.path.abspath(source_from_cache(path) if path.endswith(".pyc") else path)  # noqa: PTH100
        if source.startswith(brought) or "-packages/" in source or in_scratch(source):
            return
        with suppress(OSError, ValueError):
            found = os.stat(source)  # noqa: PTH116 - for every file
            made_here = found.st_mtime_ns >= begun and source.startswith(temporary)
            if stat.S_ISREG(found.st_mode) and not made_here:
                os.write(notes, os.fsencode(f"{found.st_mtime_ns} {source}\0"))

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            path, mode, flags = arguments
            if not (any(letter in mode for letter in "wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)):
                rests(path)

    sys.dont_write_bytecode = True
    tell_files(rests)
    sys.addaudithook(heard)


def parent_of(run: Callable[[Any], None]) -> Parent:
    """Fork this process into a parent whose children run a function; it must have no thread but this one."""
    control, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _serve_here(control, theirs, run)
    theirs.close()
    return Parent(child, control, lambda: os.waitpid(child, 0))


def _serve_here(control: socket.socket, theirs: socket.socket, run: Callable[[Any], None]) -> NoReturn:
    try:
        control.close()
        _leave_endings_to_others()
        serve(theirs, run, signal.SIGTERM)
    finally:
        os._exit(0)


def _leave_endings_to_others() -> None:
    """Ignore what ends a command, as the worker does: who asks decides what it means."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Serve sessions of one side: the framework, the socket's handle, and the one for notes or -1, as arguments.

    Where there is no framework to import ahead, or importing it fails, its children do, and say why.
    """
    from portproof.sides import _worker

    _leave_endings_to_others()
    gc.disable()  # none of what a framework makes while it is imported is garbage
    side, control, notes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if side:
        from portproof.frameworks import load_framework
        from portproof.runners import registered

        for module in _TASKS:
            importlib.import_module(module)
        registered()
        try:
            load_framework(side)
        except Exception:
            os.execv(sys.executable, [sys.executable, "-P", "-m", "portproof.sides._forks", "", *sys.argv[2:]])

    def work(told: Any) -> None:
        os.environ.clear()
        os.environ.update(told)
        if notes >= 0:
            note_files(notes)
        _worker.main()

    serve(socket.socket(fileno=control), work)
    os._exit(0)  # taking a framework apart, object by object, takes a while


if __name__ == "__main__":
    main()
