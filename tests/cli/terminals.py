"""A command in a terminal of its own: what it draws is read, keys are pressed, its window is resized."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Self

#: What moves a cursor, colours and erases.
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Seconds that a machine of two busy cores may take for anything here.
PATIENCE_S = 120.0


class Terminal:
    """Runs ``portproof`` as a person does who sits at a terminal of 40 rows."""

    def __init__(
        self, folder: Path, *arguments: str, columns: int = 110, variables: dict[str, str] | None = None
    ) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(columns)
        self.modes = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "portproof", *arguments], cwd=folder, stdin=self._slave, stdout=self._slave,
            stderr=self._slave, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "", **(variables or {})},
            preexec_fn=self._take,
        )  # fmt: skip
        self._text = ""

    def _take(self) -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, columns: int) -> None:
        """Give the window another width; who runs in it is told."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def shows(self, pattern: str, within: float = PATIENCE_S) -> str:
        """Wait until that was drawn since this was asked last; returns all that was, without controls, on one line."""
        end = time.monotonic() + within
        while (found := re.search(pattern, self._text, re.DOTALL)) is None:
            assert time.monotonic() < end, f"no {pattern!r} in {self._text[-3000:]!r}"
            self._read(0.1)
            assert found or self.process.poll() is None or not self._read(0.1), self._text[-3000:]
        seen, self._text = self._text[: found.end()], self._text[found.end() :]
        return " ".join(seen.split())

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        self._text += _CONTROLS.sub("", os.read(self._master, 2**16).decode(errors="replace"))
        return True

    def draws_nothing(self, seconds: float) -> bool:
        """Say whether nothing is drawn for so long."""
        return not self._read(seconds) and not self._text

    def ends(self) -> int:
        """Wait for its end, and return its exit code."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        return self.process.wait(1)

    def modes_now(self) -> list[object]:
        """Return how the terminal takes keys, as :attr:`modes` has it of the beginning."""
        return termios.tcgetattr(self._slave)

    def processes(self) -> list[int]:
        """Return what runs in it."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(status.parent.name))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        self.process.wait()
        os.close(self._slave)
        os.close(self._master)
