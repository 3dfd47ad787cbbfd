"""Sides in the process of a test, which pays for no import then: what `Sessions` opens unless a test is marked."""

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from portproof._errors import OutOfMemory
from portproof.sides._process import Session
from portproof.sides._session import LocalSession, Sessions
from portproof.sides._wire import name_of, pack_arguments, revive, spoken, tell, unpack_result

#: As the product has it.
open_in_a_process = Sessions.open


class Here(LocalSession):
    """A side in this process that hears and says what it would over the line: JSON, and errors that were told.

    As in a process of its own, what its framework warns of and prints is not what the command says.
    """

    def __init__(self, sessions: Sessions, side: str, module: str) -> None:
        super().__init__(sessions.located, side, module, sessions.device, threads=1)
        self.side = side

    def submit_watched(self, begun: Callable[[], None], task: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        arguments = json.dumps(pack_arguments(task, args, kwargs))
        begun()
        try:
            with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
                found = json.dumps(self.place.answer(name_of(task), json.loads(arguments)))
            future.set_result(unpack_result(task, json.loads(found)))
        except BaseException as raised:
            error = revive(json.loads(json.dumps(tell(raised))))
            if type(error) is OutOfMemory:
                error = OutOfMemory(f"the {self.side} process, '{spoken(task)}': {error}")
            future.set_exception(error)
        return future


def open_here(
    sessions: Sessions, side: str, module: str = "", threads: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Session:  # fmt: skip
    """Stand in for ``Sessions.open``: only a side with an interpreter of its own gets a process."""
    if side in sessions.located.project.python:
        return open_in_a_process(sessions, side, module, threads, environment)
    session = Here(sessions, side, module)
    sessions._stack.callback(session.close)
    return session
