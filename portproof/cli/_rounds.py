"""Judgements one after the other, each in a process of its own that has the code under edit as it is then."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from portproof._errors import Interrupted, PortproofError, WorkerDied
from portproof.judge._report import Report
from portproof.sides._forks import note_files, parent_of
from portproof.sides._process import last_said
from portproof.sides._store import default_folder
from portproof.sides._warm import Forked
from portproof.sides._wire import revive, tell

if TYPE_CHECKING:
    from portproof.cli._models import Judge

#: Seconds that a judgement has to clear away what it made, once nobody wants it.
_CLEARING_S = 5.0


class Rounds:
    """Starts judgements.

    Args:
        judge: is called in a process that was forked from this one as it is now.
        notes: the handle that is told which files it reads.
        earlier: where one finds what the one before left.
    """

    def __init__(self, judge: Judge, notes: int, earlier: Path) -> None:
        self._run = lambda full: _judge(judge, notes, earlier, full)
        self._parent = parent_of(self._run)

    def begin(self, full: bool) -> Round:
        """Start one; ``full``: the whole chain."""
        return Round(self._parent, full)

    def are_possible(self) -> bool:
        """Say whether one can be started."""
        return self._parent.is_there()

    def renew(self) -> None:
        """Fork this process anew for them; it must have no thread but this one."""
        self._parent.close()
        self._parent = parent_of(self._run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.close()


@dataclass(frozen=True)
class Standing:
    """A report whose verdict stands, while more is looked for."""

    report: Report


class Round:
    """A judgement that runs, until it was read to its end or cancelled.

    Attributes:
        full: whether the whole chain is judged.
        verdict: the report as it was when its verdict stood; None so far.
    """

    def __init__(self, parent: Any, full: bool) -> None:
        self.full = full
        self.verdict: Report | None = None
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in cancel
        self._process: Forked = parent.fork(full, self._log.fileno())
        self._answers = Connection(os.dup(self._process.stdout.fileno()), writable=False)

    def fileno(self) -> int:
        """Return what can be read from when there is an answer."""
        return self._answers.fileno()

    def read(self) -> Report | Standing | PortproofError | RuntimeError | tuple[str, str | None]:
        """Return the next answer: what a process does now, the report as its verdict stands, or what came of it all."""
        try:
            answer = self._answers.recv()
        except (EOFError, OSError):
            return WorkerDied(
                f"the judgement ended by itself ({self._process.wait()}): {last_said(self._log) or 'it said nothing'}"
            )
        if isinstance(answer, dict):
            answer = revive(answer)
        assert isinstance(answer, Report | Standing | PortproofError | RuntimeError | tuple)
        return answer

    def cancel(self) -> None:
        """End it, where it has not ended."""
        self._process.send_signal(signal.SIGTERM)
        if not self._process.ended_within(_CLEARING_S):
            self._process.kill()
        self._process.close()
        self._answers.close()
        self._log.close()


def _judge(judge: Judge, notes: int, earlier: Path, full: bool) -> None:
    """Be the process of a judgement: answers go to standard output, all else to standard error."""

    def interrupt(number: int, _: object) -> NoReturn:
        raise Interrupted(number)

    signal.signal(signal.SIGTERM, interrupt)
    answers, one_at_a_time = Connection(os.dup(1), readable=False), threading.Lock()
    os.dup2(2, 1)
    note_files(notes, str(default_folder()))

    def doing(who: str, what: str | None) -> None:
        with one_at_a_time:
            answers.send((who, what))

    def first(report: Report) -> None:
        with one_at_a_time:
            answers.send(Standing(report))

    try:
        found: Any = judge(not full, doing, first, earlier)
    except Interrupted:
        return
    except BaseException as raised:
        found = tell(raised)
    with one_at_a_time:
        answers.send(found)
