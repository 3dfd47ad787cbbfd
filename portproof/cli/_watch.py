"""``portproof verify --watch``: on saving, judge anew and draw the screen anew."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from portproof._errors import BadInput, PortproofError, Unavailable, require_packages
from portproof._text import plain
from portproof.cli._rounds import Round, Rounds, Standing
from portproof.cli._saves import Saves
from portproof.judge._report import HOLDS, Report
from portproof.ports._locate import find_project
from portproof.render import write_report
from portproof.render._terminal import output
from portproof.render._watch import KEYS, Shown, print_shown
from portproof.render._words import shortened
from portproof.runners import registered
from portproof.sides._session import memory_folder, scratch_folder
from portproof.sides._warm import Kept, forking_from

if TYPE_CHECKING:
    from portproof.cli._models import Judge

#: Seconds between two looks at how long a judgement has run.
_TICK_S: Final = 0.2
_BUG: Final = 70


def watch_saves(judge: Judge, device: str) -> int:
    """Judge now and whenever a file that was read is saved, until a person ends it.

    Args:
        judge: see :data:`~portproof.cli._models.Judge`.
        device: of both sides.

    Returns:
        The exit code of what was found last.

    Raises:
        BadInput: there is no terminal; or nothing was read that could be saved, so that the first error is the last.
        Unavailable: a package is not there, or a framework.
    """
    require_packages("verify --watch", "watchfiles")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput("--watch redraws a terminal and reads its keys, and this is none; leave it out.")
    import portproof.lines._find  # what a judgement needs, imported once
    import portproof.parity._verify  # noqa: F401

    registered()

    with contextlib.ExitStack() as stack:
        saves = stack.enter_context(Saves())
        kept = stack.enter_context(Kept(saves.notes))
        stack.enter_context(forking_from(kept))
        begin = partial(kept.begin, find_project().python, device)
        begin()
        earlier = Path(stack.enter_context(scratch_folder(memory_folder())), "earlier")
        rounds = stack.enter_context(Rounds(judge, saves.notes, earlier))
        signals = stack.enter_context(_signals())
        stack.enter_context(_keys())
        folder = Path(stack.enter_context(scratch_folder(None)))
        return _Loop(saves, kept, begin, rounds, signals, folder).run()


class _Loop:
    """Waits for saves, keys and answers, one after the other."""

    def __init__(
        self, saves: Saves, kept: Kept, begin: Callable[[], None], rounds: Rounds, signals: int, folder: Path
    ) -> None:
        self._saves, self._kept, self._begin_sides, self._rounds = saves, kept, begin, rounds
        self._signals, self._folder = signals, folder
        self._console: Console = output()
        self._round: Round | None = None
        self._begun, self._why = 0.0, ""
        self._doing: dict[str, str] = {}
        self._shown: Shown | None = None
        self._last: Report | None = None
        self._code = 0
        self._status, self._line, self._drawn = "", "", 0.0

    def run(self) -> int:
        """Go on until a person ends it; returns the exit code of what was found last."""
        self._begin("at first")
        try:
            while True:
                running = [] if self._round is None else [self._round]
                handles = [sys.stdin, self._signals, self._saves.heard, self._saves.woken, *running]
                ready, _, _ = select.select(handles, [], [], _TICK_S if running else None)
                if self._signals in ready:
                    self._signalled(os.read(self._signals, 64))
                if self._saves.heard in ready:
                    self._saves.hear()
                if self._saves.woken in ready:
                    self._saved()
                if self._round is not None and self._round in ready:
                    self._answered(self._round)
                if sys.stdin in ready and self._pressed(os.read(0, 64).decode(errors="replace")):
                    return self._code
                if self._round is None or time.monotonic() - self._drawn > _TICK_S:
                    self._draw_status()
        finally:
            self._cancel()
            print(flush=True)

    def _begin(self, why: str, full: bool = False) -> None:
        """Judge what is there now, whatever was being judged."""
        self._cancel()
        self._begun, self._why, self._status, self._drawn = time.monotonic(), why, "", 0.0
        if not (self._kept.are_there() and self._rounds.are_possible()):  # somebody ended one, or memory ran out
            self._saves.rest()
            self._kept.close()
            self._begin_sides()
            self._rounds.renew()
        self._saves.begin()
        self._round = self._rounds.begin(full)

    def _cancel(self) -> None:
        if self._round is not None:
            self._round.cancel()
            self._round = None
        self._doing.clear()

    def _saved(self) -> None:
        """Judge again if a file that counts is not what it was when it was read."""
        failed = self._shown is not None and self._shown.report is None
        changed = self._saves.changed(also_new=failed)
        if changed:
            names = ", ".join(shortened(str(path)) for path in changed[:3])
            self._begin(f"{names}{f' and {len(changed) - 3} more' * (len(changed) > 3)} saved")

    def _answered(self, answering: Round) -> None:
        answer = answering.read()
        if isinstance(answer, tuple):
            who, doing = answer
            self._doing.pop(who, None)
            if doing is not None:
                self._doing[who] = doing
            return
        seconds = time.monotonic() - self._begun
        while select.select([self._saves.heard], [], [], 0)[0]:
            self._saves.hear()
        ended = not isinstance(answer, Standing)
        if isinstance(answer, Standing):
            answer = answer.report
        else:
            self._cancel()
        last, before, report = self._last, answering.verdict, answer if isinstance(answer, Report) else None
        answering.verdict = report
        settled = ended or (report is not None and (report.verdict in HOLDS or report.modules is not None))
        if report is not None and settled:
            self._last = report
        if report is not None and before is not None and self._shown is not None:
            more = settled != self._shown.settled
            self._shown = replace(self._shown, report=report, settled=settled)
            if more or (report.culprits, report.notes) != (before.culprits, before.notes):
                self._draw()
            return
        error = "" if isinstance(answer, Report) else str(answer)
        first = self._shown is None
        if first and isinstance(answer, PortproofError) and (type(answer) is Unavailable or not self._saves.files):
            raise answer  # no edit will change that
        self._shown = Shown(report, error, self._why, answering.full, seconds, last, settled)
        self._code = getattr(answer, "exit_code", _BUG)
        self._draw()

    def _pressed(self, keys: str) -> bool:
        """Do what keys say; returns whether that is to end."""
        for key in keys:
            if key in "rf":
                self._begin("again" if key == "r" else "asked for", full=key == "f")
            elif key == "o":
                self._status = self._open()
        return "q" in keys or not keys

    def _open(self) -> str:
        """Show the last report as a page; returns what there is to say of it."""
        if self._last is None:
            return "there is no report yet"
        page = self._folder / "report.html"
        try:
            write_report(self._last, page)
        except PortproofError as error:
            return str(error)
        opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
        if opener is None or not (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
            self._draw(f"no browser here; until this ends, the page is {page}")
            return ""
        subprocess.Popen(
            [opener, str(page)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        return "opened the report"

    def _signalled(self, numbers: bytes) -> None:
        """Draw anew where the terminal has another size, or was another program's meanwhile."""
        if signal.SIGCONT in numbers:
            tty.setcbreak(0)
        if signal.SIGCONT in numbers or signal.SIGWINCH in numbers:
            self._draw()

    def _draw(self, said: str = "") -> None:
        self._console.clear()
        if self._shown is not None:
            print_shown(self._shown, self._console)
            self._console.print(said)
        self._line = ""
        self._draw_status()

    def _draw_status(self) -> None:
        """Write the last line anew: what is being done, or what may be pressed."""
        said = self._status or KEYS
        if self._round is not None:
            doing = ", ".join(f"{who} {what}" for who, what in sorted(self._doing.items()))
            what = "judging" if self._round.verdict is None else "looking further"
            said = f"{self._why}: {what}, {time.monotonic() - self._begun:.1f} s   {doing}"
        line = f"{plain(said)[: self._console.width - 1]}"
        if line != self._line:
            self._console.file.write(f"\r\x1b[2K{line}")
            self._console.file.flush()
        self._line, self._drawn = line, time.monotonic()


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Give each key as it is pressed, for the time of the block."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Yield a handle from which the numbers of those signals can be read that call for drawing anew."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGWINCH, signal.SIGCONT)}
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(wake)
