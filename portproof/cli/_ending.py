"""How a command ends: with one exit code, whatever happened, and with nothing left behind.

1 means "does not hold" and nothing else. Libraries take it, or 0, for other things too: a pipe that nobody reads, an
end of input, a ``sys.exit`` in somebody's module. None of them gets past here.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

from portproof._disk import files_named, keeping_files
from portproof._errors import Interrupted, PortproofError, environmental, one_line
from portproof._text import visible

#: Of sysexits.h: an error inside the program.
BUG: Final = 70
_NOBODY_READS: Final = 128 + signal.SIGPIPE
#: Codes of commands that came to an end and printed what they found.
_VERDICTS: Final = (0, 1, 3)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_well(command: Callable[[], int]) -> int:
    """Run a command and return the exit code of its process, having said on standard error why it is not its own.

    Args:
        command: returns its verdict's exit code.
    """
    with _streams() as results, _interrupted_by_signals(), keeping_files():
        code, said = _ended(command)
        with suppress(OSError):
            sys.stdout.flush()
        lost = None if results is None else results.failed
        if lost is not None and code in _VERDICTS:
            if lost.errno != errno.EPIPE:
                code, said = 2, f"cannot write to standard output: {lost.strerror}; make room, or write elsewhere."
            elif not files_named():
                code = _NOBODY_READS
        if said:
            _say(f"portproof: {visible(said)}")
        return code


def _ended(command: Callable[[], int]) -> tuple[int, str]:
    """Return how a command ended, and what is to be said of it."""
    try:
        return command(), ""
    except Interrupted as interrupted:
        return interrupted.exit_code, "interrupted"
    except PortproofError as error:
        return error.exit_code, str(error)
    except BaseException as raised:
        found = environmental(raised)
        if found is not None:
            return found.exit_code, str(found)
        for line in traceback.format_exc().splitlines():
            _say(" " * (len(line) - len(line.lstrip())) + visible(line))
        return BUG, (
            f"this is a bug in portproof ({one_line(raised, 120)}), and no verdict; please open an issue with the lines"
            " above and what `portproof doctor --json -` prints, or see SECURITY.md where a stranger's file did it."
        )


def _say(line: str) -> None:
    with suppress(OSError):  # nobody reads that either
        print(line, file=sys.stderr)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let what ends a process run its cleaning up first: processes below it, and gigabytes in memory, would stay.

    Typer would answer a KeyboardInterrupt by itself, so it is none. Objects that are left half-made may raise when they
    are thrown away (dask's futures do), which Python would print.
    """
    said = sys.unraisablehook

    def interrupt(number: int, _: object) -> NoReturn:
        sys.unraisablehook = lambda _: None
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in _ENDING}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # nohup: it is to outlive its terminal
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        sys.unraisablehook = said
        for number, handler in before.items():
            signal.signal(number, handler)


class _Outlet(io.FileIO):
    """Standard output or standard error. Once it fails, because nobody reads it any more, say, what is written is lost.

    The command goes on: its verdict, or a file that it writes, may be all that was wanted.
    """

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        if self.failed is None:
            try:
                return super().write(data)
            except OSError as error:
                self.failed = error
        return len(data)


@contextmanager
def _streams() -> Iterator[_Outlet | None]:
    """Give this process its three standard streams, of which some may be closed; yields the one of results.

    A number that is free would go to the next file that is opened, and children would print into that. None where
    Python's own streams have been replaced already, as tests do.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    if sys.stdout is not sys.__stdout__:
        yield None
        return
    results, notes = _Outlet(1, "w", closefd=False), _Outlet(2, "w", closefd=False)
    sys.stdout, sys.stderr = _text(results, results.isatty()), _text(notes, lines=True)
    try:
        yield results
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _text(outlet: _Outlet, lines: bool) -> io.TextIOWrapper:
    """Return a text stream in the person's encoding; what that cannot say is written out."""
    encoding = getattr(sys.__stdout__, "encoding", None)
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding, "backslashreplace", line_buffering=lines)
